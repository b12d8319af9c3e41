"""Balances in PostgreSQL: history by month, and the latest beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from ws_gateway.domain.balance import (
    BalanceRecord,
    CoinAmounts,
    CoinBalance,
    MarginAmounts,
    MarginBalance,
)
from ws_gateway.domain.event import Source
from ws_gateway.errors import Rejected
from ws_gateway.ports.account import HistoryQuery
from ws_gateway.storage.statements import Statements

_TOLD = ("event_timestamp", "received_at", "source", "event_id", "trace_id")
_COIN_AMOUNTS = CoinAmounts.__struct_fields__
_MARGIN_AMOUNTS = MarginAmounts.__struct_fields__
_TYPE_OF = {
    "account": "text", "coin": "text", "account_type": "text", "is_collateral": "boolean",
    "event_timestamp": "timestamptz", "received_at": "timestamptz", "source": "text",
    "event_id": "text", "trace_id": "text",
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _written(table: str, key: tuple[str, ...], columns: tuple[str, ...], behind: int) -> str:
    """Build the part of the statement that writes a batch's rows of one table.

    A column of values per parameter, which are numbered behind so many others. Rows may come
    again after a write whose answer was lost, and one coin may come several times.
    """
    listed, of_key = ", ".join(columns), ", ".join(key)
    values = ", ".join(
        f"${place}::{_TYPE_OF.get(column, 'numeric')}[]"
        for place, column in enumerate(columns, behind + 1)
    )
    news = ", ".join(f"EXCLUDED.{column}" for column in columns)
    return f"""
        {table}_told AS (SELECT * FROM unnest({values}) AS told ({listed})),
        {table}_history AS (
            INSERT INTO {table} ({listed}) SELECT {listed} FROM {table}_told
            ON CONFLICT DO NOTHING
        ),
        {table}_newest AS (
            INSERT INTO {table}_latest AS latest ({listed})
                SELECT DISTINCT ON ({of_key}) {listed} FROM {table}_told
                ORDER BY {of_key}, event_timestamp DESC, received_at DESC
            ON CONFLICT ({of_key}) DO UPDATE SET ({listed}) = ROW ({news})
                WHERE latest.event_timestamp <= EXCLUDED.event_timestamp
        )
    """  # noqa: S608 - built from constants alone


def _history(table: str, columns: tuple[str, ...], *, is_descending: bool, has_coin: bool) -> str:
    sign, way = ("<", "DESC") if is_descending else (">", "ASC")
    coin = "($7::text IS NULL OR coin = $7)" if has_coin else "$7::text IS NULL"
    return f"""
        SELECT {", ".join(columns)} FROM {table}
        WHERE account = $1 AND {coin}
          AND ($2::timestamptz IS NULL OR event_timestamp >= $2)
          AND ($3::timestamptz IS NULL OR event_timestamp < $3)
          AND ($4::timestamptz IS NULL OR (event_timestamp, event_id) {sign} ($4, $5))
        ORDER BY event_timestamp {way}, event_id {way}
        LIMIT $6
    """  # noqa: S608 - built from constants alone


_COIN_COLUMNS = ("account", "coin", *_COIN_AMOUNTS, *_TOLD)
_MARGIN_COLUMNS = ("account", *_MARGIN_AMOUNTS, *_TOLD)
_OF_COINS = _written("account_balances", ("account", "coin"), _COIN_COLUMNS, 0)
_OF_MARGINS = _written("account_margin_balances", ("account",), _MARGIN_COLUMNS, len(_COIN_COLUMNS))
_WRITE = f"WITH {_OF_COINS}, {_OF_MARGINS} SELECT"
_COIN_HISTORY = {
    way: _history("account_balances", _COIN_COLUMNS, is_descending=way, has_coin=True)
    for way in (False, True)
}
_MARGIN_HISTORY = {
    way: _history("account_margin_balances", _MARGIN_COLUMNS, is_descending=way, has_coin=False)
    for way in (False, True)
}
_LATEST_COINS = f"""
    SELECT {", ".join(_COIN_COLUMNS)} FROM account_balances_latest WHERE account = $1
"""  # noqa: S608 - same
_LATEST_MARGINS = f"""
    SELECT {", ".join(_MARGIN_COLUMNS)} FROM account_margin_balances_latest WHERE account = $1
"""  # noqa: S608 - same


class PostgresBalances:
    """The `BalanceStore` of the running service, on the ledgers' pool."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def write(self, records: Sequence[BalanceRecord]) -> None:
        """Append these and bring the latest up to date, in one statement."""
        try:
            coins = [_coin_values(one) for one in records if isinstance(one, CoinBalance)]
            margins = [_margin_values(one) for one in records if isinstance(one, MarginBalance)]
            await self._statements.fetch(
                _WRITE,
                *_columns(coins, len(_COIN_COLUMNS)),
                *_columns(margins, len(_MARGIN_COLUMNS)),
            )
        except (
            asyncpg.IntegrityConstraintViolationError,
            asyncpg.DataError,
            OverflowError,
        ) as exc:
            raise Rejected(f"PostgreSQL refuses a balance: {exc}", code="balance_refused") from exc

    async def latest(self, account: str) -> list[BalanceRecord]:
        """Return the newest of each coin, and the newest totals."""
        coins = await self._statements.fetch(_LATEST_COINS, account)
        margins = await self._statements.fetch(_LATEST_MARGINS, account)
        return [*map(_coin, coins), *map(_margin, margins)]

    async def coin_history(self, query: HistoryQuery) -> list[CoinBalance]:
        """Return coins' rows in order of exchange time."""
        return [_coin(row) for row in await self._rows(_COIN_HISTORY, query)]

    async def margin_history(self, query: HistoryQuery) -> list[MarginBalance]:
        """Return the totals' rows in order of exchange time."""
        return [_margin(row) for row in await self._rows(_MARGIN_HISTORY, query)]

    async def keep_history(self, months: int) -> list[str]:
        """Make the partitions that will be needed, drop those of long ago; answers what it did."""
        rows = await self._statements.fetch("SELECT keep_balance_history($1) AS done", months)
        return [row["done"] for row in rows]

    async def _rows(self, statements: dict[bool, str], query: HistoryQuery) -> list[asyncpg.Record]:
        after_time, after_id = query.after or (None, None)
        return await self._statements.fetch(
            statements[query.is_descending],
            query.account,
            query.since,
            query.until,
            after_time,
            after_id,
            query.limit,
            query.coin,
        )


def _columns(rows: list[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(width)]


def _coin_values(one: CoinBalance) -> tuple[Any, ...]:
    return one.account, one.coin, *msgspec.structs.astuple(one.amounts), *_told(one)


def _margin_values(one: MarginBalance) -> tuple[Any, ...]:
    return one.account, *msgspec.structs.astuple(one.amounts), *_told(one)


def _told(one: BalanceRecord) -> tuple[Any, ...]:
    """Tell when and where it was read; whole numbers keep every digit of the times."""
    exchange = _EPOCH + timedelta(milliseconds=one.event_timestamp)
    received = _EPOCH + timedelta(microseconds=one.received_at)
    return exchange, received, one.source.value, one.event_id, one.trace_id


def _coin(row: asyncpg.Record) -> CoinBalance:
    amounts = CoinAmounts(*(row[name] for name in _COIN_AMOUNTS))
    return CoinBalance(row["account"], row["coin"], amounts, *_place(row))


def _margin(row: asyncpg.Record) -> MarginBalance:
    amounts = MarginAmounts(*(row[name] for name in _MARGIN_AMOUNTS))
    return MarginBalance(row["account"], amounts, *_place(row))


def _place(row: asyncpg.Record) -> tuple[int, int, Source, str, str]:
    return (
        (row["event_timestamp"] - _EPOCH) // timedelta(milliseconds=1),
        (row["received_at"] - _EPOCH) // timedelta(microseconds=1),
        Source(row["source"]),
        row["event_id"],
        row["trace_id"],
    )
