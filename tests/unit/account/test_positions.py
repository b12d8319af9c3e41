"""Positions: one form for every kind of account, one id over stream and REST, no repeats."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.account_desk import NOW_MS, POSITION, Desk, position
from ws_gateway.domain.event import Source
from ws_gateway.domain.topic import Category, Channel, build_topic

LINEAR = build_topic(Channel.POSITION, category=Category.LINEAR)


def over_rest(row: dict[str, Any]) -> dict[str, Any]:
    """Write a position as REST does: another name of the entry price, and no category."""
    renamed = {"entryPrice": "avgPrice"}
    return {renamed.get(name, name): value for name, value in row.items() if name != "category"}


def test_a_position_is_published_in_one_form_with_the_record_beside_it() -> None:
    """Amounts exact and without needless zeros; what is unset is null."""
    desk = Desk()
    desk.tell(POSITION, position(size="0.50", side="Sell"))
    (payload,) = desk.payloads
    raw = payload.pop("raw")
    assert raw == position(size="0.50", side="Sell")
    assert payload == {
        "symbol": "BTCUSDT", "category": "linear", "side": "Sell", "size": "0.5",
        "entry_price": "60000.5", "mark_price": "61000", "leverage": "10", "margin": "3000",
        "maintenance_margin": "150", "position_value": "30000.25", "unrealised_pnl": "499.75",
        "realised_pnl": "-1.5", "cumulative_realised_pnl": "12.25", "liquidation_price": None,
        "take_profit": None, "stop_loss": None, "trailing_stop": None, "position_idx": 0,
        "mode": "one_way", "status": "Normal", "is_reduce_only": False, "seq": 100,
        "timestamp": NOW_MS, "created_at": 1789999999000, "updated_at": 1790000000000,
    }  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"side": "", "size": "0"},
        {"side": "None", "size": "0.000"},
        {"side": "Buy", "size": "0"},
        {"side": "", "size": "0", "positionIM": "", "leverage": "", "seq": "-1"},
    ],
)
def test_every_kind_of_account_says_flat_in_its_own_way(fields: dict[str, Any]) -> None:
    """A flat position is news: it was closed."""
    desk = Desk()
    desk.tell(POSITION, position(entryPrice="0", liqPrice="0", **fields))
    (payload,) = desk.payloads
    assert (payload["side"], payload["size"], payload["entry_price"]) == (None, "0", None)
    assert payload["margin"] is None


@pytest.mark.parametrize(("index", "side"), [(1, "Buy"), (2, "Sell")])
def test_both_sides_of_a_hedged_symbol_are_positions_of_their_own(index: int, side: str) -> None:
    """Of mode hedge."""
    desk = Desk()
    for each in (1, 2):
        flat = {} if each == index else {"side": "", "size": "0"}
        desk.tell(POSITION, position(**{"positionIdx": each, "side": side, **flat}))
    assert {one["mode"] for one in desk.payloads} == {"hedge"}
    assert len({fact.event_id for fact in desk.pipeline.taken}) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"size": "-1"}, {"size": ""}, {"size": "1e99"}, {"side": ""}, {"side": "Long"},
        {"entryPrice": "0"}, {"entryPrice": "-5"}, {"markPrice": "x"}, {"positionIdx": 3},
        {"positionIdx": 1, "side": "Sell"}, {"leverage": "-1"}, {"seq": "?"}, {"seq": -2},
        {"category": "spot"}, {"symbol": ""}, {"positionStatus": ""}, {"isReduceOnly": "no"},
        {"updatedTime": "now"},
    ],
)  # fmt: skip
def test_a_position_that_cannot_be_is_quarantined_and_not_published(fields: dict[str, Any]) -> None:
    """With a marker in its stream, and an alert; the next one is published."""
    desk = Desk()
    desk.tell(POSITION, position(**fields))
    assert desk.pipeline.taken == []
    assert desk.pipeline.reasons == ["position_invalid"]
    assert [topics for topics, _, _ in desk.pipeline.broken] == [[POSITION]]
    assert [one.code for one in desk.stage.problems()] == ["position_invalid"]
    desk.tell(POSITION, position())
    assert len(desk.pipeline.taken) == 1


def test_a_position_pushed_again_unchanged_is_suppressed() -> None:
    """Every order placed pushes it; prices that moved meanwhile do not make it another state."""
    desk = Desk()
    desk.tell(POSITION, position())
    moved = position(markPrice="62000", unrealisedPnl="999.75", positionIM="3100", liqPrice="5")
    desk.tell(POSITION, moved, at=NOW_MS + 50)
    assert len(desk.pipeline.taken) == 1
    assert desk.counters.suppressed["unchanged"] == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"size": "0.6"}, {"entryPrice": "60001"}, {"leverage": "11"}, {"takeProfit": "70000"},
        {"stopLoss": "50000"}, {"cumRealisedPnl": "12.26"}, {"seq": 101},
        {"positionStatus": "Liq"}, {"updatedTime": "1790000000001"}, {"isReduceOnly": True},
    ],
)  # fmt: skip
def test_whatever_somebody_did_to_a_position_is_news(fields: dict[str, Any]) -> None:
    """A trade, funding, a setting."""
    desk = Desk()
    desk.tell(POSITION, position())
    desk.tell(POSITION, position(**fields))
    assert len({fact.event_id for fact in desk.pipeline.taken}) == 2


def test_a_setting_changed_and_changed_back_is_told_both_times() -> None:
    """Under three ids, although the third state is the first one."""
    desk = Desk()
    for step, leverage in enumerate(["10", "20", "10"]):
        desk.tell(POSITION, position(leverage=leverage), at=NOW_MS + step)
    assert [one["leverage"] for one in desk.payloads] == ["10", "20", "10"]
    assert len({fact.event_id for fact in desk.pipeline.taken}) == 3


@given(
    st.sampled_from(["0", "0.00", ""]), st.sampled_from(["10", "10.0"]), st.sampled_from([7, "7"])
)
def test_one_state_has_one_id_over_stream_and_rest(
    unset: str, leverage: str, seq: int | str
) -> None:
    """REST names the entry price otherwise, gives no category, and writes numbers its own way."""
    stream, rest = Desk(), Desk()
    row = position(seq=7)
    stream.tell(POSITION, row)
    again = position(leverage=leverage, seq=seq, takeProfit=unset, markPrice="61001.5")
    rest.tell(POSITION, over_rest(again), at=NOW_MS + 700, source=Source.REST, category="linear")
    (told,), (read,) = stream.pipeline.taken, rest.pipeline.taken
    assert told.event_id == read.event_id
    assert (read.category, read.symbol) == ("linear", "BTCUSDT")
    assert rest.payloads[0]["timestamp"] == NOW_MS + 700


def test_an_older_state_over_rest_is_not_told_after_a_newer_one() -> None:
    """The answer was on its way while the stream told more."""
    desk = Desk()
    desk.tell(POSITION, position(seq=101, size="0.7"))
    desk.tell(POSITION, over_rest(position()), source=Source.REST, category="linear")
    assert [one["size"] for one in desk.payloads] == ["0.7"]


def test_a_position_that_found_no_room_is_told_when_it_is_read_again() -> None:
    """Its stream has a marker, but the state itself is told by whoever tells it next."""
    desk = Desk()
    desk.tell(POSITION, position())
    desk.pipeline.has_room = False
    desk.tell(POSITION, position(seq=101, size="0.7"))
    desk.pipeline.has_room = True
    again = over_rest(position(seq=101, size="0.7"))
    for _ in range(2):
        desk.tell(POSITION, again, at=NOW_MS + 700, source=Source.REST, category="linear")
    assert [one["size"] for one in desk.payloads] == ["0.5", "0.7"]
    assert desk.counters.suppressed["unchanged"] == 1


def test_two_topics_that_tell_the_same_position_are_each_told_it() -> None:
    """`position` and `position.linear` have different readers."""
    desk = Desk()
    desk.tell(POSITION, position())
    desk.tell(LINEAR, position())
    assert [fact.topic for fact in desk.pipeline.taken] == [POSITION, LINEAR]


@pytest.mark.parametrize("channel", [Channel.ORDER, Channel.EXECUTION, Channel.DCP])
def test_other_private_facts_pass_untouched(channel: Channel) -> None:
    """The very same object goes on."""
    desk = Desk()
    topic = build_topic(channel, category=Category.SPOT)
    desk.tell(topic, {"orderId": "1", "execId": "2", "symbol": "BTCUSDT", "updatedTime": "3"})
    (fact,) = desk.pipeline.taken
    assert fact.topic is topic
    assert b"orderId" in fact.payload
