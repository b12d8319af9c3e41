"""Records that come back from disk: messages again, and markers of what was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ws_gateway.delivery.envelope import Address, body_of
from ws_gateway.delivery.message import Message
from ws_gateway.delivery.numbering import first_of
from ws_gateway.domain.event import Event, GapReason, Kind, Observation, Source, marker_payload
from ws_gateway.domain.topic import Lane, Topic, parse_topic
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.spool_format import Record

_TOO_MUCH = "the broker was away for so long that the spool dropped its oldest events"
_LONGEST_TIME = 16
_DAMAGED = "the disk did not give back what was written"


class _Stored(msgspec.Struct):
    """What is read of an envelope that comes back from disk."""

    event_id: str
    kind: str
    topic: str
    account: str | None
    epoch: str
    sequence: int
    timestamp: int
    received_at: int
    payload: msgspec.Raw
    source: str = ""

    @property
    def happened_at(self) -> int:
        """Say when that happened of which it tells, exchange time, ms.

        An execution that REST tells may be days older than the answer it came with.
        """
        if self.source != Source.REST:
            return self.timestamp
        try:
            text = _read_execution(self.payload).exec_time
        except msgspec.DecodeError:
            return self.timestamp
        is_time = text.isdecimal() and len(text) <= _LONGEST_TIME
        return min(self.timestamp, int(text)) if is_time else self.timestamp


class _Execution(msgspec.Struct, rename="camel"):
    """What is read of an execution; of anything else nothing is."""

    exec_time: str = ""


class Loss(msgspec.Struct):
    """Numbers of one stream and epoch that the spool had to drop.

    Attributes:
        since: exchange time of the oldest of them, ms; 0 where an earlier version did not note it.
    """

    topic: str
    epoch: str
    account: str
    first: int
    last: int
    since: int = 0


_read_stored = msgspec.json.Decoder(_Stored).decode
_read_execution = msgspec.json.Decoder(_Execution).decode
_read_loss = msgspec.json.Decoder(Loss).decode


def condense(records: list[Record]) -> list[Record]:
    """Make of dropped records one loss per stream and epoch, in the order they began."""
    losses: dict[tuple[str, str, str], Loss] = {}
    for record in records:
        try:
            loss = _loss_of(record)
        except msgspec.DecodeError:
            continue  # whoever wrote it, it names no stream
        known = losses.setdefault((loss.account, loss.topic, loss.epoch), loss)
        known.first, known.last = min(known.first, loss.first), max(known.last, loss.last)
        known.since = min(known.since, loss.since)
    encode = msgspec.json.encode
    return [Record(encode(loss), is_observed=False, is_loss=True) for loss in losses.values()]


def _loss_of(record: Record) -> Loss:
    if record.is_loss:
        return _read_loss(record.data)
    stored = _read_stored(body_of(record.data))
    place = (stored.topic, stored.epoch, stored.account or "")
    first = first_of(stored.kind, stored.payload, stored.sequence)
    return Loss(*place, first, stored.sequence, stored.happened_at)


def time_of(record: Record) -> int | None:
    """Say when an event happened, or the oldest that a loss stands for, exchange time, ms.

    None if it does not say so, or nobody can read it.
    """
    try:
        return _loss_of(record).since or None
    except msgspec.DecodeError:
        return None


class Restored(NamedTuple):
    """What a record came to.

    Attributes:
        messages: in the order they are to be delivered.
        lost: topic of what is missing, which one of them says; None if nothing is.
        since: exchange time before which nothing of that is missing, ms, if it is known.
    """

    messages: list[Message]
    lost: Topic | None = None
    since: int | None = None


class Restorer:
    """Makes messages of records, in the log's order.

    Args:
        exchange: of the messages, for the markers it makes.
        account: the first one's name.

    Attributes:
        newest: exchange time of what was read last, ms; None if nothing was.
    """

    def __init__(
        self,
        counters: Counters,
        *,
        exchange: str,
        account: str,
        clock_us: Callable[[], int],
        new_trace_id: Callable[[], str],
    ) -> None:
        self._counters = counters
        self._exchange = exchange
        self._first_account = account
        self._clock_us = clock_us
        self._new_trace_id = new_trace_id
        # Number read last, by topic, epoch and account, and its exchange time.
        self._last: dict[tuple[str, str, str], tuple[int, int]] = {}
        self.newest: int | None = None

    def restore(self, record: Record) -> Restored:
        """Return its message, behind the marker of what is missing before it, if anything is.

        Raises:
            msgspec.DecodeError, Rejected: nobody can read it; it was not written by us.
        """
        if record.is_loss:
            loss = _read_loss(record.data)
            self._last[loss.topic, loss.epoch, loss.account] = loss.last, loss.since
            marker = self._marker(loss, _TOO_MUCH)
            return Restored([marker], marker.topic, loss.since or None)
        stored = _read_stored(body_of(record.data))
        message = Message(
            record.data,
            self._topic(stored.topic, stored.account),
            Lane.PRIVATE,
            stored.sequence,
            stored.event_id,
            stored.received_at,
            record.is_observed,
            stored.timestamp,
        )
        place = (stored.topic, stored.epoch, stored.account or "")
        last, since = self._last.get(place, (None, 0))
        # What was held longest is written last at a stop: an older number makes no hole.
        at = stored.happened_at
        self._last[place] = max((stored.sequence, at), (last or 0, since))
        self.newest = at
        if last is None or first_of(stored.kind, stored.payload, stored.sequence) <= last + 1:
            return Restored([message])
        hole = Loss(*place, last + 1, stored.sequence - 1)
        return Restored([self._marker(hole, _DAMAGED), message], message.topic, since or None)

    def _topic(self, name: str, account: str | None) -> Topic:
        whose = None if account in (None, "", self._first_account) else account
        return parse_topic(name, None, whose)

    def forget(self) -> None:
        """Begin anew: the log was read to its end, and what comes may be of later numbers."""
        self._last.clear()

    def _marker(self, loss: Loss, detail: str) -> Message:
        """Make the marker of a hole; it has the last number that is missing."""
        topic, now_us = self._topic(loss.topic, loss.account), self._clock_us()
        fact = Observation(
            topic,
            Kind.GAP,
            f"{topic.key}:{loss.epoch}:{loss.last}:{Kind.GAP}",
            topic.category,
            topic.symbol,
            now_us // 1000,
            None,
            now_us,
            self._new_trace_id(),
            None,
            marker_payload(Kind.GAP, GapReason.SPOOL_OVERFLOW, (loss.first, loss.last), detail),
        )
        address = Address(self._exchange, fact, loss.account)
        frames = address.frames(Event(fact, loss.epoch, loss.last))
        self._counters.markers += 1
        self._counters.gaps[GapReason.SPOOL_OVERFLOW.value] += 1
        return Message(
            frames, topic, Lane.PRIVATE, loss.last, fact.event_id, now_us, is_observed=False
        )
