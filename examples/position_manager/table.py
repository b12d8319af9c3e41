"""The tables: two statements, each of which may run twice, late, or beside itself.

A state has one place in an order that does not depend on when, how often or by whom it is
delivered. A row takes a state only if that is later than its own, and PostgreSQL decides it while
it holds the row. So there is nothing to read first, nothing to lock, and nothing to remember.
"""

from __future__ import annotations

import asyncio
import logging

import asyncpg

from ws_gateway.client import Envelope

log = logging.getLogger("position_manager")

# Later is: the larger seq, for a symbol's seq only grows; of one seq the later exchange time, for
# settings change without a trade; of one millisecond what the gateway published later. `seq` comes
# first because REST may tell at 12:00:01 what was true at 12:00:00. An account without seq has none
# anywhere, so its time decides.
UPSERT = """
INSERT INTO positions AS held (
    account, category, symbol, position_idx, mode, side, size, entry_price, mark_price, leverage,
    margin, maintenance_margin, position_value, unrealised_pnl, realised_pnl,
    cumulative_realised_pnl, liquidation_price, take_profit, stop_loss, trailing_stop, status, seq,
    event_timestamp, received_at, source, event_id, trace_id, raw, topic, epoch, sequence)
SELECT
    event.account, category, symbol, position_idx, mode, side, size, entry_price, mark_price,
    leverage, margin, maintenance_margin, position_value, unrealised_pnl, realised_pnl,
    cumulative_realised_pnl, liquidation_price, take_profit, stop_loss, trailing_stop, status, seq,
    timestamptz 'epoch' + "timestamp" * interval '1 millisecond',
    timestamptz 'epoch' + event.received_at * interval '1 microsecond',
    event.source, event.event_id, event.trace_id, raw, event.topic, event.epoch, event.sequence
FROM
    jsonb_to_record($1::jsonb) AS event (
        account text, topic text, epoch text, sequence bigint, source text, event_id text,
        trace_id text, received_at bigint, payload jsonb),
    jsonb_to_record(event.payload) AS position (
        category text, symbol text, position_idx smallint, mode text, side text, size numeric,
        entry_price numeric, mark_price numeric, leverage numeric, margin numeric,
        maintenance_margin numeric, position_value numeric, unrealised_pnl numeric,
        realised_pnl numeric, cumulative_realised_pnl numeric, liquidation_price numeric,
        take_profit numeric, stop_loss numeric, trailing_stop numeric, status text, seq bigint,
        "timestamp" bigint, raw jsonb)
ON CONFLICT (account, category, symbol, position_idx) DO UPDATE SET
    (mode, side, size, entry_price, mark_price, leverage, margin, maintenance_margin,
     position_value, unrealised_pnl, realised_pnl, cumulative_realised_pnl, liquidation_price,
     take_profit, stop_loss, trailing_stop, status, seq, event_timestamp, received_at, source,
     event_id, trace_id, raw, topic, epoch, sequence, stored_at)
  = (excluded.mode, excluded.side, excluded.size, excluded.entry_price, excluded.mark_price,
     excluded.leverage, excluded.margin, excluded.maintenance_margin, excluded.position_value,
     excluded.unrealised_pnl, excluded.realised_pnl, excluded.cumulative_realised_pnl,
     excluded.liquidation_price, excluded.take_profit, excluded.stop_loss, excluded.trailing_stop,
     excluded.status, excluded.seq, excluded.event_timestamp, excluded.received_at,
     excluded.source, excluded.event_id, excluded.trace_id, excluded.raw, excluded.topic,
     excluded.epoch, excluded.sequence, excluded.stored_at)
WHERE
    (coalesce(excluded.seq, 0), excluded.event_timestamp, excluded.epoch, excluded.sequence,
     excluded.topic)
  > (coalesce(held.seq, 0), held.event_timestamp, held.epoch, held.sequence, held.topic)
"""

# The gateway numbers markers with the events, so of two the one with the larger number is later.
MARK = """
INSERT INTO position_streams AS held
    (account, topic, is_complete, reason, detail, epoch, sequence, since)
VALUES ($1, $2, $3, $4, $5, $6, $7, timestamptz 'epoch' + $8::bigint * interval '1 millisecond')
ON CONFLICT (account, topic) DO UPDATE SET
    (is_complete, reason, detail, epoch, sequence, since)
  = (excluded.is_complete, excluded.reason, excluded.detail, excluded.epoch, excluded.sequence,
     excluded.since)
WHERE
    (excluded.epoch, excluded.sequence, excluded.is_complete)
  > (held.epoch, held.sequence, held.is_complete)
"""

REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What PostgreSQL says of a state that cannot be in the table, however often it is tried."""

AWAY = (
    OSError,  # refused, reset, a TimeoutError too
    asyncpg.InterfaceError,  # the connection is closed
    asyncpg.InternalClientError,  # it was closed in the middle of an answer
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, or still starting
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,  # a deadlock, a fail-over
    asyncpg.ReadOnlySQLTransactionError,  # a fail-over too
)
"""What a later attempt may find mended."""

_LONGEST_PAUSE = 5.0


class PositionTable:
    """Writes positions, and which streams lack something; each call returns when it is committed.

    While PostgreSQL is away they wait and try again: the event is not acknowledged meanwhile, so
    the broker keeps it and all behind it.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def store(self, body: bytes) -> bool:
        """Store the state that a message tells; answers False if a later one stands there.

        Raises:
            asyncpg.PostgresError: one of `REFUSED`: this state will never be stored.
        """
        return await self._run(UPSERT, body.decode())

    async def mark(
        self, told_by: Envelope, *, is_complete: bool, reason: str, detail: str, sequence: int
    ) -> bool:
        """Say of a stream from a number on whether it is complete; False if more is known."""
        stream = (told_by.account, told_by.topic)
        place = (told_by.epoch, sequence, told_by.timestamp)
        return await self._run(MARK, *stream, is_complete, reason, detail, *place)

    async def _run(self, statement: str, *values: object) -> bool:
        pause = 0.1
        while True:
            try:
                status: str = await self._pool.execute(statement, *values)
            except AWAY as exc:
                if isinstance(exc, ValueError):  # the driver cannot send it: our own mistake
                    raise
                log.warning("database.away error=%r retry_seconds=%s", exc, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                return status == "INSERT 0 1"
