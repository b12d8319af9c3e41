"""The reference consumer in the demo: the table it keeps, held against the exchange's account."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
"""Where the checkout has the consumer; an installed package has none."""

AGREE_SECONDS = 5.0
"""Longest wait for a moment at which the table is the account; it trades all the time."""

_LOOK_SECONDS = 0.1
_SOCKET_FOLDER_LINE, _PORT_LINE = 4, 3  # of postmaster.pid (PostgreSQL, pidfile.h)


def has_position_manager() -> bool:
    """Say whether the consumer is beside this package."""
    return (EXAMPLES / "position_manager").is_dir()


def embedded_url(data_dir: Path) -> str:
    """Return the URL of the PostgreSQL that a gateway runs in its data folder."""
    lines = (data_dir / "postgres" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    folder, port = lines[_SOCKET_FOLDER_LINE].strip(), lines[_PORT_LINE].strip()
    return f"postgresql://postgres@/postgres?host={folder}&port={port}"


@dataclass(frozen=True, slots=True)
class Held:
    """One position; amounts compare by value.

    Attributes:
        side: `Buy` or `Sell`, "" when flat.
        entry: 0 when flat.
    """

    side: str
    size: Decimal
    entry: Decimal
    seq: int


Account = dict[str, Held]
"""Positions by `category:symbol:index`."""

AskAccount = Callable[[], Awaitable[list[dict[str, Any]]]]
"""Answers the simulator's latest entry of each position."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the table says, and how it differs from the exchange's account, if it does."""

    table: Account
    difference: str | None


async def compare(database_url: str, ask_account: AskAccount) -> Comparison:
    """Hold the table against the simulator's account until they agree, or for `AGREE_SECONDS`."""
    connection = await asyncpg.connect(database_url)
    deadline = asyncio.get_running_loop().time() + AGREE_SECONDS
    try:
        while True:
            account = read_account(await ask_account())
            rows = [dict(row) for row in await connection.fetch("SELECT * FROM current_positions")]
            table = read_table(rows)
            found = Comparison(table, difference(table, account, rows))
            if found.difference is None or asyncio.get_running_loop().time() > deadline:
                return found
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await connection.close()


def read_account(entries: Iterable[Mapping[str, Any]]) -> Account:
    """Read the latest state of each position from the simulator's ledger."""
    return {
        entry["key"]: Held(
            entry["row"]["side"],
            Decimal(entry["row"]["size"]),
            Decimal(entry["row"]["entryPrice"]),
            int(entry["row"]["seq"]),
        )
        for entry in entries
    }


def read_table(rows: Iterable[Mapping[str, Any]]) -> Account:
    """Read the rows of the table."""
    return {
        f"{row['category']}:{row['symbol']}:{row['position_idx']}": Held(
            row["side"] or "", row["size"], row["entry_price"] or Decimal(0), row["seq"] or 0
        )
        for row in rows
    }


def difference(table: Account, account: Account, rows: Iterable[Mapping[str, Any]]) -> str | None:
    """Say what is not the same; a flat position that nobody was told of may be missing."""
    for name, held in account.items():
        kept = table.get(name)
        if kept != held and (kept is not None or held.size):
            return f"position {name} is {held} at the exchange, but {kept} in the table"
    if invented := table.keys() - account.keys():
        return f"positions {sorted(invented)} are in the table alone"
    if stale := [row["symbol"] for row in rows if row["is_stale"]]:
        return f"positions {stale} are stale"
    return None


def lines(comparison: Comparison | None) -> list[str]:
    """Say what the table has, for the summary."""
    if comparison is None:
        return ["position manager: not beside this installation, see examples/ of the checkout"]
    shown = [
        f"{name:<28} {held.side or 'flat':<4} {held.size:>10} at {held.entry}"
        for name, held in sorted(comparison.table.items())
    ]
    agrees = "as the exchange has them" if comparison.difference is None else "not as they should"
    return [
        f"{len(shown)} positions in PostgreSQL, kept by examples/position_manager, {agrees}:"
    ] + [f"  {line}" for line in shown]
