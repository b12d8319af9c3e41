"""Ids of orders and executions: the same over stream and REST, another for another change."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ws_gateway.domain.topic import Channel, Topic, build_topic
from ws_gateway.venue.observations import private_fact

ORDER, EXECUTION = build_topic(Channel.ORDER), build_topic(Channel.EXECUTION)
ROW = {
    "orderId": "af6512ea", "symbol": "BTCUSDT", "updatedTime": "1682917170026",
    "category": "linear",
    "orderStatus": "New", "cumExecQty": "0", "leavesQty": "0.001", "price": "27673.40",
    "qty": "0.001", "triggerPrice": "0.00", "takeProfit": "0.00", "stopLoss": "",
    "cancelType": "UNKNOWN", "rejectReason": "EC_NoError",
}  # fmt: skip


def id_of(topic: Topic, row: dict[str, Any], category: str | None = None) -> str:
    """Return the id of a row, told at a time of its own."""
    raw = msgspec.Raw(msgspec.json.encode(row))
    return private_fact(topic, raw, 7 if category else 5, 1, "0" * 32, category=category).event_id


def over_rest(row: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Write a row as REST does, which names the category once for all."""
    return {name: value for name, value in {**row, **fields}.items() if name != "category"}


def test_one_state_of_an_order_has_one_id_over_stream_and_rest() -> None:
    """REST pads numbers and writes what is unset in other ways (recorded of one order)."""
    padded = {"cumExecQty": "0.000", "price": "27673.4", "stopLoss": "0.00", "leavesQty": "",
              "rejectReason": "", "triggerPrice": ""}  # fmt: skip
    assert id_of(ORDER, over_rest(ROW, **padded), "linear") == id_of(ORDER, ROW)


@pytest.mark.parametrize(
    "fields",
    [
        {"orderStatus": "Filled"}, {"cumExecQty": "0.0005"}, {"price": "27673.5"},
        {"qty": "0.002"}, {"triggerPrice": "1"}, {"takeProfit": "1"}, {"stopLoss": "1"},
        {"cancelType": "CancelByUser"}, {"rejectReason": "EC_OrigClOrdIDDoesNotExist"},
        {"updatedTime": "1682917170027"}, {"orderId": "b"}, {"category": "inverse"},
    ],
)  # fmt: skip
def test_another_state_of_an_order_has_another_id(fields: dict[str, str]) -> None:
    """Two changes of one order can share a millisecond."""
    assert id_of(ORDER, ROW | fields) != id_of(ORDER, ROW)


def test_one_fill_has_one_id_over_stream_and_rest() -> None:
    """Its own, with category and symbol."""
    fill = {"execId": "e1", "symbol": "BTCUSDT", "category": "linear", "execFee": "1"}
    assert id_of(EXECUTION, over_rest(fill, execFee="1.0"), "linear") == id_of(EXECUTION, fill)
    assert id_of(EXECUTION, fill | {"category": "spot"}) != id_of(EXECUTION, fill)
