"""The venue's position record in one form: rows of every kind of account, of stream and REST."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import msgspec

from ws_gateway.domain.amount import plain, read_amount
from ws_gateway.domain.position import Position, PositionMode

_CATEGORIES = frozenset({"linear", "inverse", "option"})
_SYMBOL = re.compile(r"[!-~]{1,48}")
_OPEN, _FLAT = frozenset({"Buy", "Sell"}), frozenset({"", "None"})
_HEDGE_SIDE = {1: "Buy", 2: "Sell"}
_LARGEST = 2**63 - 1
_LONGEST_WORD = 32


class _Row(msgspec.Struct, rename="camel"):
    symbol: str
    position_idx: int
    side: str = ""
    size: str = ""
    category: str = ""
    entry_price: str = ""
    avg_price: str = ""  # what REST calls it
    mark_price: str = ""
    leverage: str = ""
    position_im: str = msgspec.field(default="", name="positionIM")
    position_mm: str = msgspec.field(default="", name="positionMM")
    position_value: str = ""
    unrealised_pnl: str = ""
    cur_realised_pnl: str = ""
    cum_realised_pnl: str = ""
    liq_price: str = ""
    take_profit: str = ""
    stop_loss: str = ""
    trailing_stop: str = ""
    position_status: str = "Normal"
    is_reduce_only: bool = False
    seq: int | str | None = None  # the docs print it quoted
    created_time: str = ""
    updated_time: str = ""


_decode_row = msgspec.json.Decoder(_Row).decode


class InvalidPosition(ValueError):
    """A record that is no position as the venue has them."""


def read_position(payload: bytes, *, category: str | None, timestamp: int) -> Position:
    """Read a record of the topic `position`, or a row of REST.

    Args:
        payload: the record, as received.
        category: of the reading, for rows that name none.
        timestamp: exchange time of the reading, ms.

    Raises:
        InvalidPosition: a field is missing or malformed, or the fields contradict each other.
    """
    try:
        row = _decode_row(payload)
        return _position(row, payload, category, timestamp)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidPosition(str(exc)) from exc


def _position(row: _Row, payload: bytes, category: str | None, timestamp: int) -> Position:
    _check_place(row, row.category or category or "")
    read = _reader(row)
    size = read("size")
    if size is None:
        raise InvalidPosition(f"{row.symbol}: size is empty")
    side = _side(row, size)
    entry = read("entry_price")
    if entry is None:
        entry = read("avg_price")
    if side is not None and not entry:
        raise InvalidPosition(f"{row.symbol}: {side} {plain(size)} without an entry price")
    return Position(
        symbol=row.symbol,
        category=row.category or category or "",
        side=side,
        size=plain(size),
        entry_price=_set(entry),
        mark_price=_set(read("mark_price")),
        leverage=_set(read("leverage")),
        margin=_told(read("position_im"), side),
        maintenance_margin=_told(read("position_mm"), side),
        position_value=_told(read("position_value"), side),
        unrealised_pnl=_told(read("unrealised_pnl", is_signed=True)),
        realised_pnl=_told(read("cur_realised_pnl", is_signed=True)),
        cumulative_realised_pnl=_told(read("cum_realised_pnl", is_signed=True)),
        liquidation_price=_set(read("liq_price")),
        take_profit=_set(read("take_profit")),
        stop_loss=_set(read("stop_loss")),
        trailing_stop=_set(read("trailing_stop")),
        position_idx=row.position_idx,
        mode=PositionMode.HEDGE if row.position_idx else PositionMode.ONE_WAY,
        status=row.position_status,
        is_reduce_only=row.is_reduce_only,
        seq=_whole(row, "seq", row.seq, lowest=-1),
        timestamp=timestamp,
        created_at=_whole(row, "createdTime", row.created_time) or None,
        updated_at=_whole(row, "updatedTime", row.updated_time) or None,
        raw=msgspec.Raw(payload),
    )


def _check_place(row: _Row, category: str) -> None:
    if _SYMBOL.fullmatch(row.symbol) is None:
        raise InvalidPosition(f"{row.symbol[:50]!r} is no symbol")
    if category not in _CATEGORIES:
        raise InvalidPosition(f"{row.symbol}: no positions in category {category[:20]!r}")
    if row.position_idx not in (0, 1, 2):
        raise InvalidPosition(f"{row.symbol}: positionIdx {row.position_idx}")
    if not row.position_status or len(row.position_status) > _LONGEST_WORD:
        raise InvalidPosition(f"{row.symbol}: positionStatus {row.position_status[:50]!r}")


def _side(row: _Row, size: Decimal) -> str | None:
    """Tell the side; an empty one is how unified accounts say flat, `None` classic ones."""
    if row.side not in _OPEN | _FLAT:
        raise InvalidPosition(f"{row.symbol}: side {row.side[:20]!r}")
    if not size:
        return None  # a side may be left over
    if row.side in _FLAT:
        raise InvalidPosition(f"{row.symbol}: size {plain(size)} without a side")
    if row.position_idx and row.side != _HEDGE_SIDE[row.position_idx]:
        raise InvalidPosition(f"{row.symbol}: {row.side} with positionIdx {row.position_idx}")
    return row.side


def _reader(row: _Row) -> Callable[..., Decimal | None]:
    """Return what reads a row's amounts by name, and names the one that is none."""

    def read(name: str, *, is_signed: bool = False) -> Decimal | None:
        try:
            amount = read_amount(getattr(row, name))
        except ValueError as exc:
            raise InvalidPosition(f"{row.symbol}: {name}: {exc}") from exc
        if amount is not None and amount < 0 and not is_signed:
            raise InvalidPosition(f"{row.symbol}: {name} is {plain(amount)}, below 0")
        return amount

    return read


def _set(amount: Decimal | None) -> str | None:
    """Write a price; 0 and an empty text both say that there is none."""
    return plain(amount) if amount else None


def _told(amount: Decimal | None, side: str | None = "any") -> str | None:
    """Write an amount that may be 0; a flat row has none of what belongs to a size."""
    return None if amount is None or side is None else plain(amount)


def _whole(row: _Row, name: str, value: int | str | None, lowest: int = 0) -> int | None:
    if value is None or value == "":
        return None
    try:
        number = int(value)
    except ValueError:
        raise InvalidPosition(f"{row.symbol}: {name} {str(value)[:30]!r}") from None
    if not lowest <= number <= _LARGEST:
        raise InvalidPosition(f"{row.symbol}: {name} {number}")
    return number
