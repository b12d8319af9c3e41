"""The message on the wire, read back by another implementation of AMQP."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pamqp.body
import pamqp.commands
import pamqp.frame
import pamqp.header
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.contract import assert_envelope
from support.delivery_rig import ORDERS, TRADES, observe
from support.topics import STRANGE_SYMBOLS, public_topics
from ws_gateway.client.routing import read_routing_key
from ws_gateway.delivery.envelope import (
    FRAME_MAX,
    PUBLISH_CHANNEL,
    Address,
    as_resent,
    quarantine_frames,
)
from ws_gateway.domain.event import Event, Kind, Observation, Source
from ws_gateway.domain.routing import routing_key
from ws_gateway.domain.topic import Category, EventClass, Topic, parse_topic

TRACE = "0af7651916cd43dd8448eb211c80319c"
EPOCH = "01JD0000000000000000000000"
FIELDS = {
    "schema",
    "event_id",
    "event_type",
    "kind",
    "source",
    "category",
    "symbol",
    "topic",
    "account",
    "epoch",
    "sequence",
    "timestamp",
    "matched_at",
    "received_at",
    "trace_id",
    "payload",
}

text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
ids = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255)
payloads = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def fact(
    topic: Topic = TRADES,
    *,
    event_id: str = "linear:publicTrade.BTCUSDT:1",
    category: str | None = "linear",
    symbol: str | None = "BTCUSDT",
    matched_at: int | None = 1791365008331,
    payload: bytes = b"[]",
) -> Observation:
    """Make a fact with known values."""
    return Observation(
        topic,
        Kind.DELTA,
        event_id,
        category,
        symbol,
        1791365008335,
        matched_at,
        1791365008341123,
        TRACE,
        None,
        payload,
        Source.STREAM,
    )


def sent(observation: Observation, sequence: int = 4711) -> bytes:
    """Build the frames of a fact in its place."""
    address = Address("x.events", observation, "main")
    return address.frames(Event(observation, EPOCH, sequence))


def decoded(
    frames: bytes,
) -> tuple[pamqp.commands.Basic.Publish, pamqp.header.ContentHeader, bytes]:
    """Read one message back with pamqp; every frame must be whole and on the right channel."""
    read: list[Any] = []
    while frames:
        size, channel, frame = pamqp.frame.unmarshal(frames)
        assert channel == PUBLISH_CHANNEL
        assert size <= FRAME_MAX
        read.append(frame)
        frames = frames[size:]
    method, header, *bodies = read
    assert isinstance(method, pamqp.commands.Basic.Publish)
    assert isinstance(header, pamqp.header.ContentHeader)
    assert all(isinstance(one, pamqp.body.ContentBody) for one in bodies)
    body = b"".join(one.value for one in bodies)
    assert header.body_size == len(body)
    if header.properties.message_type != "quarantine":  # whose bodies are made up here
        assert_envelope(json.loads(body))
    return method, header, body


def test_body_has_every_field_of_the_contract() -> None:
    """The envelope is the contract's, field by field and nothing else."""
    observation = fact(payload=b'[{"p":"0.10"}]')
    envelope = json.loads(decoded(sent(observation))[2])
    assert envelope == {
        "schema": 1,
        "event_id": "linear:publicTrade.BTCUSDT:1",
        "event_type": "trade",
        "kind": "delta",
        "source": "stream",
        "category": "linear",
        "symbol": "BTCUSDT",
        "topic": "publicTrade.BTCUSDT",
        "account": None,
        "epoch": EPOCH,
        "sequence": 4711,
        "timestamp": 1791365008335,
        "matched_at": 1791365008331,
        "received_at": 1791365008341123,
        "trace_id": TRACE,
        "payload": [{"p": "0.10"}],
    }
    assert set(envelope) == FIELDS


def test_private_fact_names_its_account_and_may_lack_place() -> None:
    """A private record bears the account; category, symbol and matching time may be null."""
    observation = fact(ORDERS, category=None, symbol=None, matched_at=None)
    envelope = json.loads(decoded(sent(observation))[2])
    assert set(envelope) == FIELDS
    assert envelope["account"] == "main"
    assert [envelope[name] for name in ("category", "symbol", "matched_at")] == [None] * 3
    assert envelope["topic"] == "order"


def test_properties_are_those_of_the_contract() -> None:
    """Method and content header carry what brokers and consumers rely on."""
    method, header, _ = decoded(sent(fact()))
    assert (method.exchange, method.routing_key) == ("x.events", "trade.linear.BTCUSDT")
    assert method.mandatory is True
    assert method.immediate is False
    properties = header.properties
    assert properties.message_id == "linear:publicTrade.BTCUSDT:1"
    assert properties.correlation_id == TRACE
    assert properties.message_type == "trade"
    assert properties.app_id == "ws-gateway"
    assert properties.content_type == "application/json"
    assert properties.delivery_mode == 2
    assert properties.timestamp == datetime.fromtimestamp(1791365008, tz=UTC)
    for unused in ("content_encoding", "headers", "priority", "reply_to", "expiration", "user_id"):
        assert getattr(properties, unused) is None


@pytest.mark.parametrize("extra", [0, 3 * FRAME_MAX])
def test_a_resend_says_so_in_a_header_and_is_the_same_otherwise(extra: int) -> None:
    """Also of several body frames; flagged or not, nothing else of it changes."""
    once = sent(fact(payload=b'"%b"' % (b"x" * extra)))
    method, header, body = decoded(as_resent(once))
    first_method, first_header, first_body = decoded(once)
    assert header.properties.headers == {"resent": True}
    assert body == first_body
    assert method.marshal() == first_method.marshal()
    header.properties.headers = None
    assert dict(header.properties) == dict(first_header.properties)


def test_payload_bytes_are_copied_not_re_encoded() -> None:
    """Spaces, key order, number spelling and escapes reach the consumer as the venue wrote them."""
    payload = rb'{ "b" : 1.10, "a":1e2,  "s":"\u00e9\/" }'
    body = decoded(sent(fact(payload=payload)))[2]
    assert body.endswith(b'"payload":' + payload + b"}")


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_body_is_split_at_the_frame_limit(frames: int, extra: int) -> None:
    """A body one byte below, at, and above a multiple of the limit arrives whole."""
    bare = len(decoded(sent(fact(payload=b'""')))[2])
    size = frames * (FRAME_MAX - 8) + extra
    payload = b'"' + b"x" * (size - bare) + b'"'
    raw = sent(fact(payload=payload))
    body = decoded(raw)[2]
    assert len(body) == size
    assert json.loads(body)["payload"] == payload[1:-1].decode()


@given(topic=public_topics(), strange=st.one_of(st.none(), STRANGE_SYMBOLS))
def test_a_topics_symbol_is_read_back_from_the_key_of_its_event(
    topic: Topic, strange: str | None
) -> None:
    """Strikes with dots, spreads with slashes, and percent signs come back to a consumer whole."""
    symbol = strange or topic.symbol
    observation = fact(topic, category=topic.category, symbol=symbol)
    route = read_routing_key(decoded(sent(observation))[0].routing_key)
    assert route == (topic.event_class, topic.category, symbol)


@given(symbol=text, event_id=ids, payload=payloads, sequence=st.integers(1, 2**63 - 1))
def test_any_symbol_id_and_payload_reads_back(
    symbol: str, event_id: str, payload: object, sequence: int
) -> None:
    """Quotes, controls, other alphabets and long ids neither break the JSON nor the frames."""
    topic = parse_topic(f"publicTrade.{symbol}", Category.SPOT)
    raw = json.dumps(payload).encode()
    observation = fact(topic, event_id=event_id, category="spot", symbol=symbol, payload=raw)
    method, header, body = decoded(sent(observation, sequence))
    envelope = json.loads(body)
    assert envelope["symbol"] == symbol
    assert envelope["topic"] == topic.name
    assert envelope["event_id"] == event_id
    assert envelope["sequence"] == sequence
    assert envelope["payload"] == payload
    assert header.properties.message_id == event_id
    assert method.routing_key == routing_key(EventClass.TRADE, "spot", symbol)


@given(event_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_id_of_another_alphabet_is_measured_in_bytes(event_id: str) -> None:
    """The header's length counts bytes, so an id beyond ASCII doesn't shift what follows."""
    _, header, body = decoded(sent(fact(event_id=event_id)))
    assert header.properties.message_id == event_id
    assert header.properties.app_id == "ws-gateway"
    assert json.loads(body)["event_id"] == event_id


@given(raw=st.binary(max_size=1000), reason=st.sampled_from(["malformed", "too_large"]))
def test_quarantined_frame_reads_back(raw: bytes, reason: str) -> None:
    """A quarantined frame bears the same properties and is routed by its reason."""
    frames = quarantine_frames(
        "x.events", reason=reason, message_id="id", trace_id=TRACE, at_seconds=1, body=raw
    )
    method, header, body = decoded(frames)
    assert method.routing_key == f"quarantine.{reason}"
    assert method.mandatory is True
    assert header.properties.message_type == "quarantine"
    assert header.properties.message_id == "id"
    assert header.properties.correlation_id == TRACE
    assert header.properties.delivery_mode == 2
    assert body == raw


def test_large_quarantined_frame_is_split() -> None:
    """A frame of several limits arrives whole."""
    raw = bytes(range(256)) * 2000
    frames = quarantine_frames(
        "x", reason="malformed", message_id="i", trace_id=TRACE, at_seconds=0, body=raw
    )
    assert decoded(frames)[2] == raw


def test_facts_of_one_topic_share_their_constant_parts() -> None:
    """One address serves every event of its stream, and keeps nothing of the one before."""
    one, other = observe(payload=b"[1]"), observe(payload=b"[2]")
    address = Address("x.events", one, "main")
    first = json.loads(decoded(address.frames(Event(one, EPOCH, 1)))[2])
    second = json.loads(decoded(address.frames(Event(other, EPOCH, 2)))[2])
    assert (first["event_id"], second["event_id"]) == (one.event_id, other.event_id)
    assert (first["payload"], second["payload"]) == ([1], [2])
