"""What goes over the wire of the balance endpoints, and nothing else."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from ws_gateway.control.balances import BalancePage, HistoryWish
from ws_gateway.control.schemas import AccountName
from ws_gateway.domain.amount import plain
from ws_gateway.domain.balance import BalanceRecord, CoinBalance, MarginBalance
from ws_gateway.domain.event import Source
from ws_gateway.errors import Rejected
from ws_gateway.ports.account import CoinOutcome, Synced, SyncedCoin

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_COIN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}"
_COINS = rf"{_COIN}(,{_COIN}){{0,99}}"


def _coin(text: str) -> str:
    if re.fullmatch(_COIN, text) is None:
        raise PydanticCustomError("coin", "a coin is named like BTC, and here is one of them")
    return text


def _coins(text: str) -> str:
    if re.fullmatch(_COINS, text) is None:
        raise PydanticCustomError(
            "coins", "coins are named like USDT,BTC: commas between them, 100 at most"
        )
    return text


CoinName = Annotated[
    str, AfterValidator(_coin), WithJsonSchema({"type": "string", "pattern": f"^{_COIN}$"})
]
CoinNames = Annotated[
    str,
    AfterValidator(_coins),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^{_COINS}$",
            "description": "Only these coins, comma-separated; case counts.",
            "examples": ["USDT,BTC"],
        }
    ),
]
Amount = Annotated[
    str | None,
    Field(description="Exact decimal; null where Bybit tells none.", examples=["100.5"]),
]


_LATEST_MS = 253_402_300_799_999  # the end of the year 9999


def _unix_ms(given: object) -> object:
    """Read Unix ms; what is left to pydantic is ISO 8601, and not its guesses at numbers."""
    if isinstance(given, str) and re.fullmatch(r"[0-9]{1,15}", given):
        if int(given) <= _LATEST_MS:
            return _EPOCH + timedelta(milliseconds=int(given))
    elif isinstance(given, str) and re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", given):
        return given
    raise PydanticCustomError("moment", "a moment is written as ISO 8601 or Unix ms")


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


Moment = Annotated[
    datetime,
    AfterValidator(_in_utc),
    BeforeValidator(_unix_ms),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
                {"type": "integer", "minimum": 0, "maximum": _LATEST_MS},
            ],
            "description": "ISO 8601 or Unix ms; UTC where it names no zone.",
            "examples": ["2026-01-01T00:00:00Z"],
        }
    ),
]


class View(StrEnum):
    """What of an account is shown."""

    COINS = "coins"
    MARGIN = "margin"


class Order(StrEnum):
    """Direction of a history."""

    ASCENDING = "asc"
    DESCENDING = "desc"


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)

    account: str
    event_timestamp: datetime = Field(description="Bybit's time.")
    received_at: datetime = Field(description="The gateway's clock.")
    source: Source
    event_id: str
    trace_id: str


class BalanceAnswer(_Told):
    """One coin at one time."""

    coin: str
    wallet_balance: str = Field(description="Below 0 where the coin is owed.", examples=["100.5"])
    available_balance: Amount = Field(description="What can be used without a loan.")
    frozen: Amount = Field(description="Bound by open orders: `locked` and `order_margin`.")
    locked: Amount = Field(description="By spot orders.")
    order_margin: Amount
    position_margin: Amount
    maintenance_margin: Amount
    equity: Amount
    borrowed: Amount
    spot_borrow: Amount
    accrued_interest: Amount
    unrealised_pnl: Amount
    realised_pnl: Amount = Field(description="Since the account was opened.")
    bonus: Amount
    usd_value: Amount
    is_collateral: bool | None

    @classmethod
    def of(cls, row: CoinBalance) -> Self:
        """Show a row."""
        return cls(coin=row.coin, **_shown(row))


class MarginAnswer(_Told):
    """An account's totals in USD at one time."""

    account_type: str
    total_equity: Amount
    total_wallet_balance: Amount
    total_margin_balance: Amount
    total_available_balance: Amount
    total_unrealised_pnl: Amount
    total_initial_margin: Amount
    total_maintenance_margin: Amount
    initial_margin_rate: Amount
    maintenance_margin_rate: Amount

    @classmethod
    def of(cls, row: MarginBalance) -> Self:
        """Show a row."""
        return cls(**_shown(row))


def _shown(row: BalanceRecord) -> dict[str, Any]:
    amounts = msgspec.structs.asdict(row.amounts)
    return {
        **{name: plain(one) if isinstance(one, Decimal) else one for name, one in amounts.items()},
        "account": row.account,
        "event_timestamp": _EPOCH + timedelta(milliseconds=row.event_timestamp),
        "received_at": _EPOCH + timedelta(microseconds=row.received_at),
        "source": row.source,
        "event_id": row.event_id,
        "trace_id": row.trace_id,
    }


class Freshness(BaseModel):
    """How old what is shown is; Bybit tells a balance when it changes, not when time passes."""

    newest_event_at: datetime | None = Field(description="Bybit's time of the newest item.")
    age_seconds: float | None = Field(description="How long ago the newest item was received.")
    uncommitted_rows: int = Field(
        description="Rows not in the database yet; above 0 for long means PostgreSQL is away."
    )
    is_followed: bool = Field(
        description=(
            "The `balance` topic of these accounts is active, so changes at Bybit are heard; "
            "otherwise what is shown is as old as it says, and may be no longer true."
        )
    )
    hints: list[str] = Field(
        description="Why something may be missing or old, and what to do; empty if nothing is odd."
    )

    @classmethod
    def of(cls, page: BalancePage[Any], now: datetime) -> Self:
        """Tell it of a page."""
        newest = max((row.event_timestamp for row in page.items), default=None)
        received = max((row.received_at for row in page.items), default=None)
        age = None
        if received is not None:
            came = _EPOCH + timedelta(microseconds=received)
            age = round(max(0.0, (now - came).total_seconds()), 3)
        return cls(
            newest_event_at=None if newest is None else _EPOCH + timedelta(milliseconds=newest),
            age_seconds=age,
            uncommitted_rows=page.uncommitted,
            is_followed=page.is_followed,
            hints=page.hints,
        )


class BalanceList(BaseModel):
    """Part of a list."""

    items: list[BalanceAnswer] | list[MarginAnswer]
    next_cursor: str | None = Field(description="Give it as `cursor` to go on; null at the end.")
    freshness: Freshness


class BalanceQuery(BaseModel):
    """Filters narrow together; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account: AccountName | None = None
    coin: CoinNames | None = None
    view: View = Field(View.COINS, description="`coins`, or `margin`: the account's totals.")
    limit: int = Field(100, ge=1, le=500, description="Most items in the answer.")
    cursor: str | None = Field(
        None, max_length=512, description="`next_cursor` of the answer before; opaque."
    )

    def coins(self) -> frozenset[str] | None:
        """Return the coins asked for, None for all."""
        return None if self.coin is None else frozenset(self.coin.split(","))


class HistoryParameters(BaseModel):
    """Which part of the history, and in which direction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account: AccountName | None = None
    coin: CoinName | None = Field(None, description="Only this coin.")
    view: View = Field(View.COINS, description="`coins`, or `margin`: the account's totals.")
    since: Moment | None = Field(None, alias="from", description="Bybit's time, included.")
    until: Moment | None = Field(None, alias="to", description="Bybit's time, not included.")
    order: Order = Field(Order.DESCENDING, description="By Bybit's time.")
    limit: int = Field(100, ge=1, le=500, description="Most items in the answer.")
    cursor: str | None = Field(
        None,
        max_length=512,
        description="`next_cursor` of the answer before, with the other parameters as they were.",
    )

    def to_wish(self, since_given: str | None = None) -> HistoryWish:
        """Say it in the words of the use cases; `since_given` is `from` as it was written."""
        after = None
        if self.cursor is not None:
            order, millis, event_id = read_cursor(self.cursor, (str, int, str))
            if order != self.order:
                raise _unknown_cursor(self.cursor)
            after = _EPOCH + timedelta(milliseconds=millis), event_id
        return HistoryWish(
            limit=self.limit,
            account=self.account,
            coin=self.coin,
            since=self.since,
            until=self.until,
            after=after,
            is_descending=self.order is Order.DESCENDING,
            since_given=since_given,
        )

    def cursor_behind(self, page: BalancePage[Any]) -> str | None:
        """Return what continues a page."""
        if not page.has_more:
            return None
        last = page.items[-1]
        return write_cursor(self.order.value, last.event_timestamp, last.event_id)


class SyncedCoinAnswer(BaseModel):
    """What a reading made of one coin."""

    coin: str
    outcome: CoinOutcome
    previous: BalanceAnswer | None = Field(description="Null if the coin was not known.")
    new: BalanceAnswer

    @classmethod
    def of(cls, one: SyncedCoin) -> Self:
        """Show it."""
        return cls(
            coin=one.coin,
            outcome=one.outcome,
            previous=None if one.previous is None else BalanceAnswer.of(one.previous),
            new=BalanceAnswer.of(one.latest),
        )


class SyncAnswer(BaseModel):
    """What a reading over Bybit's REST brought."""

    account: str
    read_at: datetime = Field(description="Bybit's time of the reading.")
    changed: int = Field(description="Coins that changed or were not known.")
    unchanged: int
    is_stored: bool = Field(
        description="False if PostgreSQL is away: it is stored when that is back."
    )
    coins: list[SyncedCoinAnswer]
    faults: list[str] = Field(
        description="What failed validation and went to quarantine instead, in words."
    )

    @classmethod
    def of(cls, synced: Synced) -> Self:
        """Show it."""
        changed = sum(one.outcome is CoinOutcome.CHANGED for one in synced.coins)
        return cls(
            account=synced.account,
            read_at=_EPOCH + timedelta(milliseconds=synced.told_at),
            changed=changed,
            unchanged=len(synced.coins) - changed,
            is_stored=synced.is_stored,
            coins=[SyncedCoinAnswer.of(one) for one in synced.coins],
            faults=synced.faults,
        )


def write_cursor(*parts: str | int) -> str:
    """Write a place in a list so that nobody takes it apart."""
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).rstrip(b"=").decode()


def read_cursor(cursor: str, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    """Read a place back.

    Raises:
        Rejected: it is not one of ours.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        parts: tuple[Any, ...] = msgspec.json.decode(raw, type=tuple[kinds])  # type: ignore[valid-type]
    except (binascii.Error, ValueError) as exc:  # msgspec's errors are ValueErrors
        raise _unknown_cursor(cursor) from exc
    # A time beyond the calendar.
    if any(isinstance(part, int) and not 0 <= part < 10**14 for part in parts):
        raise _unknown_cursor(cursor)
    return parts


def _unknown_cursor(cursor: str) -> Rejected:
    return Rejected(
        "this cursor was not made here for this request; give next_cursor of the answer before, "
        "unchanged, with the same parameters",
        code="cursor_unknown",
        field="cursor",
        found=cursor,
    )
