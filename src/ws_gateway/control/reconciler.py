"""The loop that makes the venue's topics those that services want, and writes down what came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from uuid import UUID

import structlog

from ws_gateway.control.alignment import Alignment
from ws_gateway.control.board import TopicBoard
from ws_gateway.control.leases import Leases
from ws_gateway.control.policy import Policy
from ws_gateway.control.register import Register
from ws_gateway.control.settling import Settling, is_settled
from ws_gateway.control.topic_states import (
    LEAVING,
    ReconcilerStatus,
    StateNews,
    TopicStates,
    TopicStatus,
)
from ws_gateway.control.topic_times import TopicTimes
from ws_gateway.domain.subscription import Subscription, SubscriptionState, UnreadableRow
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports.delivery import DedicatedQueues
from ws_gateway.ports.feed import Feed
from ws_gateway.ports.store import RowChange, SubscriptionStore
from ws_gateway.runtime.backoff import full_jitter

INTERVAL_SECONDS = 5.0
LINGER_SECONDS = 0.05
"""How long news of states are collected before they are written together."""

RETRY_BASE_SECONDS, RETRY_CAP_SECONDS = 0.5, 10.0

_log = structlog.get_logger(__name__)


def _default_backoff() -> Iterator[float]:
    return full_jitter(
        base_seconds=RETRY_BASE_SECONDS,
        cap_seconds=RETRY_CAP_SECONDS,
        rng=Random(),  # noqa: S311 - spreads retries, keeps no secret
        first_at_once=False,
    )


class Reconciler:
    """Keeps the feed at what the store desires; the only caller of `want` and `drop`.

    It stands behind the feed as its `TopicObserver`, and behind the ledger as its
    `ChangeListener`. What this process stores is acted on at once; what others store, as soon as
    they are heard; what was not heard is found at the interval. While the database is away, the
    feed goes on with what it has: nothing is dropped because a wish could not be read.

    Args:
        store: the ledger of wishes.
        feed: the venue.
        policy: what may be asked of the feed; a stored wish it refuses is `rejected` here.
        queues: who has to hear of wishes that others stored or took back.
        interval_seconds: how often the ledger is looked at although nobody said that it changed.
        backoff: makes the delays between attempts while the database is away.
        monotonic: clock in seconds.

    Attributes:
        register: the ledger's copy in memory.
        board: every topic with its state now, which is what the feed says now.
    """

    def __init__(
        self,
        store: SubscriptionStore,
        feed: Feed,
        policy: Policy,
        queues: DedicatedQueues | None = None,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        linger_seconds: float = LINGER_SECONDS,
        backoff: Callable[[], Iterator[float]] = _default_backoff,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.board = TopicBoard(self._status, feed.take_changed)
        self.register = Register(self.board.doubt)
        self._store = store
        self._feed = feed
        self._policy = policy
        self._queues = queues
        self._interval_seconds = interval_seconds
        self._linger_seconds = linger_seconds
        self._backoff = backoff
        self._monotonic = monotonic
        self._states = TopicStates(monotonic, self.board.doubt)
        self._settling = Settling()
        self._wake = asyncio.Event()
        self._stopping = False
        self._is_restored = False
        self._database_error: str | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._leases = Leases(store, monotonic)
        self._is_doubtful = True
        self._look_at = float("-inf")
        self._changes: dict[UUID, RowChange] = {}
        self._alignment = Alignment(feed, policy, self.register, self._states, self._note)

    # ── told by the service ──────────────────────────────────────────────────────────────────

    def wish_added(self, row: Subscription) -> StateNews | None:
        """Reconcile at once; answers the topic's state where it differs from `requested`.

        A topic the venue refused is asked for again: the service that posts it says so. For a
        topic another service has already, the new row gets the state the topic has.
        """
        topic = row.topic
        news = self._states.known(topic)
        if news is not None and news[0] is SubscriptionState.REJECTED:
            self._alignment.ask_again(topic)
            news = (SubscriptionState.REQUESTED, None)
            self._states.note(topic, news)
        self.wishes_added([row])
        return news

    def wishes_added(self, rows: Sequence[Subscription]) -> None:
        """Reconcile at once, but leave what the venue refused at that."""
        self._take_in(rows)
        self._wake.set()

    def wishes_removed(self, rows: Iterable[Subscription | UnreadableRow]) -> None:
        """Reconcile at once."""
        self._alignment.touch(self.register.drop(row.id for row in rows))

    def state(self, topic: Topic) -> tuple[SubscriptionState, str | None, float] | None:
        """Return a topic's state now, its words, and since when, in monotonic seconds."""
        status = self.board.get(topic)
        if status is None or not status.is_desired:
            return None
        return status.state, status.error, status.since

    def carriers(self, topic: Topic) -> Sequence[str]:
        """Name the connections that carry a topic."""
        return self._feed.carriers(topic)

    def services(self, topic: Topic) -> int:
        """Say how many services want a topic."""
        return self.register.services(topic)

    async def settled(self, topics: Iterable[Topic], seconds: float) -> None:
        """Wait until the venue took or refused each, at most so long."""
        known = self._states.known
        await self._settling.wait([one for one in topics if not is_settled(known(one))], seconds)

    # ── told by the feed (ports.TopicObserver) ───────────────────────────────────────────────

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        """Take note of a new state; never waits, it is written with others a moment later."""
        if state in LEAVING:
            # Its rows are gone. If a new row was made meanwhile, it is a new wish, and this is
            # no news of it.
            self._states.left(topic)
            return
        self._note(topic, (state, error))
        self._wake_soon()

    def _note(self, topic: Topic, news: StateNews) -> None:
        self._states.note(topic, news)
        self._settling.note(topic, news[0])

    # ── told by the ledger (ports.ChangeListener) ──────────────────────────────────────────────

    def rows_changed(self, changes: Sequence[RowChange]) -> None:
        """Take note of what somebody stored or took back; our own changes come back too."""
        # The end of a row that is being read is news, though the row is not known yet.
        known, reading = self.register.knows, self._changes
        unknown = [one for one in changes if one.id in reading or not known(one)]
        self._changes.update((one.id, one) for one in unknown)
        if unknown:
            # A moment later, because of our own ones the answer may still be on its way.
            self._wake_soon()

    def ledger_doubtful(self) -> None:
        """Take note that changes may have been missed."""
        self._is_doubtful = True
        self._wake.set()

    def _wake_soon(self) -> None:
        # While the database is away the retry decides when, not the stream of news.
        if self._linger is None and self._database_error is None and not self._stopping:
            later = asyncio.get_running_loop().call_later
            self._linger = later(self._linger_seconds, self._news_due)

    def _news_due(self) -> None:
        self._linger = None
        self._wake.set()

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Reconcile until `stop` is called; the database being away is waited out."""
        delays = self._backoff()
        self._leases.watch()
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    await self._reconcile()
                except DatabaseLost as exc:
                    self._outage_seen(exc)
                    await self._sleep(next(delays))
                else:
                    self._outage_ended()
                    delays = self._backoff()
                    due = min(self._look_at, self._leases.ends_at)
                    await self._sleep(max(0.0, due - self._monotonic()))
        finally:
            self._leases.leave()
            if self._linger is not None:
                self._linger.cancel()
                self._linger = None

    def stop(self) -> None:
        """Let `run` end after the statement it is at; the feed keeps its topics."""
        self._stopping = True
        self._alignment.stop()
        self._wake.set()

    def status(self) -> ReconcilerStatus:
        """Return the state right now."""
        return ReconcilerStatus(
            is_restored=self._is_restored,
            database_error=self._database_error,
            counts=self.board.counts(),
            wanted=self.board.wanted_counts(),
        )

    @property
    def is_current(self) -> bool:
        """Say whether the register is known to be what the ledger held when it was there."""
        return self.register.is_complete and not self._changes

    @property
    def times(self) -> TopicTimes:
        """How long topics took to become active."""
        return self._states.times

    @property
    def database_error(self) -> str | None:
        """Why the database cannot be reached now, None while it can."""
        return self._database_error

    def _status(self, topic: Topic) -> TopicStatus | None:
        """Tell a topic's state; it is what the feed says now, not what it said last."""
        actual = self._feed.state(topic)
        since = self._states.since(topic, self._monotonic())
        if topic not in self.register.topics:
            if actual is None:
                return None
            return TopicStatus(topic, actual, None, since, is_desired=False)
        state, error = self._states.known(topic) or (SubscriptionState.REQUESTED, None)
        is_news = actual is not None and not self._alignment.is_asked_again(topic)
        if is_news and actual is not state:
            # A topic that is wanted anew before its end was confirmed will be asked for again.
            state = actual if actual and actual not in LEAVING else SubscriptionState.REQUESTED
            error = None
        return TopicStatus(topic, state, error, since, is_desired=True)

    async def _sleep(self, seconds: float) -> None:
        """Wait for a reason to go on, or so long.

        During an outage only a stored wish, the ledger's own word or `stop` is a reason: each
        proves or needs something now, and none can come often.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return  # the interval is over

    async def _reconcile(self) -> None:
        if not self._is_restored:
            await self._store.reset_states()
        is_due = self._monotonic() >= self._look_at
        await self._expire(is_due=is_due)
        await self._hear()
        if is_due or self._is_doubtful:
            await self._look()
            await self._alignment.close_all()
            self._look_at = self._monotonic() + self._interval_seconds
        await self._alignment.close_touched()
        self._is_restored = True
        await self.board.catch_up()
        await self._write_news()

    # ── what is desired ──────────────────────────────────────────────────────────────────────

    async def _expire(self, *, is_due: bool) -> None:
        """Forget the leases that nobody renewed."""
        gone = await self._leases.expire(is_due=is_due)
        if gone:
            self.wishes_removed(gone)
            self._queues_changed()

    async def _hear(self) -> None:
        """Read the rows that others changed."""
        heard = list(self._changes.values())
        unknown = [one.id for one in heard if not self.register.knows(one)]
        if unknown:
            rows = await self._store.get_all(unknown)
            self._take_in(rows)
            self._alignment.touch(self.register.drop(set(unknown) - {row.id for row in rows}))
            self._queues_changed()
        for one in heard:
            if self._changes.get(one.id) is one:  # else it changed again while it was read
                del self._changes[one.id]

    async def _look(self) -> None:
        """Read the whole ledger, if it is not what is known of it."""
        self._is_doubtful = False
        self._states.write_some_again()
        if self.register.is_complete and await self._is_as_known():
            return
        was_complete = self.register.is_complete
        self.register.begin_reading()
        read = None
        try:
            read = await self._store.everything()
        finally:
            new, gone = self.register.end_reading(read)
        rows = [row for one in new if (row := self.register.get(one)) is not None]
        for row in rows:
            self._states.write_again(row.topic)
        if was_complete and (new or gone):
            _log.info("control.ledger_read_again", found=len(new), missed=len(gone))
            self._queues_changed()

    async def _is_as_known(self) -> bool:
        for _ in range(2):
            # What is being stored right now may be in there and not known yet: look twice.
            if await self._store.fingerprint() == self.register.fingerprint:
                return True
            await asyncio.sleep(self._linger_seconds)
        return False

    def _take_in(self, rows: Sequence[Subscription]) -> None:
        self._alignment.touch(self.register.put(rows))
        for row in rows:
            self._states.write_again(row.topic)
            if row.ttl_seconds is not None:
                self._leases.end_in(row.ttl_seconds)

    def _queues_changed(self) -> None:
        if self._queues is not None:
            self._queues.wishes_changed()

    # ── what is written ──────────────────────────────────────────────────────────────────────

    async def _write_news(self) -> None:
        for piece in self._states.take_unwritten(self.register.topics):
            await self._write(piece)

    async def _write(self, piece: Mapping[Topic, StateNews]) -> None:
        try:
            await self._store.set_state(piece)
        except BaseException:  # also when cancelled
            self._states.give_back(piece)
            raise

    def _outage_seen(self, exc: DatabaseLost) -> None:
        if self._database_error is None:
            _log.warning("control.database_lost", error=str(exc), topics_kept=len(self._states))
        self._database_error = str(exc)
        self._is_doubtful = True
        self._leases.doubt()

    def _outage_ended(self) -> None:
        if self._database_error is not None:
            self._database_error = None
            # A database that went away may come back as an older copy.
            self._states.write_all_again()
            _log.info("control.database_returned", news=len(self._states))
            if self._states.has_unwritten:
                self._wake.set()
