"""What identifies a private record, and which instrument it is about.

Only what identity needs is decoded; a record's `category` wins over that of the reading, which
stands in where rows of REST and an old account's records name none. A fact that stream and REST
both tell has one identity: only fields that both have take part, and numbers by their value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NamedTuple

import msgspec

from ws_gateway.domain.amount import plain, read_amount
from ws_gateway.domain.topic import Category, Channel, Topic
from ws_gateway.venue.fingerprint import digest
from ws_gateway.venue.messages import Count

# All become words of a routing key, which has 255 bytes in all.
_Symbol = Annotated[str, msgspec.Meta(max_length=48)]
_Category = Annotated[str, msgspec.Meta(max_length=12)]

_PRODUCT_OF_STRATEGY = {
    "UTA_SPOT": Category.SPOT,
    "UTA_USDT": Category.LINEAR,
    "UTA_USDT_FUTURE": Category.LINEAR,
    "UTA_USDC": Category.LINEAR,
    "UTA_USDC_FUTURE": Category.LINEAR,
    "UTA_INVERSE": Category.INVERSE,
    "UTA_INVERSE_FUTURE": Category.INVERSE,
}
"""Product lines by the names the strategy topic has for them (Bybit v5 docs, Strategy)."""


class Identity(NamedTuple):
    """A record's identity within its topic, its product line and its instrument."""

    text: str
    category: str | None
    symbol: str | None


class _Order(msgspec.Struct, gc=False, rename="camel"):
    order_id: str
    updated_time: str
    symbol: _Symbol
    category: _Category = ""
    order_status: str = ""
    cum_exec_qty: str = ""
    price: str = ""
    qty: str = ""
    trigger_price: str = ""
    take_profit: str = ""
    stop_loss: str = ""
    cancel_type: str = ""
    reject_reason: str = ""

    def changeable(self) -> str:
        """Write what a change of the order can change, the same however it is told."""
        numbers = (self.cum_exec_qty, self.price, self.qty, self.trigger_price)
        return "|".join(
            (
                self.order_status,
                *(_number(text) for text in (*numbers, self.take_profit, self.stop_loss)),
                "" if self.cancel_type == "UNKNOWN" else self.cancel_type,
                "" if self.reject_reason == "EC_NoError" else self.reject_reason,
            )
        )


class _Execution(msgspec.Struct, gc=False, rename="camel"):
    exec_id: str
    symbol: _Symbol
    category: _Category = ""


class _Position(msgspec.Struct, gc=False, rename="camel"):
    symbol: _Symbol
    position_idx: Count
    category: _Category = ""
    seq: int | str = 0  # -1 where the symbol was never traded; the docs print it quoted


class _Greeks(msgspec.Struct, gc=False, rename="camel"):
    base_coin: _Symbol


class _Strategy(
    msgspec.Struct,
    gc=False,
    rename={"strategy_id": "strategyId", "updated_at": "updatedTimeE3"},
):
    strategy_id: str
    updated_at: Count
    symbol: _Symbol = ""
    category: str = ""


_decode_order = msgspec.json.Decoder(_Order).decode
_decode_execution = msgspec.json.Decoder(_Execution).decode
_decode_position = msgspec.json.Decoder(_Position).decode
_decode_greeks = msgspec.json.Decoder(_Greeks).decode
_decode_strategy = msgspec.json.Decoder(_Strategy).decode


def identify(topic: Topic, raw: msgspec.Raw, created: int, category: str | None = None) -> Identity:
    """Read what identifies one record.

    Args:
        topic: the private topic it came on, or belongs to.
        raw: the record, as received.
        created: `creationTime` of its frame, or `time` of the answer of REST, ms.
        category: of an answer of REST, whose rows name none.

    Raises:
        msgspec.DecodeError: a field that identity needs is missing or of another type.
    """
    return _IDENTIFY[topic.channel](topic, raw, created, category or topic.category)


def _number(text: str) -> str:
    """Write a number as its equals are written; an unset one is told as empty, 0, and 0.00."""
    try:
        amount = read_amount(text)
    except ValueError:
        return text
    return plain(amount) if amount else ""


def _order(_topic: Topic, raw: msgspec.Raw, _created: int, category: str | None) -> Identity:
    order = _decode_order(raw)
    # Two changes of one order can share a millisecond, so the changed fields take part.
    changed = digest(order.changeable().encode())
    category = order.category or category
    return Identity(
        f"{category or ''}:{order.order_id}:{order.updated_time}:{changed}", category, order.symbol
    )


def _execution(_topic: Topic, raw: msgspec.Raw, _created: int, category: str | None) -> Identity:
    execution = _decode_execution(raw)
    category = execution.category or category
    return Identity(
        f"{category or ''}:{execution.symbol}:{execution.exec_id}", category, execution.symbol
    )


def _position(_topic: Topic, raw: msgspec.Raw, _created: int, category: str | None) -> Identity:
    # Of this reading alone, to join sockets by; the state it tells is identified by the account
    # room, which reads every field.
    position = _decode_position(raw)
    category = position.category or category
    row = f"{category or ''}:{position.symbol}:{position.position_idx}:{position.seq}"
    return Identity(f"{row}:{digest(raw)}", category, position.symbol)


def _spread_order(topic: Topic, raw: msgspec.Raw, created: int, _category: str | None) -> Identity:
    # A row's category says whether it is the combination or one of its legs: no product line.
    return _order(topic, raw, created, topic.category)._replace(category=topic.category)


def _spread_execution(
    topic: Topic, raw: msgspec.Raw, created: int, _category: str | None
) -> Identity:
    return _execution(topic, raw, created, topic.category)._replace(category=topic.category)


def _strategy(_topic: Topic, raw: msgspec.Raw, _created: int, _category: str | None) -> Identity:
    strategy = _decode_strategy(raw)
    return Identity(
        f"{strategy.strategy_id}:{strategy.updated_at}:{digest(raw)}",
        _PRODUCT_OF_STRATEGY.get(strategy.category),
        strategy.symbol or None,
    )


def _greeks(_topic: Topic, raw: msgspec.Raw, created: int, _category: str | None) -> Identity:
    coin = _decode_greeks(raw).base_coin
    return Identity(f"{created}:{coin}:{digest(raw)}", Category.OPTION, coin)


def _told(topic: Topic, raw: msgspec.Raw, created: int, _category: str | None) -> Identity:
    """Identify what has no id of its own by when the venue told it."""
    return Identity(f"{created}:{digest(raw)}", topic.category, None)


_IDENTIFY: dict[Channel, Callable[[Topic, msgspec.Raw, int, str | None], Identity]] = {
    Channel.ORDER: _order,
    Channel.EXECUTION: _execution,
    Channel.EXECUTION_FAST: _execution,  # its own ids: the topic's key stands in front of them
    Channel.POSITION: _position,
    Channel.BALANCE: _told,
    Channel.GREEKS: _greeks,
    Channel.STRATEGY: _strategy,
    Channel.SPREAD_ORDER: _spread_order,
    Channel.SPREAD_EXECUTION: _spread_execution,
    Channel.DCP: _told,  # documented as silent: whatever comes is carried
}
