"""Frames recorded from the real venue, and those of its documentation, through the whole path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.account_desk import Desk
from support.contract import assert_message
from support.memory_outlet import MemoryOutlet, MemoryResync
from support.needs import needing
from support.scripted_venue import ack, requests_of, state_of, ticker
from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.client.routing import read_routing_key
from ws_gateway.delivery.envelope import Address
from ws_gateway.domain.event import Event, Kind, Observation
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import (
    Category,
    Channel,
    Endpoint,
    EventClass,
    Topic,
    build_topic,
    parse_topic,
)
from ws_gateway.errors import Quarantine, Rejected, VenueLost
from ws_gateway.pipeline.runner import Runner
from ws_gateway.runtime.counters import Counters
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.messages import decode_frame
from ws_gateway.venue.observations import read_observations
from ws_gateway.venue.protocol import Conversation, Phase

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
FIXTURES, RECORDINGS = SHARED / "fixtures", SHARED / "recordings"
TRACE = "0" * 32

pytestmark = [
    pytest.mark.conformance,
    needing("frames", is_here=FIXTURES.is_dir(), why=f"the recorded frames are not in {SHARED}"),
]

NOT_SERVED = {
    "orderbook.full.MNTUSDT",
    "rfq.open.public.trades", "rfq.open.quotes", "rfq.open.rfqs", "rfq.open.trades",
}  # fmt: skip
"""Topics of the collection that are not offered: the full book and trading by negotiation."""

CLASS_OF_PREFIX = {
    "orderbook": EventClass.ORDERBOOK, "publicTrade": EventClass.TRADE,
    "tickers": EventClass.TICKER, "kline": EventClass.KLINE,
    "allLiquidation": EventClass.LIQUIDATION, "insurance": EventClass.INSURANCE,
    "adlAlert": EventClass.ADL_ALERT, "priceLimit": EventClass.PRICE_LIMIT,
    "order": EventClass.ORDER, "execution": EventClass.EXECUTION,
    "position": EventClass.POSITION, "wallet": EventClass.BALANCE, "greeks": EventClass.GREEKS,
    "strategy": EventClass.STRATEGY, "system": EventClass.SYSTEM_STATUS,
    "spread.order": EventClass.ORDER, "spread.execution": EventClass.EXECUTION,
}  # fmt: skip


def files(pattern: str) -> list[Path]:
    """List fixtures in a stable order."""
    return sorted(FIXTURES.glob(pattern))


def label(path: Path) -> str:
    """Name a fixture."""
    return str(path.relative_to(SHARED))


def exact(text: str | bytes) -> Any:
    """Read JSON with every number kept as it is written."""
    return json.loads(text, parse_float=lambda s: f"number {s}", parse_int=lambda s: f"number {s}")


def topic_name(path: Path) -> str | None:
    """Read a fixture's topic, None if it is no data frame."""
    frame = json.loads(path.read_bytes())
    name = frame.get("topic")
    return name if isinstance(name, str) else None


def category_of(path: Path) -> Category | None:
    """Tell which category's socket a data fixture came over, None for the others."""
    place = path.parent.name
    if place == "synthetic":
        place = path.name.partition(".")[0]
    return Category(place) if place in set(Category) else None


def event_class_of(name: str) -> EventClass:
    """Tell the class the events of a topic belong to, from its text alone."""
    return CLASS_OF_PREFIX.get(name) or CLASS_OF_PREFIX[name.partition(".")[0]]


DATA = [
    path
    for path in (*files("public/*/*.json"), *files("private/*.json"), *files("synthetic/*.json"))
    if topic_name(path) is not None
]
SERVED = [path for path in DATA if topic_name(path) not in NOT_SERVED]


def opened(*topics: Topic, endpoint: Endpoint = Endpoint.LINEAR) -> Conversation:
    """Open a conversation that wants these and needs no login."""
    conversation = Conversation(endpoint)
    conversation.want(topics, 0.0)
    conversation.opened(0.0, 0)
    return conversation


def through_account_stage(fact: Observation) -> Observation:
    """Let a private fact go the way it goes; nothing of the collection is refused there."""
    if not fact.topic.is_private:
        return fact
    desk = Desk()
    desk.stage.accept(fact)
    assert desk.pipeline.quarantined == []
    (told,) = desk.pipeline.taken
    return told


def assert_carried(raw: bytes, topic: Topic) -> None:
    """Take a data frame through the whole path and compare what comes out with what came in."""
    conversation = opened(topic, endpoint=topic.endpoint)
    result = conversation.receive(raw, 0.1)
    assert result is not None
    assert state_of(conversation, topic) is State.ACTIVE
    facts = read_observations(*result, 1_790_000_000_000_000, TRACE)
    frame = exact(raw)
    records = frame["data"] if topic.is_private else [frame["data"]]
    assert len(facts) == len(records) > 0
    for fact, record in zip(facts, records, strict=True):
        fact = through_account_stage(fact)  # noqa: PLW2901 - as the gateway does
        body = Address("x", fact, "main").body(Event(fact, "E", 7))
        assert_message(msgspec.json.decode(body))
        envelope = exact(body)
        is_position = topic.channel is Channel.POSITION
        assert (envelope["payload"]["raw"] if is_position else envelope["payload"]) == record
        assert envelope["event_type"] == event_class_of(topic.name)
        assert envelope["topic"] == frame["topic"]
        assert envelope["timestamp"] == frame.get("ts", frame.get("creationTime"))
        assert envelope["matched_at"] == frame.get("cts")
        assert envelope["account"] == ("main" if topic.is_private else None)
        assert fact.event_id.isascii()
        assert len(fact.event_id) <= 255
        route = read_routing_key(Address("x", fact, "main").routing_key)
        assert route == (envelope["event_type"], envelope["category"], envelope["symbol"])
        if topic.is_private and "symbol" in record:
            assert envelope["symbol"] == record["symbol"]
            named = topic.category or record.get("category")
            # Strategies have names of their own; the collection's `UTA_USDT` is linear.
            is_strategy = topic.channel is Channel.STRATEGY
            assert envelope["category"] == (Category.LINEAR if is_strategy else named)
        elif not topic.is_private:
            assert (envelope["category"], envelope["symbol"]) == (topic.category, topic.symbol)
        if topic.channel is Channel.ORDERBOOK:
            assert envelope["kind"] == frame["type"]
            assert fact.update_id is not None
            assert f"number {fact.update_id}" == record["u"]


@pytest.mark.parametrize("path", SERVED, ids=label)
def test_a_recorded_frame_comes_out_as_it_came_in(path: Path) -> None:
    """Decoded, classed, identified, and its payload not touched."""
    raw = path.read_bytes()
    name = topic_name(path)
    assert name is not None
    assert_carried(raw, parse_topic(name, category_of(path)))


def test_what_is_not_served_is_listed_by_name() -> None:
    """The list names topics of the collection, all of them, and none that exists here."""
    names = {(topic_name(path) or "", path) for path in DATA}
    assert {name for name, _ in names} >= NOT_SERVED
    assert SERVED
    served = {event_class_of(name) for name, path in names if path in SERVED}
    assert served == set(EventClass) - {EventClass.DCP}, "dcp is not known to say anything"


@pytest.mark.parametrize("name", sorted(NOT_SERVED))
def test_what_is_not_served_is_no_topic(name: str) -> None:
    """On no socket."""
    for category in (None, *Category):
        with pytest.raises(Rejected):
            parse_topic(name, category)


def test_all_recorded_facts_have_ids_of_their_own() -> None:
    """Two fixtures share an id only if they tell the same fact."""
    seen: dict[str, bytes] = {}
    for path in SERVED:
        topic = parse_topic(topic_name(path) or "", category_of(path))
        for fact in read_observations(topic, decode_frame(path.read_bytes()), 1, TRACE):
            told = msgspec.json.encode(msgspec.json.decode(fact.payload))
            assert seen.setdefault(fact.event_id, told) == told, path.name


# ── recordings ────────────────────────────────────────────────────────────────────────────────


def lines(path: Path) -> list[bytes]:
    """Read a recording."""
    return [line for line in path.read_bytes().splitlines() if line.strip()]


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.jsonl")), ids=label)
def test_every_line_of_a_recording_comes_out_as_it_came_in(path: Path) -> None:
    """Also books of depths that are no longer offered."""
    assert lines(path)
    for raw in lines(path):
        name = decode_frame(raw).topic
        assert name is not None
        assert_carried(raw, parse_topic(name, Category.LINEAR))


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.jsonl")), ids=label)
def test_a_recording_is_one_unbroken_stream(path: Path) -> None:
    """Through the pipeline: a beginning, then every frame in order, without a hole."""
    outlet, resync, counters = MemoryOutlet(), MemoryResync(), Counters()
    runner = Runner(
        outlet=outlet, resync=resync, counters=counters, epoch="E",
        clock_us=lambda: 1, new_trace_id=lambda: TRACE,
    )  # fmt: skip
    for raw in lines(path):
        frame = decode_frame(raw)
        topic = parse_topic(frame.topic or "", Category.LINEAR)
        for fact in read_observations(topic, frame, 1, TRACE):
            runner.accept(fact)
    kinds = [event.observation.kind for event in outlet.taken]
    assert kinds[:2] == [Kind.GAP, Kind.RESUMED]
    assert Kind.GAP not in kinds[1:]
    assert len(kinds) - 2 + counters.suppressed.total() == len(lines(path))
    checker = ContinuityChecker()
    for event in outlet.taken:
        fact = event.observation
        envelope = msgspec.json.decode(Address("x", fact, "main").body(event))
        assert_message(envelope)
        checker.check(envelope)
    assert checker.problems == []
    assert resync.asked == []


# ── control frames ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", files("control/*/pong*.json") + files("trade/pong*.json"), ids=label
)
def test_every_recorded_pong_is_understood(path: Path) -> None:
    """It is a sign of life, whatever its shape."""
    conversation = opened(ticker("BTCUSDT"))
    conversation.receive(path.read_bytes(), 3.0)
    assert conversation.last_pong_at == 3.0
    assert conversation.made_progress


def answered(path: Path, op: str = "subscribe") -> tuple[Conversation, Topic]:
    """Answer a request with a recorded ack, which gets the id of that request."""
    name = path.parent.name if path.parent.name != "synthetic" else path.name.partition(".")[0]
    category = None if name == "private" else Category(name)
    topic = build_topic(Channel.ORDER) if category is None else ticker("BTCUSDT", category)
    conversation = opened(topic, endpoint=topic.endpoint)
    (request,) = requests_of(conversation)
    if op == "unsubscribe":
        conversation.receive(ack(request), 0.1)
        conversation.drop([topic], 0.2)
        (request,) = requests_of(conversation)
    frame = json.loads(path.read_bytes())
    if "req_id" in frame:
        frame["req_id"] = request["req_id"] if frame["req_id"] else ""
    conversation.receive(msgspec.json.encode(frame), 0.3)
    return conversation, topic


@pytest.mark.parametrize("path", files("control/*/subscribe.ack.ok*.json"), ids=label)
def test_every_recorded_ack_makes_active(path: Path) -> None:
    """With its request's id, with an empty one, or without."""
    conversation, topic = answered(path)
    assert state_of(conversation, topic) is State.ACTIVE


@pytest.mark.parametrize("path", files("control/*/unsubscribe.ack.ok*.json"), ids=label)
def test_every_recorded_unsubscribe_ack_ends_it(path: Path) -> None:
    """The topic is removed."""
    conversation, topic = answered(path, "unsubscribe")
    assert (topic, State.REMOVED) in [(c.topic, c.state) for c in conversation.take_changes()]


@pytest.mark.parametrize(
    "path",
    [
        path
        for pattern in ("control/*/subscribe.ack.error*", "synthetic/*subscribe*")
        for path in files(f"{pattern}.json")
    ],
    ids=label,
)
def test_every_recorded_refusal_is_kept_in_the_venues_words(path: Path) -> None:
    """Rejected with its text, or active where it says that it already is."""
    conversation, topic = answered(path)
    words = json.loads(path.read_bytes())["ret_msg"]
    change = conversation.take_changes()[-1]
    if "already subscribed" in words:
        assert change.state is State.ACTIVE
    else:
        # Words that blame no topic condemn none: it is asked for again.
        state = State.REQUESTED if words == "Request not authorized" else State.REJECTED
        assert (change.topic, change.state, change.error) == (topic, state, words)


@pytest.mark.parametrize("path", files("control/option/subscribe.ack*.json"), ids=label)
def test_every_recorded_option_ack_answers_and_proves_nothing(path: Path) -> None:
    """The request is answered, and the topic waits for its data."""
    names = json.loads(path.read_bytes())["data"]["successTopics"]
    # Recorded acks name topics that do not exist there; they are asked for all the same.
    topics = [Topic(name, Category.OPTION, Channel.TICKER, name) for name in names]
    conversation = opened(*topics, endpoint=Endpoint.OPTION)
    requests_of(conversation)
    conversation.receive(path.read_bytes(), 0.1)
    assert not conversation.awaits_acks
    assert all(state_of(conversation, topic) is State.PENDING for topic in topics)


@pytest.mark.parametrize("path", files("control/private/auth.*.json"), ids=label)
def test_every_recorded_login_reply_leads_on_or_out(path: Path) -> None:
    """Success lets the subscribe follow; refusal ends the socket with the venue's words."""
    conversation = Conversation(Endpoint.PRIVATE, credentials=Credentials("k", "s"))
    conversation.want([build_topic(Channel.ORDER)], 0.0)
    conversation.opened(0.0, 0)
    requests_of(conversation)
    frame = json.loads(path.read_bytes())
    if frame["success"]:
        conversation.receive(path.read_bytes(), 0.1)
        assert conversation.phase is Phase.READY
        assert [request["op"] for request in requests_of(conversation)] == ["subscribe"]
    else:
        with pytest.raises(VenueLost, match=frame["ret_msg"]):
            conversation.receive(path.read_bytes(), 0.1)


def test_an_error_that_answers_no_request_is_quarantined() -> None:
    """`invalid op` says that we sent something we should not have."""
    with pytest.raises(Quarantine, match="invalid op"):
        opened().receive((FIXTURES / "synthetic/linear.invalid-op.json").read_bytes(), 0.1)


def test_no_control_frame_of_the_collection_is_left_out() -> None:
    """What the tests above take, the documented requests, and nothing else."""
    taken = {
        path
        for pattern in ("*/pong*", "*/subscribe.ack*", "*/unsubscribe.ack*", "private/auth.*")
        for path in files(f"control/{pattern}.json")
    }
    rest = set(FIXTURES.glob("control/**/*.json")) - taken
    assert all("request" in path.name for path in rest)
