"""The venue's words as they stand on the wire: frames in, requests out (Bybit v5 docs, Connect)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from ws_gateway.domain.topic import Endpoint, Topic
from ws_gateway.errors import Quarantine
from ws_gateway.venue.auth import Credentials, signature

MAX_FRAME_BYTES = 4 * 1024 * 1024
"""A larger frame is not of this venue; its largest (1,024 trades) are below 300 kB."""

MAX_ARGS_CHARS = 21_000
"""Longest `args` array, in characters: of one request, and of all that a public connection carries
(Bybit v5 docs, Connect)."""

MAX_REQUEST_ARGS = {Endpoint.SPOT: 10}
"""Most topics per request, where an endpoint limits it (Bybit v5 docs, Connect)."""

MAX_CONNECTION_TOPICS = {Endpoint.OPTION: 2_000}
"""Most topics per connection, where an endpoint limits it (Bybit v5 docs, Connect)."""


Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""An integer that fits where it goes: times, update ids, sequences."""


class WireFrame(
    msgspec.Struct, gc=False, rename={"creation_time": "creationTime", "ret_code": "retCode"}
):
    """Every frame the venue sends, data and control alike; only the envelope is decoded.

    Attributes:
        data: raw bytes of the payload, exactly as received.
    """

    topic: str | None = None
    type: str | None = None
    ts: Count | None = None
    cts: Count | None = None
    cs: Count | None = None
    creation_time: Count | None = None
    data: msgspec.Raw = msgspec.Raw()
    op: str | None = None
    success: bool | None = None
    ret_code: int | None = None
    ret_msg: str | None = None
    req_id: str | None = None
    conn_id: str | None = None

    @property
    def is_pong(self) -> bool:
        """Recognise a pong: its shape differs by socket."""
        return self.op == "pong" or self.ret_msg == "pong"

    @property
    def is_success(self) -> bool:
        """Accept both spellings of success seen in the wild."""
        return self.success is True or self.ret_code == 0


class CommandOutcome(msgspec.Struct):
    """`data` of an ack on the option and spread sockets."""

    failed: list[str] = msgspec.field(default_factory=list, name="failTopics")
    succeeded: list[str] = msgspec.field(default_factory=list, name="successTopics")


_TOPIC = re.compile(rb'"topic"\s*:\s*"([!-!#-\[\]-~]{1,200})"')
_SEARCHED = 4096
_decode_frame = msgspec.json.Decoder(WireFrame).decode
_decode_outcome = msgspec.json.Decoder(CommandOutcome).decode
_encode = msgspec.json.Encoder().encode


def decode_frame(raw: bytes) -> WireFrame:
    """Decode the envelope of a frame.

    Raises:
        Quarantine: too large, not JSON in UTF-8, nested beyond reason, or a field of another type
            than documented. It names the topic where that can still be read.
    """
    if len(raw) > MAX_FRAME_BYTES:
        detail = f"{len(raw)} bytes, at most {MAX_FRAME_BYTES} are read"
        raise Quarantine("too_large", detail, is_lost=True, topic=_named_topic(raw))
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not check what it skips, and consumers get it as it came
        return _decode_frame(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Quarantine("malformed", str(exc), is_lost=True, topic=_named_topic(raw)) from exc


def _named_topic(raw: bytes) -> str | None:
    """Find the topic of a frame that cannot be decoded: it stands near one end of it."""
    found = _TOPIC.search(raw, 0, _SEARCHED) or _TOPIC.search(raw, max(0, len(raw) - _SEARCHED))
    return None if found is None else found[1].decode()


def decode_outcome(frame: WireFrame) -> CommandOutcome:
    """Decode the per-topic outcome of an option or spread ack.

    Raises:
        Quarantine: the outcome is not of the documented shape.
    """
    try:
        return _decode_outcome(frame.data)
    except msgspec.DecodeError as exc:
        raise Quarantine("malformed", str(exc)) from exc


def ping(req_id: str) -> bytes:
    """Build the heartbeat the venue asks for every 20 s."""
    return _encode({"req_id": req_id, "op": "ping"})


def login(credentials: Credentials, req_id: str, expires_ms: int) -> bytes:
    """Build the login request; `expires_ms` must lie ahead of the venue's clock."""
    signed = signature(credentials.secret, expires_ms)
    return _encode({"req_id": req_id, "op": "auth", "args": [credentials.key, expires_ms, signed]})


def topic_request(op: str, req_id: str, topics: Iterable[Topic]) -> bytes:
    """Build a `subscribe` or `unsubscribe` request."""
    return _encode({"req_id": req_id, "op": op, "args": [topic.name for topic in topics]})


def args_chars(topic: Topic) -> int:
    """Say how many characters of an `args` array a topic takes, quotes and comma included."""
    return len(topic.name) + 3


def batches(topics: Iterable[Topic], endpoint: Endpoint) -> Iterator[list[Topic]]:
    """Cut topics into requests that obey the limits of an endpoint.

    On the private one, topics of all categories and topics of one (`order`, `order.linear`) may
    not share a request (Bybit v5 docs, Private topics).
    """
    asked = list(topics)
    if endpoint is Endpoint.PRIVATE:
        of_one = [topic for topic in asked if topic.category is not None]
        asked = [topic for topic in asked if topic.category is None]
        yield from _cut(of_one, None)
    yield from _cut(asked, MAX_REQUEST_ARGS.get(endpoint))


def _cut(topics: list[Topic], max_args: int | None) -> Iterator[list[Topic]]:
    batch: list[Topic] = []
    chars = 2
    for topic in topics:
        size = args_chars(topic)
        if batch and (chars + size > MAX_ARGS_CHARS or len(batch) == max_args):
            yield batch
            batch, chars = [], 2
        batch.append(topic)
        chars += size
    if batch:
        yield batch
