"""The latest lane under pressure: fewer events, each field's newest value, each number told of."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.delivery_rig import observe
from support.link_stage import Stage
from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.delivery.conflation import conflate
from ws_gateway.domain.event import Event, Kind
from ws_gateway.domain.topic import Category, Topic, parse_topic

LINEAR = parse_topic("tickers.BTCUSDT", Category.LINEAR)
OTHER = parse_topic("tickers.ETHUSDT", Category.LINEAR)
LIMIT = parse_topic("priceLimit.BTCUSDT", Category.LINEAR)
ALERT = parse_topic("adlAlert.USDT", Category.LINEAR)
POOL = parse_topic("insurance.USDT", Category.LINEAR)
STATUS = parse_topic("system.status", None)
TRADES = parse_topic("publicTrade.BTCUSDT", Category.LINEAR)
ORDERS = parse_topic("order", None)


def pair(
    topic: Topic, older: tuple[Kind, bytes], newer: tuple[Kind, bytes], *, step: int = 1
) -> Event | None:
    """Conflate two events of a stream."""
    first = Event(observe(topic, kind=older[0], payload=older[1]), "E", 7, 2)
    second = Event(observe(topic, kind=newer[0], payload=newer[1]), "E", 7 + step)
    return conflate(first, second)


def test_a_full_value_replaces_what_waits() -> None:
    """As it came, with the count of all it stands for."""
    for topic, kind in ((LINEAR, Kind.SNAPSHOT), (LIMIT, Kind.UPDATE), (POOL, Kind.SNAPSHOT)):
        both = pair(topic, (kind, b'{"a":1}'), (kind, b'{"b": 2}'))
        assert both is not None
        assert both.observation.payload == b'{"b": 2}'
        assert (both.sequence, both.conflated) == (8, 3)


def test_deltas_of_a_ticker_are_laid_over_each_other() -> None:
    """No field is lost, the venue's bytes stay, and a snapshot stays one."""
    delta = (Kind.DELTA, b'{"lastPrice": "1.10", "x": "2.00"}')
    newer = (Kind.DELTA, b'{"x":"3.00","y":null}')
    both = pair(LINEAR, delta, newer)
    assert both is not None
    assert both.observation.kind is Kind.DELTA
    assert both.observation.payload == b'{"lastPrice":"1.10","x":"3.00","y":null}'
    onto_snapshot = pair(LINEAR, (Kind.SNAPSHOT, delta[1]), newer)
    assert onto_snapshot is not None
    assert onto_snapshot.observation.kind is Kind.SNAPSHOT
    assert onto_snapshot.observation.payload == both.observation.payload


@pytest.mark.parametrize(
    ("topic", "kind", "older", "newer"),
    [
        (POOL, Kind.DELTA, b'[{"coin":"A"}]', b'[{"coin":"B"}]'),
        (STATUS, Kind.UPDATE, b'[{"id":"1"}]', b'[{"id":"2"}]'),
        (ALERT, Kind.UPDATE, b'[{"s":"A"},{"s":"B"}]', b'[{"s":"A"}]'),
        (ALERT, Kind.UPDATE, b'[{"s":"A"}]', b'{"s":"A"}'),
        (LINEAR, Kind.DELTA, b"[]", b'{"a":1}'),
    ],
)
def test_what_cannot_stand_for_the_older_one_is_told_beside_it(
    topic: Topic, kind: Kind, older: bytes, newer: bytes
) -> None:
    """Partial lists and single facts are never replaced."""
    assert pair(topic, (kind, older), (kind, newer)) is None


def test_an_alert_that_names_every_symbol_again_replaces() -> None:
    """It may name more."""
    kind = Kind.UPDATE
    assert pair(ALERT, (kind, b'[{"s":"A"}]'), (kind, b'[{"s":"B"},{"s":"A"}]')) is not None


def test_values_that_do_not_follow_each_other_are_not_joined() -> None:
    """`conflated` names the numbers just before, so there must be no hole between them."""
    assert pair(LIMIT, (Kind.UPDATE, b"{}"), (Kind.UPDATE, b"{}"), step=2) is None


async def test_without_a_broker_tickers_stay_few_and_complete() -> None:
    """Thousands of deltas of two streams wait as a few messages; every field is the newest."""
    stage = Stage()
    for number in range(2000):
        payload = json.dumps({f"f{number % 7}": str(number)}).encode()
        stage.runner.accept(observe(LINEAR, kind=Kind.DELTA, payload=payload))
        stage.runner.accept(observe(OTHER, kind=Kind.DELTA, payload=payload))
        stage.assert_balance()
    assert stage.outbox.messages < 15
    assert stage.counters.shed["conflated"] > 3900
    assert set(stage.counters.shed) == {"conflated"}
    stage.begin()
    stage.drain()
    checker = ContinuityChecker(from_start=True)
    state: dict[str, dict[str, str]] = {}
    for body in stage.broker.bodies:
        checker.check(body)
        if body["kind"] == "delta":
            state.setdefault(body["topic"], {}).update(body["payload"])
    assert checker.problems == []
    assert checker.conflated == stage.counters.shed["conflated"]
    newest = {f"f{number % 7}": str(number) for number in range(1993, 2000)}
    assert state == {LINEAR.name: newest, OTHER.name: newest}
    assert stage.counters.received == stage.counters.confirmed + checker.conflated


async def test_a_full_lane_of_trades_leaves_tickers_and_orders_alone() -> None:
    """What gives way is the flood itself; a private event is sent before all that waits."""
    stage = Stage()
    for _ in range(500):
        stage.runner.accept(observe(TRADES))
    stage.runner.accept(observe(LINEAR))
    stage.runner.accept(observe(ORDERS))
    assert stage.counters.shed == Counter(no_room=452)
    stage.begin()
    classes = [body["event_type"] for body in stage.broker.bodies]
    assert classes[:3] == ["order"] * 3
    assert set(classes[3:]) == {"trade", "ticker"}
    stage.drain()
    lanes = {lane.lane.value: lane for lane in stage.publisher.status().lanes}
    assert lanes["ledger"].peak_events == 50
    assert (lanes["private"].peak_events, lanes["ledger"].events) == (3, 0)


async def test_a_private_event_is_written_at_once_beside_a_window_full_of_public_ones() -> None:
    """It has a window of its own, and the gathering of public events does not delay it."""
    stage = Stage(max_events=10_000, window=1000)
    stage.begin()
    for _ in range(2000):
        stage.runner.accept(observe(TRADES))
    await asyncio.sleep(0.01)
    assert (len(stage.broker.bodies), stage.outbox.unconfirmed) == (1000, 1000)
    stage.runner.accept(observe(ORDERS))
    await asyncio.sleep(0)
    assert [body["event_type"] for body in stage.broker.bodies[1000:]] == ["order"] * 3


_numbers = count(1)


def _fact(data: st.DataObject) -> tuple[Topic, Kind, dict[str, str]]:
    topic = data.draw(st.sampled_from([LINEAR, OTHER, LIMIT, POOL, TRADES]))
    number = str(next(_numbers))
    if topic in (LINEAR, OTHER):
        kind = data.draw(st.sampled_from([Kind.DELTA, Kind.DELTA, Kind.SNAPSHOT]))
        if kind is Kind.SNAPSHOT:
            return topic, kind, {"a": number, "b": number, "c": number}
        return topic, kind, {data.draw(st.sampled_from("abc")): number}
    return topic, Kind.DELTA if topic is POOL else Kind.UPDATE, {"a": number}


def _states(events: Iterator[tuple[str, str, dict[str, str]]]) -> dict[str, dict[str, str]]:
    states: dict[str, dict[str, str]] = {}
    for topic, kind, payload in events:
        if kind == "snapshot":
            states[topic] = {}
        states.setdefault(topic, {}).update(payload)
    return states


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_broker_does_every_number_is_explained(data: st.DataObject) -> None:
    """Over any order of facts, confirms, refusals and losses; all fields stand if none is shed."""

    async def play() -> None:
        stage = Stage(max_events=data.draw(st.sampled_from([40, 100])), window=10)
        told: list[tuple[str, str, dict[str, str]]] = []
        steps = st.sampled_from(["facts", "facts", "confirm", "refuse", "lose", "begin"])
        for step in data.draw(st.lists(steps, max_size=30)):
            if step == "facts":
                for _ in range(data.draw(st.integers(1, 15))):
                    topic, kind, payload = _fact(data)
                    told.append((topic.name, kind.value, payload))
                    raw = json.dumps(payload).encode()
                    stage.runner.accept(observe(topic, kind=kind, payload=raw))
            else:
                _act(stage, step)
            stage.assert_balance()
        _act(stage, "begin")
        stage.drain()
        stage.runner.room_again()
        stage.drain()
        stage.assert_balance()
        checker = ContinuityChecker(from_start=True)
        for body in stage.broker.bodies:
            checker.check(body)
        assert checker.problems == []
        facts = [b for b in stage.broker.bodies if b["kind"] not in ("gap", "resumed")]
        if set(stage.counters.shed) <= {"conflated"}:
            seen = ((b["topic"], b["kind"], b["payload"]) for b in _in_order(facts))
            assert _states(seen) == _states(iter(told))

    asyncio.run(play())


def _act(stage: Stage, step: str) -> None:
    """Let the broker do something."""
    if step == "lose":
        stage.end()
    elif step == "begin":
        stage.begin()
    elif stage.outbox.unconfirmed and step == "confirm":
        stage.confirm()
    elif stage.outbox.unconfirmed:
        stage.public.on_nack(stage.outbox.public.first_tag, multiple=False)


def _in_order(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out repeats, as a consumer does by number."""
    newest: dict[str, int] = {}
    kept = []
    for body in bodies:
        if body["sequence"] > newest.get(body["topic"], 0):
            newest[body["topic"]] = body["sequence"]
            kept.append(body)
    return kept
