"""Writes what waits of some lanes to a link, and settles what the broker answers.

Knows nothing of connecting or queues: `begin` gives it a link, `end` takes it away. There are two,
for private and public lanes, and neither waits for anything of the other's.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Collection

import structlog

from ws_gateway.delivery.envelope import as_resent
from ws_gateway.delivery.flight import Flight
from ws_gateway.delivery.hop_times import HopTimes
from ws_gateway.delivery.link import Link
from ws_gateway.delivery.message import Message
from ws_gateway.delivery.news import News
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.delivery.refusals import UNROUTABLE, Refusals
from ws_gateway.delivery.spool import Spool
from ws_gateway.domain.topic import Topic
from ws_gateway.ports.event_path import LossObserver
from ws_gateway.runtime.counters import QUARANTINED, Counters

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_MAX_ATTEMPTS = 3
_BUSY = 500  # so many unanswered messages mean that the broker is behind
_GATHER_SECONDS = 0.002
_GIVE_WAY_SECONDS = 0.01
_PATIENCE_SECONDS = 1.0  # nobody gives way for longer to a connection that brings nothing
_BATCH_MOST = 1000  # messages in one write; more would pile up copies in this process
_MOMENT_SECONDS = 0.05  # a broker that owes an answer for longer is not well
_REFUSALS_SECONDS = 0.1  # how often it is looked what is due of what was refused


class Sender:
    """Everything between some lanes of the outbox and one link; it is the link's listener.

    Args:
        outbox: the whole of it, for what is asked of all lanes.
        flight: the way of these lanes.
        window: most messages sent and not yet confirmed.
        drained: set whenever nothing is held any more, in any lane.
        spool: of the private lane; the public ones have none.
        gives_way: asked before writing; while it says so, others go first.

    Attributes:
        attention: set when something came back; `take_back` sends it again.
        refusals: what is known of messages that a queue refuses.
        quiet: set whenever all that was sent is answered for.
        made_progress: the broker confirmed something; whoever looks resets it.
        topology_suspect: a message came back. Nothing is sent then, for it would overtake what
            came back; whoever mends the queues resets it.
        is_blocked: the broker takes no more for the time being.
        unbound: event classes whose queue cannot be bound, so that what comes back of them would
            come back again: public events are given up at once, private streams are held.
    """

    def __init__(
        self,
        outbox: Outbox,
        flight: Flight,
        counters: Counters,
        *,
        window: int,
        clock_us: Callable[[], int],
        times: HopTimes,
        drained: asyncio.Event,
        spool: Spool | None = None,
        gives_way: Callable[[], bool] = lambda: False,
    ) -> None:
        self._outbox = outbox
        self._flight = flight
        self._counters = counters
        self._window = window
        self._clock_us = clock_us
        self._spool = spool
        self._gives_way = gives_way
        self._looks_again: asyncio.TimerHandle | None = None
        self._is_private = flight is outbox.private
        self.refusals = Refusals(outbox.private)
        self._refusals_due: asyncio.TimerHandle | None = None
        self._times = times
        self._news = News()
        self._link: Link | None = None
        self._flush_due = False
        self._has_resends = False  # among what waits of public ones, maybe
        self._sent: deque[tuple[int, float]] = deque()  # (last tag, monotonic time) per batch
        self._answered_tag = 0  # oldest unanswered one, and since when it is the oldest
        self._answered_at = 0.0
        self._asked_at = 0.0  # whether it is well
        self._lost: list[tuple[Topic, int]] = []
        self._now_us = 0
        self.losses: LossObserver | None = None
        self.attention = asyncio.Event()
        self.quiet = asyncio.Event()
        self._drained = drained
        self.made_progress = False
        self.topology_suspect = False
        self.is_blocked = False
        self.unbound: Collection[str] = ()

    # ── the link ──────────────────────────────────────────────────────────────────────────────

    def begin(self, link: Link) -> int:
        """Write to this link; answers how many messages go out once more."""
        again = self._flight.rewind()
        self._counters.resent += again
        self._has_resends |= again > 0
        self.topology_suspect = self.is_blocked = False
        self._answered_tag, self._answered_at = self._flight.first_tag, time.monotonic()
        self._link = link
        self.refusals.begin(time.monotonic())
        self._mind_refusals()
        if self._spool is not None:
            self._spool.broker_back()
        self.flush()
        return again

    def end(self) -> None:
        """Write no more: the link is gone."""
        self._link = None
        self._sent.clear()
        if self._refusals_due is not None:
            self._refusals_due.cancel()
            self._refusals_due = None
        if self._spool is not None:
            self._spool.broker_lost()

    @property
    def _is_open(self) -> bool:
        return self._link is not None and not self.is_blocked and not self.topology_suspect

    def is_well(self) -> bool:
        """Say whether messages that are put now would soon be confirmed.

        While this process itself is late, an answer may have come that it has not read yet.
        """
        now = time.monotonic()
        asked_at, self._asked_at = self._asked_at, now
        moment = max(_MOMENT_SECONDS, 2 * (now - asked_at))
        return self._is_open and self.silent_seconds() < moment

    @property
    def is_backed_up(self) -> bool:
        """Say whether something waits for a place in the window."""
        flight = self._flight
        return flight.has_waiting and flight.unconfirmed + flight.aside >= self._window

    @property
    def is_moving(self) -> bool:
        """Say whether what is sent gets anywhere."""
        return self._is_open and self.silent_seconds() < _PATIENCE_SECONDS

    def silent_seconds(self) -> float:
        """Return for how long the broker has owed the oldest answer without any progress.

        Silence is counted, not age: a slow broker that answers all the time is not lost. Only
        answers for the oldest count, because one queue may be stuck while others go on.
        """
        if not self._sent or self.is_blocked:
            return 0.0
        return time.monotonic() - max(self._sent[0][1], self._answered_at)

    # ── sending ───────────────────────────────────────────────────────────────────────────────

    def put(self, message: Message) -> None:
        """Take a message and write it soon; ask the outbox for room first."""
        spool = self._spool
        if spool is not None and spool.is_taking:
            spool.put(message)
            return
        self._outbox.put(message)
        if not self._flush_due:
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        """Write soon: after this socket read, so that all its events leave in one write.

        While the broker owes many confirms a message waits its turn there anyway; then writes are
        gathered for a moment, which saves the broker more work than it costs anybody time.
        Private events are not kept waiting for that.
        """
        self._flush_due = True
        loop = asyncio.get_running_loop()
        if self._is_private or self._flight.unconfirmed < _BUSY:
            loop.call_soon(self.flush)
        else:
            loop.call_later(_GATHER_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what waits, as far as window and socket allow."""
        self._flush_due = False
        link, flight = self._link, self._flight
        if link is None or not self._is_open:
            return
        if self._gives_way():
            self._look_again()
            return
        most = self._window - flight.aside
        while flight.has_waiting and link.is_writable:
            room = most - flight.unconfirmed
            if room <= 0:
                return
            batch = flight.next_batch(min(room, _BATCH_MOST))
            if not batch:
                return  # all that waited is of streams a queue refuses
            link.write(self._frames_of(batch))
            self._sent.append((flight.next_tag - 1, time.monotonic()))
            self._times.sent(batch, self._clock_us())

    def _frames_of(self, batch: list[Message]) -> bytes:
        """Join the frames of these, with the resends among them flagged."""
        if not (self._is_private or self._has_resends):
            return b"".join([message.data for message in batch])
        self._has_resends = self._flight.has_waiting
        return b"".join(
            [as_resent(message.data) if message.is_again else message.data for message in batch]
        )

    def _look_again(self) -> None:
        """Write later; nothing tells when the others are through."""
        if self._looks_again is None:
            loop = asyncio.get_running_loop()
            self._looks_again = loop.call_later(_GIVE_WAY_SECONDS, self._flush_again)

    def _flush_again(self) -> None:
        self._looks_again = None
        self.flush()

    def take_back(self) -> int:
        """Let what was set aside go on, before all others; answers how many."""
        again = self._flight.take_back()
        self._counters.resent += again
        self._has_resends |= again > 0
        return again

    # ── what the broker answers (LinkListener) ────────────────────────────────────────────────

    def on_confirm(self, tag: int, *, multiple: bool) -> None:
        """Account for what the broker took responsibility for."""
        self.made_progress = True
        self._now_us = self._clock_us()
        self._flight.settle(tag, multiple=multiple, take=self._confirmed)
        self._announce_losses(UNROUTABLE)
        self._after_answer()

    def on_nack(self, tag: int, *, multiple: bool) -> None:
        """Send again later what the broker refused, or give it up and say so."""
        self._flight.settle(tag, multiple=multiple, take=self._refused)
        self._mind_refusals()
        self._after_answer()

    def on_return(self, message_id: str, reply: str) -> None:
        """Remember that the next confirm of this message does not mean it arrived anywhere."""
        message = self._flight.find_unconfirmed(message_id)
        self._counters.returned += 1
        if message is not None:
            message.returned = True
        if message is None or not self._is_unbound(message):  # else the others need not wait for it
            self.topology_suspect = True
            self.attention.set()
        if self._news.is_due("returned"):
            log.error("delivery.message_returned", reply=reply, event_id=message_id)

    def _is_unbound(self, message: Message) -> bool:
        return message.topic is not None and message.topic.event_class in self.unbound

    def on_blocked(self, *, blocked: bool) -> None:
        """Stop or go on writing; a blocked broker is alive, so no deadline runs."""
        if self._link is None:
            return  # not ready yet, or closing: there is nothing to stop
        self.is_blocked = blocked
        events = "private" if self._is_private else "public"
        log.warning(
            "delivery.broker_blocked" if blocked else "delivery.broker_unblocked", events=events
        )
        self._answered_at = time.monotonic()
        self.flush()

    def on_writable(self) -> None:
        """Go on writing: the socket has drained."""
        self.flush()

    # ── what becomes of a message ─────────────────────────────────────────────────────────────

    def _confirmed(self, message: Message) -> None:
        counters = self._counters
        if not message.returned:
            if self._spool is not None:
                self._settled(message)
            topic = message.topic
            counters.routed[QUARANTINED if topic is None else topic.key] += 1
            if topic is not None and self.refusals.is_any:
                self.refusals.taken(message, topic, time.monotonic())
            if message.is_observed:
                counters.confirmed += 1
                counters.latencies_us.append(self._now_us - message.received_at)
                if message.stands_for:
                    self._times.confirmed(message, self._now_us)
        elif self._is_private:
            self._returned_private(message)
        elif message.attempts + 1 < _MAX_ATTEMPTS and not self._is_unbound(message):
            self._retry(message)
        else:
            self._give_up(message, counters.rejected, "unroutable")

    def _returned_private(self, message: Message) -> None:
        """Keep a private message until a queue takes it: such are never given up.

        It may be of a former epoch, too, whose holes nobody here could announce.
        """
        if message.topic is None or not self._is_unbound(message):
            self._retry(message)
            return
        message.returned = False
        self.refusals.refused_private(message, message.topic, time.monotonic())
        self._mind_refusals()

    def _refused(self, message: Message) -> None:
        """Decide about a nack: some queue refused it, and the others have it."""
        counters, refusals, topic = self._counters, self.refusals, message.topic
        now = time.monotonic()
        counters.nacked += 1
        refusals.count(now)
        if topic is None:
            if message.attempts + 1 < _MAX_ATTEMPTS:
                self._retry(message)
            else:
                self._give_up(message, counters.shed, "refused_by_broker")
            return
        counters.refused[topic.key] += 1
        if self._is_private:
            refusals.refused_private(message, topic, now)
            return
        if message.is_observed:
            self._tell_given_up(message, counters.shed, "refused_by_broker")
        refusals.refused_public(message, topic, now)

    def _mind_refusals(self) -> None:
        """Have a look soon, as long as there is anything to look at."""
        if self._refusals_due is None and self.refusals.is_any and self._link is not None:
            self._refusals_due = asyncio.get_running_loop().call_later(
                _REFUSALS_SECONDS, self.mind_refusals
            )

    def mind_refusals(self) -> None:
        """Try again what is due of what was refused, and name the holes that are due."""
        self._refusals_due = None
        now = time.monotonic()
        if not self.is_blocked and not self.topology_suspect:
            tried = self.refusals.try_private(now)
            self._counters.resent += tried
            if self.losses is not None:
                self.refusals.tell_public(self.losses, now)
            if tried:
                self.flush()
        self._mind_refusals()

    def _settled(self, message: Message) -> None:
        """Let the spool forget a private message."""
        message.is_settled = True
        if message.record is not None and self._spool is not None:
            self._spool.done(message.record)

    def _retry(self, message: Message) -> None:
        message.attempts += 1
        self._flight.set_aside(message)
        self.attention.set()

    def _give_up(self, message: Message, tally: Counter[str], reason: str) -> None:
        self._settled(message)
        self._tell_given_up(message, tally, reason)
        if message.topic is None:
            self._counters.quarantined["not_kept"] += 1
            return
        now = time.monotonic()
        if self.refusals.is_any:
            self.refusals.taken(message, message.topic, now)
        is_fact = message.is_observed
        if not is_fact or (not self._is_private and self.refusals.has_hole(message.topic)):
            # A marker with all that it named; one marker soon tells of all that was lost.
            self.refusals.refused_public(message, message.topic, now, UNROUTABLE)
            self._mind_refusals()
        else:
            first = message.sequence - message.conflated
            self._lost += [(message.topic, number) for number in range(first, message.sequence + 1)]

    def _tell_given_up(self, message: Message, tally: Counter[str], reason: str) -> None:
        if message.is_observed:
            tally[reason] += 1
        if self._news.is_due(reason):
            log.error("delivery.event_given_up", reason=reason, event_id=message.event_id)

    def _announce_losses(self, reason: str) -> None:
        lost, self._lost = self._lost, []
        if lost and self.losses is not None:
            self.losses.events_lost(lost, reason)

    def _after_answer(self) -> None:
        """Use the room the answer made."""
        if self._flight.first_tag != self._answered_tag:
            self._answered_tag, self._answered_at = self._flight.first_tag, time.monotonic()
        while self._sent and self._sent[0][0] < self._flight.first_tag:
            self._sent.popleft()
        if self._flight.has_waiting and not self._flush_due:
            self._schedule_flush()
        if self._outbox.is_refusing and self.losses is not None:
            self.losses.room_again()
        if not self._flight.unconfirmed:
            self.quiet.set()
        if not self._outbox.messages:
            self._drained.set()
