"""Position events made by hand, a queue as the gateway declares it, and the tables to look at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiormq
import asyncpg
from aiormq.abc import AbstractChannel

from support.contract import assert_message
from support.programs import Program, until
from ws_gateway.config import QueueType
from ws_gateway.delivery.topology import Names, queue_arguments

EPOCH = "01KE5Q0000000000000000000A"
LATER_EPOCH = "01KE5Q0000000000000000000B"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
T0_MS = 1_790_000_000_000


def _event(kind: str, sequence: int, payload: Mapping[str, Any], **place: Any) -> dict[str, Any]:
    envelope: dict[str, Any] = {
        "schema": 1,
        "event_type": "position",
        "kind": kind,
        "source": "stream",
        "topic": "position",
        "account": "main",
        "epoch": EPOCH,
        "sequence": sequence,
        "timestamp": T0_MS,
        "matched_at": None,
        "received_at": T0_MS * 1000 + 123,
        "trace_id": "0" * 32,
        "payload": payload,
    } | place
    envelope["event_id"] = f"private:{envelope['topic']}:{envelope['epoch']}:{sequence}:{kind}"
    assert_message(envelope)
    return envelope


def marker(kind: str, sequence: int, *, complete: bool = True, **place: Any) -> dict[str, Any]:
    """Make a `gap` or `resumed` marker as the gateway writes it."""
    hole = {"from_sequence": None, "to_sequence": None} if kind == "gap" else {}
    payload: dict[str, Any] = {"reason": "disconnect", **hole, "detail": "the socket was lost"}
    if kind == "resumed":
        payload["complete"] = complete
    return _event(kind, sequence, payload, category=None, symbol=None, **place)


def state(
    sequence: int,
    size: str = "1",
    *,
    seq: int | None = 100,
    ms: int = 0,
    symbol: str = "BTCUSDT",
    idx: int = 0,
    **place: Any,
) -> dict[str, Any]:
    """Make one state of a position; size `0` is flat, `ms` counts from a fixed moment."""
    is_flat = size == "0"
    payload = {
        "symbol": symbol,
        "category": "linear",
        "side": None if is_flat else "Sell" if idx == 2 else "Buy",
        "size": size,
        "entry_price": None if is_flat else "60000.5",
        "mark_price": "61000",
        "leverage": "10",
        "margin": None if is_flat else "3000",
        "maintenance_margin": None if is_flat else "300",
        "position_value": None if is_flat else "30000.25",
        "unrealised_pnl": "499.75",
        "realised_pnl": "-1.5",
        "cumulative_realised_pnl": "-7.25",
        "liquidation_price": None,
        "take_profit": None,
        "stop_loss": None,
        "trailing_stop": None,
        "position_idx": idx,
        "mode": "hedge" if idx else "one_way",
        "status": "Normal",
        "is_reduce_only": False,
        "seq": seq,
        "timestamp": T0_MS + ms,
        "created_at": T0_MS,
        "updated_at": T0_MS,
        "raw": {"symbol": symbol, "size": size, "positionIdx": idx},
    }
    named = {"category": "linear", "symbol": symbol, "timestamp": T0_MS + ms}
    return _event("update", sequence, payload, **named, **place)


def rank(event: Mapping[str, Any]) -> tuple[Any, ...]:
    """Say how late a state is, as the example's README does."""
    seq, at = event["payload"]["seq"] or 0, event["payload"]["timestamp"]
    return seq, at, event["epoch"], event["sequence"], event["topic"]


def latest(events: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, int], str]:
    """Find the event each row has to end with, by account, symbol and index."""
    found: dict[tuple[str, str, int], Mapping[str, Any]] = {}
    for event in events:
        if event["kind"] != "update":
            continue
        place = (event["account"], event["symbol"], event["payload"]["position_idx"])
        if place not in found or rank(event) > rank(found[place]):
            found[place] = event
    return {place: str(event["event_id"]) for place, event in found.items()}


@dataclass
class PositionDesk:
    """A queue of positions, and the tables they end in."""

    amqp_url: str
    database_url: str
    prefix: str
    channel: AbstractChannel
    database: asyncpg.Connection

    @property
    def queue(self) -> str:
        """Name the queue."""
        return f"{self.prefix}.position"

    @property
    def settings(self) -> dict[str, str]:
        """Return the program's environment."""
        return {
            "WSG_AMQP_URL": self.amqp_url,
            "WSG_AMQP_PREFIX": self.prefix,
            "WSG_DATABASE_URL": self.database_url,
            "PYTHONPATH": str(EXAMPLES),
        }

    async def publish(self, *events: Mapping[str, Any]) -> None:
        """Put events into the queue, in order; each is confirmed."""
        await asyncio.gather(
            *(
                self.channel.basic_publish(
                    json.dumps(event).encode(),
                    routing_key=self.queue,
                    properties=aiormq.spec.Basic.Properties(delivery_mode=2),
                )
                for event in events
            )
        )

    async def rows(self, account: str = "main") -> dict[tuple[str, str, int], str]:
        """Return which event each row of an account was written from."""
        found = await self.database.fetch("SELECT * FROM positions WHERE account = $1", account)
        return {
            (row["account"], row["symbol"], row["position_idx"]): row["event_id"] for row in found
        }

    async def current(self, account: str = "main", symbol: str = "BTCUSDT") -> dict[str, Any]:
        """Return one row as others read it."""
        row = await self.database.fetchrow(
            "SELECT * FROM current_positions WHERE account = $1 AND symbol = $2", account, symbol
        )
        return dict(row or {})

    async def until_current(self, seconds: float = 60, **wanted: Any) -> None:
        """Wait until the row of BTCUSDT has these values."""

        async def has() -> bool:
            row = await self.current()
            return bool(row) and all(row[name] == value for name, value in wanted.items())

        await until(has, seconds=seconds, what=lambda: f"a row with {wanted}")

    async def until_rows(
        self, wanted: Mapping[tuple[str, str, int], str], account: str = "main"
    ) -> None:
        """Wait until the rows of an account are from these events."""

        async def are() -> bool:
            return await self.rows(account) == wanted

        await until(are, seconds=60, what=lambda: f"{wanted}")

    async def waiting(self) -> int:
        """Count the messages that nobody holds."""
        answer = await self.channel.queue_declare(self.queue, passive=True)
        return answer.message_count or 0

    async def until_waiting(self, count: int) -> None:
        """Wait until nobody holds so many messages; what a lost consumer held comes back."""

        async def is_so() -> bool:
            return await self.waiting() == count

        await until(is_so, seconds=60, what=f"{count} messages wait")

    async def until_read_by(self, count: int) -> None:
        """Wait until so many consumers read the queue."""

        async def is_so() -> bool:
            answer = await self.channel.queue_declare(self.queue, passive=True)
            return answer.consumer_count == count

        await until(is_so, seconds=60, what=f"{count} consumers")

    @asynccontextmanager
    async def manager(self, folder: Path, *options: str) -> AsyncIterator[Program]:
        """Run the program as a process; it is gone at the end."""
        program = Program("position_manager", options, self.settings, folder)
        try:
            yield program
        finally:
            await program.kill()


@asynccontextmanager
async def position_desk(
    amqp_url: str, amqp_prefix: str, database_url: str
) -> AsyncIterator[PositionDesk]:
    """Declare the queue as the gateway does, and connect to both sides."""
    connection = await aiormq.connect(amqp_url)
    database = await asyncpg.connect(database_url)
    try:
        channel = await connection.channel()
        arguments = queue_arguments(QueueType.QUORUM)
        await channel.queue_declare(
            Names(amqp_prefix).queue("position"), durable=True, arguments=arguments
        )
        yield PositionDesk(amqp_url, database_url, amqp_prefix, channel, database)
    finally:
        await database.close()
        await connection.close()
