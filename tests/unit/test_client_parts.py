"""What of the consumer kit needs no broker: bindings, filters, and the numbers of gaps."""

from __future__ import annotations

from typing import Any

import pytest

from ws_gateway.client.consumer import _Choice, _Watch, binding_keys
from ws_gateway.client.event import Envelope


def envelope(sequence: int = 1, kind: str = "update", **changes: Any) -> Envelope:
    """Make an envelope of a linear trade."""
    fields: dict[str, Any] = {
        "schema": 1,
        "event_id": f"e{sequence}",
        "event_type": "trade",
        "kind": kind,
        "source": "stream",
        "category": "linear",
        "symbol": "BTCUSDT",
        "topic": "publicTrade.BTCUSDT",
        "account": None,
        "epoch": "E1",
        "sequence": sequence,
        "timestamp": 1,
        "matched_at": None,
        "received_at": 1_000_000 * sequence,
        "trace_id": "0" * 32,
        "payload": [],
    }
    return Envelope(**(fields | changes))


def gap(sequence: int, first: int | None, last: int | None, **changes: Any) -> Envelope:
    """Make a marker."""
    said = {"reason": "shed", "from_sequence": first, "to_sequence": last, "detail": "full"}
    return envelope(sequence, "gap", payload=said, **changes)


@pytest.mark.parametrize(
    ("category", "symbol", "keys"),
    [
        (None, None, ["order.#"]),
        ("linear", None, ["order.linear.*", "order.-.-"]),
        (None, "BTCUSDT", ["order.*.BTCUSDT", "order.-.-", "order.*.-"]),
        ("linear", "A.B", ["order.linear.A%2EB", "order.-.-", "order.linear.-"]),
    ],
)
def test_bindings_bring_the_markers_too(
    category: str | None, symbol: str | None, keys: list[str]
) -> None:
    """A filter hides no marker that is about what it lets through."""
    assert binding_keys("order", category, symbol) == keys


def test_filter_lets_markers_about_everything_through() -> None:
    """A marker without symbol is about all of them; a fact without one is about none."""
    choice = _Choice("trade", "linear", "BTCUSDT", None)
    assert choice.takes(envelope())
    assert choice.takes(gap(1, None, None, symbol=None, category=None))
    assert not choice.takes(envelope(symbol=None))
    assert not choice.takes(envelope(symbol="ETHUSDT"))
    assert not choice.takes(envelope(category="spot"))
    assert not choice.takes(envelope(event_type="ticker"))


def test_hole_in_a_private_stream_concerns_every_symbol_of_it() -> None:
    """The event that shows it need not be of the wanted symbol; a stream of its own matters not."""
    choice = _Choice("order", "linear", "BTCUSDT", None)
    order: dict[str, Any] = {
        "event_type": "order",
        "account": "main",
        "symbol": "ETHUSDT",
        "topic": "order",
    }
    assert choice.concerns(envelope(**order))
    assert choice.concerns(envelope(**order, category="spot"))
    assert not choice.concerns(envelope(**order | {"topic": "order.spot", "category": "spot"}))
    assert not choice.concerns(envelope(symbol="ETHUSDT"))


def watched(*envelopes: Envelope, follows_numbers: bool = True) -> list[tuple[Any, ...]]:
    """Show events to a watch; answers the gaps it finds."""
    watch = _Watch(None, follows_numbers=follows_numbers)
    found = [watch.look_at(each) for each in envelopes]
    return [(one.reason, one.from_sequence, one.to_sequence) for one in found if one is not None]


def test_marker_is_a_gap_and_explains_the_step() -> None:
    """The hole that a marker names is told once, by the marker."""
    assert watched(envelope(4), gap(8, 5, 7), envelope(9)) == [("shed", 5, 7)]


def test_step_that_nothing_explains_is_a_gap() -> None:
    """It is told with the numbers that are missing; a step that is conflated is none."""
    assert watched(envelope(4), envelope(8)) == [("unexplained", 5, 7)]
    assert watched(envelope(4), envelope(8, conflated=3)) == []
    assert watched(envelope(4), envelope(8), follows_numbers=False) == []


def test_epoch_that_begins_late_lacks_its_beginning() -> None:
    """Of a new epoch, everything before its first event that came is missing."""
    assert watched(envelope(4), envelope(3, epoch="E2")) == [("unexplained", 1, 2)]


def test_epoch_of_a_clock_that_was_set_back_has_the_right_hole() -> None:
    """A later epoch need not be greater; what is missing is counted in its own numbers."""
    begin = gap(1, None, None, epoch="E1")
    back = [envelope(number, epoch="E1") for number in (2, 3, 9)]
    assert watched(envelope(42, epoch="E2"), begin, *back)[1:] == [("unexplained", 4, 8)]


def test_gap_comes_late_and_streams_are_apart() -> None:
    """Repeats are no gap, and another topic has numbers of its own."""
    other = envelope(50, topic="publicTrade.ETHUSDT")
    assert watched(envelope(4), other, envelope(4), envelope(5)) == []


async def test_more_holes_than_can_be_remembered() -> None:
    """The memory of holes is bounded, and the watch goes on."""
    found = watched(*(envelope(number * 2) for number in range(1, 3000)))
    assert len(found) == 2998


def test_another_accounts_events_and_holes_concern_nobody_who_asked_for_one() -> None:
    """Keys do not name the account, so a queue holds everybody's."""
    choice = _Choice("order", None, None, None, "hedge")
    order: dict[str, Any] = {"event_type": "order", "topic": "order", "category": None}
    assert choice.takes(envelope(**order, account="hedge"))
    assert not choice.takes(envelope(**order, account="main"))
    assert choice.concerns(envelope(**order, account="hedge"))
    assert not choice.concerns(envelope(**order, account="main"))
