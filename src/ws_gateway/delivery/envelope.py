"""The message a consumer gets: JSON envelope and AMQP frames, built as bytes.

Everything that does not change within a stream is built once, in an `Address`; an event then costs
one formatting of the body and one join of the frames. Layouts: AMQP 0-9-1 §2.3.5 (frames), §4.2.6
(content header), class basic.
"""

from __future__ import annotations

from functools import cache
from struct import Struct

import msgspec

from ws_gateway.domain.event import Event, Kind, Observation, Source
from ws_gateway.domain.routing import routing_key

PUBLISH_CHANNEL = 1
"""AMQP channel number of all publishing; frames carry it, so they are built before connecting."""

FRAME_MAX = 131_072
"""Largest frame written. RabbitMQ's default; a broker that negotiates less is refused."""

APP_ID = "ws-gateway"
SCHEMA_VERSION = 1

_FRAME_OVERHEAD = 8
_BODY_MAX = FRAME_MAX - _FRAME_OVERHEAD
_FRAME_END = b"\xce"
_BASIC = 60
_PUBLISH = 40
_BODY = 3
_MANDATORY = 0x01
# content-type, delivery-mode, correlation-id, message-id, timestamp, type, app-id
_PROPERTY_FLAGS = 0x8000 | 0x1000 | 0x0400 | 0x0080 | 0x0040 | 0x0020 | 0x0008
_HAS_HEADERS = 0x2000
_PERSISTENT = 2
_TRACE_ID_LENGTH = 32
_HEADER_FIXED = 14  # class, weight, body size, property flags

_frame_head = Struct(">BHI").pack
_read_frame_head = Struct(">BHI").unpack_from
_content_head = Struct(">BHIHHQH").pack
_read_content_head = Struct(">BHIHHQH").unpack_from
_u64 = Struct(">Q").pack
_u8 = Struct(">B").pack

_MAX_ADDRESSES = 50_000
_QUARANTINE_CLASS = "quarantine"


class Address:
    """Constant parts of every message of one (topic, category, symbol).

    Args:
        account: of private topics that name none: the first one.

    Attributes:
        lane: the promise under which they are delivered.
        routing_key: where the exchange sends it.
    """

    __slots__ = (
        "_after_epoch",
        "_content_const",
        "_fixed_size",
        "_method_frame",
        "_said",
        "_tail",
        "lane",
        "routing_key",
    )

    def __init__(self, exchange: str, observation: Observation, account: str) -> None:
        topic = observation.topic
        event_class = topic.event_class
        self.lane = topic.lane
        self.routing_key = routing_key(event_class, observation.category, observation.symbol)
        self._method_frame = publish_frame(exchange, self.routing_key)
        self._content_const, self._tail = _properties(event_class)
        self._fixed_size = _content_size(self._content_const, self._tail)
        self._said = _said(event_class)
        self._after_epoch = b'","category":%b,"symbol":%b,"topic":%b,"account":%b,"epoch":"' % (
            _json(observation.category),
            _json(observation.symbol),
            _json(topic.name),
            _json((topic.account or account) if topic.is_private else None),
        )

    def body(self, event: Event) -> bytes:
        """Build the JSON envelope; the payload's bytes are copied, never re-encoded."""
        return self._body(event, event.observation.trace_id.encode())

    def _body(self, event: Event, trace_id: bytes) -> bytes:
        fact = event.observation
        matched = fact.matched_at
        return _BODY_FORMAT % (
            _json(fact.event_id),
            self._said[fact.kind, fact.source],
            self._after_epoch,
            event.epoch.encode(),
            event.sequence,
            b',"conflated":%d' % event.conflated if event.conflated else b"",
            fact.timestamp,
            b"null" if matched is None else b"%d" % matched,
            fact.received_at,
            trace_id,
            fact.payload,
        )

    def frames(self, event: Event) -> bytes:
        """Build the whole AMQP message: method, content header and body frames."""
        fact = event.observation
        trace_id = fact.trace_id.encode()
        body = self._body(event, trace_id)
        message_id = fact.event_id.encode()
        size = len(body)
        head = self._fixed_size + len(message_id)
        parts = (
            self._method_frame,
            _content_head(2, PUBLISH_CHANNEL, head, _BASIC, 0, size, _PROPERTY_FLAGS),
            self._content_const,
            trace_id,
            _u8(len(message_id)),
            message_id,
            _u64(fact.timestamp // 1000),
            self._tail,
            _frame_head(_BODY, PUBLISH_CHANNEL, size),
            body,
            _FRAME_END,
        )
        if size <= _BODY_MAX:
            return b"".join(parts)
        return b"".join((*parts[:-3], *_body_frames(body)))


class Addresses:
    """The addresses of every stream met so far; a private topic has one per symbol."""

    def __init__(self, exchange: str, account: str) -> None:
        self._exchange = exchange
        self._account = account
        self._known: dict[str, Address] = {}

    def of(self, fact: Observation) -> Address:
        """Return the address of a fact's stream, built when it is first met."""
        key = fact.topic.key
        address = self._known.get(key)  # private ones are never kept under this key
        if address is not None:
            return address
        if fact.topic.is_private:
            key = f"{key} {fact.category} {fact.symbol}"
            address = self._known.get(key)
        if address is None:
            if len(self._known) >= _MAX_ADDRESSES:
                self._known.clear()  # far above any real number of streams: begin anew
            address = self._known[key] = Address(self._exchange, fact, self._account)
        return address


def publish_frame(exchange: str, key: str) -> bytes:
    """Build the `basic.publish` method frame, mandatory, on the publishing channel."""
    arguments = b"\x00\x00%b%b%b" % (_shortstr(exchange), _shortstr(key), _u8(_MANDATORY))
    payload = Struct(">HH").pack(_BASIC, _PUBLISH) + arguments
    return _frame_head(1, PUBLISH_CHANNEL, len(payload)) + payload + _FRAME_END


def as_resent(frames: bytes) -> bytes:
    """Flag a whole message as a resend: one that may have arrived before, under the same id."""
    header = _read_frame_head(frames, 0)[2] + _FRAME_OVERHEAD
    size = _read_frame_head(frames, header)[2]
    first = header + 7 + _HEADER_FIXED  # of the properties; content-type goes before headers
    *_, body_size, flags = _read_content_head(frames, header)
    behind_type = first + 1 + frames[first]
    return b"".join(
        (
            frames[:header],
            _content_head(
                2, PUBLISH_CHANNEL, size + len(_RESENT), _BASIC, 0, body_size, flags | _HAS_HEADERS
            ),
            frames[first:behind_type],
            _RESENT,
            frames[behind_type:],
        )
    )


def body_of(frames: bytes) -> bytes:
    """Take the body out of the frames of one whole message."""
    parts, offset = [], 0
    while offset < len(frames):
        kind, _, size = _read_frame_head(frames, offset)
        if kind == _BODY:
            parts.append(frames[offset + 7 : offset + 7 + size])
        offset += size + _FRAME_OVERHEAD
    return b"".join(parts)


def quarantine_frames(
    exchange: str, *, reason: str, message_id: str, trace_id: str, at_seconds: int, body: bytes
) -> bytes:
    """Build the AMQP message for one quarantined frame, routed `quarantine.{reason}`."""
    const, tail = _properties(_QUARANTINE_CLASS)
    identity = message_id.encode()
    size = _content_size(const, tail) + len(identity)
    return b"".join(
        (
            publish_frame(exchange, f"{_QUARANTINE_CLASS}.{reason}"),
            _content_head(2, PUBLISH_CHANNEL, size, _BASIC, 0, len(body), _PROPERTY_FLAGS),
            const,
            trace_id.encode(),
            _u8(len(identity)),
            identity,
            _u64(at_seconds),
            tail,
            *_body_frames(body),
        )
    )


# What is the same in many streams is one object for all of them: with thousands of streams, copies
# would not stay in the processor's cache.
_BODY_FORMAT = (
    b'{"schema":%d' % SCHEMA_VERSION + b',"event_id":%b%b%b%b","sequence":%d%b,"timestamp":%d,'
    b'"matched_at":%b,"received_at":%d,"trace_id":"%b","payload":%b}'
)


@cache
def _said(event_class: str) -> dict[tuple[str, str], bytes]:
    """Return what stands between identity and category, by kind and source."""
    before = b',"event_type":%b,"kind":"' % _json(event_class)
    return {
        (kind, source): b'%b%b","source":"%b' % (before, kind.encode(), source.encode())
        for kind in Kind
        for source in Source
    }


@cache
def _properties(event_class: str) -> tuple[bytes, bytes]:
    """Return the constant properties before the trace id, and those after the timestamp."""
    before = b"%b%b%b" % (
        _shortstr("application/json"),
        _u8(_PERSISTENT),
        _u8(_TRACE_ID_LENGTH),
    )
    return before, b"%b%b%b" % (_shortstr(event_class), _shortstr(APP_ID), _FRAME_END)


def _content_size(before: bytes, after: bytes) -> int:
    """Return the content header's size without the message id; `after` ends the frame."""
    varying = _TRACE_ID_LENGTH + 1 + 8  # trace id, length of the message id, timestamp
    return _HEADER_FIXED + len(before) + varying + len(after) - len(_FRAME_END)


def _body_frames(body: bytes) -> list[bytes]:
    parts: list[bytes] = []
    for start in range(0, len(body), _BODY_MAX):
        chunk = body[start : start + _BODY_MAX]
        parts += (_frame_head(3, PUBLISH_CHANNEL, len(chunk)), chunk, _FRAME_END)
    return parts


def _shortstr(text: str) -> bytes:
    raw = text.encode()
    return _u8(len(raw)) + raw


_json = msgspec.json.Encoder().encode

RESENT = "resent"
"""Name of the AMQP header of a resend; its value is true."""

_RESENT_FIELD = _shortstr(RESENT) + b"t\x01"
_RESENT = Struct(">I").pack(len(_RESENT_FIELD)) + _RESENT_FIELD
