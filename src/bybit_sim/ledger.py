"""The truth: every order state, execution, position and wallet there ever was, as it was shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import msgspec

from bybit_sim.orders import Fill, Order

Kind = Literal["order", "execution", "position", "wallet"]
KINDS: tuple[Kind, ...] = ("order", "execution", "position", "wallet")


@dataclass(slots=True, eq=False)
class Entry:
    """One change of the account.

    Attributes:
        number: 1 for the first of all, rising by 1.
        kind: which topic tells it.
        time_ms: when it happened; it is told some milliseconds later.
        category: product line, "" for a wallet.
        symbol: which, "" for a wallet.
        keys: what it is a new state of: an order id, an execution id, `category:symbol:index` of
            a position, or the coins a wallet row holds.
        raw: the row as the stream shows it, as JSON.
        told: how many sockets it was sent to, repeats included; 0 if nobody listened or a fault
            lost it. Sent is not received.
        order: of an execution, what it is of.
        fill: of an execution, its numbers.
    """

    number: int
    kind: Kind
    time_ms: int
    category: str
    symbol: str
    keys: tuple[str, ...]
    raw: bytes
    told: int = 0
    order: Order | None = None
    fill: Fill | None = None

    @property
    def row(self) -> dict[str, Any]:
        """The row as the stream shows it."""
        row: dict[str, Any] = msgspec.json.decode(self.raw)
        return row


class Ledger:
    """Keeps every change in order; nothing is ever removed.

    Attributes:
        opening: what each coin's wallet was before the first entry.
        entries: all of them, oldest first; the entry at index n has number n + 1.
    """

    def __init__(self, opening: Mapping[str, Decimal]) -> None:
        self.opening = dict(opening)
        self.entries: list[Entry] = []
        self._of: dict[Kind, list[Entry]] = {kind: [] for kind in KINDS}
        self._executions: dict[str, list[Entry]] = {}
        self._latest: dict[tuple[Kind, str], Entry] = {}

    def record(
        self,
        kind: Kind,
        row: Mapping[str, Any],
        keys: tuple[str, ...],
        *,
        time_ms: int,
        order: Order | None = None,
        fill: Fill | None = None,
    ) -> Entry:
        """Write a change down."""
        entry = Entry(
            number=len(self.entries) + 1,
            kind=kind,
            time_ms=time_ms,
            category=row.get("category", ""),
            symbol=row.get("symbol", ""),
            keys=keys,
            raw=msgspec.json.encode(row),
            order=order,
            fill=fill,
        )
        self.entries.append(entry)
        self._of[kind].append(entry)
        if kind == "execution":
            self._executions.setdefault(entry.category, []).append(entry)
        for key in keys:
            self._latest[kind, key] = entry
        return entry

    def of(self, kind: Kind) -> Sequence[Entry]:
        """Return the changes of a kind, oldest first."""
        return self._of[kind]

    def executions_of(self, category: str) -> Sequence[Entry]:
        """Return the executions of a category, oldest first."""
        return self._executions.get(category, ())

    def latest(self, kind: Kind, key: str) -> Entry | None:
        """Return the present state of an order, a position or a coin; None if it never changed."""
        return self._latest.get((kind, key))

    def all_latest(self, kind: Kind) -> dict[str, Entry]:
        """Return the present state of everything of a kind, by key."""
        return {key: entry for (each, key), entry in self._latest.items() if each == kind}

    def after(self, number: int, kind: Kind | None = None, limit: int | None = None) -> list[Entry]:
        """Return changes with a number above this one, oldest first."""
        chosen: list[Entry] = []
        for entry in self.entries[number:]:
            if kind in {None, entry.kind}:
                chosen.append(entry)
                if len(chosen) == limit:
                    break
        return chosen

    def counts(self) -> Counter[str]:
        """Count the changes of each kind."""
        return Counter({kind: len(entries) for kind, entries in self._of.items()})


def position_key(category: str, symbol: str, idx: int) -> str:
    """Name a position."""
    return f"{category}:{symbol}:{idx}"
