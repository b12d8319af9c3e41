"""What a consumer wants: bindings, and filters that hide nothing that is missing."""

from __future__ import annotations

from typing import Any

import pytest

from support.envelopes import envelope, gap
from ws_gateway.client.choice import Choice, binding_keys


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
    choice = Choice("trade", "linear", "BTCUSDT", None)
    assert choice.takes(envelope())
    assert choice.takes(gap(1, None, None, symbol=None, category=None))
    assert not choice.takes(envelope(symbol=None))
    assert not choice.takes(envelope(symbol="ETHUSDT"))
    assert not choice.takes(envelope(category="spot"))
    assert not choice.takes(envelope(event_type="ticker"))


def test_hole_in_a_private_stream_concerns_every_symbol_of_it() -> None:
    """The event that shows it need not be of the wanted symbol; a stream of its own matters not."""
    choice = Choice("order", "linear", "BTCUSDT", None)
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


def test_another_accounts_events_and_holes_concern_nobody_who_asked_for_one() -> None:
    """Keys do not name the account, so a queue holds everybody's."""
    choice = Choice("order", None, None, None, "hedge")
    order: dict[str, Any] = {"event_type": "order", "topic": "order", "category": None}
    assert choice.takes(envelope(**order, account="hedge"))
    assert not choice.takes(envelope(**order, account="main"))
    assert choice.concerns(envelope(**order, account="hedge"))
    assert not choice.concerns(envelope(**order, account="main"))
