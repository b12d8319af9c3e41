"""The loop that makes the venue's topics those that services want, and writes down what came."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import structlog

from ws_gateway.control.policy import Policy
from ws_gateway.control.topic_times import TopicTimes
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports import Feed, SubscriptionStore
from ws_gateway.runtime.backoff import full_jitter

INTERVAL_SECONDS = 5.0
LINGER_SECONDS = 0.05
"""How long news of states are collected before they are written together."""

RETRY_BASE_SECONDS, RETRY_CAP_SECONDS = 0.5, 10.0

StateNews = tuple[SubscriptionState, str | None]
"""A topic's state, and the words that go with a refusal."""

_LEAVING = frozenset({SubscriptionState.REMOVING, SubscriptionState.REMOVED})
_COMING = frozenset({SubscriptionState.REQUESTED, SubscriptionState.PENDING})

_log = structlog.get_logger(__name__)


class TopicStatus(NamedTuple):
    """One topic: what the ledger wants of it, and what the venue made of it.

    A tuple, because thousands are made at one look.

    Attributes:
        error: the words that go with the state; the venue's own, or those of a setting.
        since: monotonic seconds since when it is on its way, active, stalled or rejected. A topic
            that is asked for again and again without success has been on its way all the time.
        is_desired: the ledger wants it; False while the venue still has what nobody wants.
    """

    topic: Topic
    state: SubscriptionState
    error: str | None
    since: float
    is_desired: bool


@dataclass(frozen=True, slots=True)
class ReconcilerStatus:
    """The loop as `/health` shows it.

    Attributes:
        is_restored: the stored wishes were read at least once since the start.
        database_error: why the database cannot be reached now, or None.
        topics: every topic that the ledger wants or the venue has, in no order.
    """

    is_restored: bool
    database_error: str | None
    topics: tuple[TopicStatus, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Say how many topics are in each state."""
        return dict(Counter(one.state.value for one in self.topics))


def _default_backoff() -> Iterator[float]:
    return full_jitter(
        base_seconds=RETRY_BASE_SECONDS,
        cap_seconds=RETRY_CAP_SECONDS,
        rng=Random(),  # noqa: S311 - spreads retries, keeps no secret
        first_at_once=False,
    )


class Reconciler:
    """Keeps the feed at what the store desires; the only caller of `want` and `drop`.

    It stands behind the feed as its `TopicObserver`. While the database is away, the feed goes on
    with what it has: nothing is dropped because a wish could not be read.

    Args:
        store: the ledger of wishes.
        feed: the venue.
        policy: what may be asked of the feed; a stored wish it refuses is `rejected` here.
        interval_seconds: how often the ledger is read although nobody said that it changed.
        backoff: makes the delays between attempts while the database is away.
        monotonic: clock in seconds.

    Attributes:
        times: how long topics took to become active.
    """

    def __init__(
        self,
        store: SubscriptionStore,
        feed: Feed,
        policy: Policy,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        linger_seconds: float = LINGER_SECONDS,
        backoff: Callable[[], Iterator[float]] = _default_backoff,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._feed = feed
        self._policy = policy
        self._interval_seconds = interval_seconds
        self._linger_seconds = linger_seconds
        self._backoff = backoff
        self._monotonic = monotonic
        self.times = TopicTimes()
        self._wake = asyncio.Event()
        self._stopping = False
        self._is_restored = False
        self._database_error: str | None = None
        self._linger: asyncio.TimerHandle | None = None
        # What the feed said last of each topic it has, and what of it is not written down yet.
        self._known: dict[Topic, StateNews] = {}
        self._unwritten: dict[Topic, StateNews] = {}
        # What the ledger wanted at the last look, and since when each is in its present phase.
        self._desired: set[Topic] = set()
        self._since: dict[Topic, float] = {}
        self._asked_again: set[Topic] = set()
        self._unserved: set[Topic] = set()
        self._added_meanwhile: set[Topic] = set()

    # ── told by the service ──────────────────────────────────────────────────────────────────

    def wish_added(self, topic: Topic) -> StateNews | None:
        """Reconcile at once; answers the topic's state where it differs from `requested`.

        A topic the venue refused is asked for again: the service that posts it says so. For a
        topic another service has already, the new row gets the state the topic has.
        """
        news = self._known.get(topic)
        if news is not None and news[0] is SubscriptionState.REJECTED:
            self._asked_again.add(topic)
            news = (SubscriptionState.REQUESTED, None)
            self._note(topic, news)
        if news is not None:
            self._unwritten[topic] = news
        if news is None or topic in self._asked_again:
            self.times.asked(topic, self._monotonic())
        self._added_meanwhile.add(topic)
        self._wake.set()
        return news

    def wishes_removed(self) -> None:
        """Reconcile at once."""
        self._wake.set()

    # ── told by the feed (ports.TopicObserver) ───────────────────────────────────────────────

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        """Take note of a new state; never waits, it is written with others a moment later."""
        if state in _LEAVING:
            # Its rows are gone. If a new row was made meanwhile, it is a new wish, and this is
            # no news of it.
            self._known.pop(topic, None)
            self._unwritten.pop(topic, None)
            self.times.forget(topic)
            return
        self._note(topic, (state, error))
        self._unwritten[topic] = (state, error)
        # While the database is away the retry decides when, not the stream of news.
        if self._linger is None and self._database_error is None and not self._stopping:
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(self._linger_seconds, self._news_due)

    def _news_due(self) -> None:
        self._linger = None
        self._wake.set()

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Reconcile until `stop` is called; the database being away is waited out."""
        delays = self._backoff()
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
                    await self._sleep(self._interval_seconds)
        finally:
            if self._linger is not None:
                self._linger.cancel()
                self._linger = None

    def stop(self) -> None:
        """Let `run` end after the statement it is at; the feed keeps its topics."""
        self._stopping = True
        self._wake.set()

    def status(self) -> ReconcilerStatus:
        """Return the state right now."""
        return ReconcilerStatus(
            is_restored=self._is_restored,
            database_error=self._database_error,
            topics=tuple(self._topics()),
        )

    def _topics(self) -> Iterator[TopicStatus]:
        """Tell each topic once; its state is what the feed says now, not what it said last."""
        now = self._monotonic()
        wanted = self._feed.wanted()
        for topic in self._desired:
            state, error = self._known.get(topic, (SubscriptionState.REQUESTED, None))
            actual = wanted.get(topic)
            if actual is not None and actual is not state:
                # A topic that is wanted anew before its end was confirmed will be asked for again.
                state = SubscriptionState.REQUESTED if actual in _LEAVING else actual
                error = None
            yield TopicStatus(topic, state, error, self._since.get(topic, now), is_desired=True)
        for topic, state in wanted.items():
            if topic not in self._desired:
                since = self._since.get(topic, now)
                yield TopicStatus(topic, state, None, since, is_desired=False)

    def _note(self, topic: Topic, news: StateNews) -> None:
        """Keep the newest of a topic; its time starts anew only with a new phase."""
        now = self._monotonic()
        # Since it was asked for it is on its way, whether or not the feed said so.
        before = self._known.get(topic, (SubscriptionState.REQUESTED, None))[0]
        is_same = before is news[0] or {before, news[0]} <= _COMING
        if not is_same or topic not in self._since:
            self._since[topic] = now
        self.times.changed(topic, before, news[0], now)
        self._known[topic] = news

    def _forget(self, topic: Topic) -> None:
        self._known.pop(topic, None)
        self._unwritten.pop(topic, None)
        self._since.pop(topic, None)
        self.times.forget(topic)

    async def _sleep(self, seconds: float) -> None:
        """Wait for a reason to go on, or so long.

        During an outage only a stored wish or `stop` is a reason: both prove or need something
        now, and neither can come often.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return  # the interval is over

    async def _reconcile(self) -> None:
        if not self._is_restored:
            await self._store.reset_states()
        self._added_meanwhile.clear()
        desired = await self._store.desired_topics()
        # A wish stored while the ledger was being read may be missing from the answer; dropping
        # its topic now, to ask for it again a moment later, would tear a hole into its stream.
        desired |= self._added_meanwhile
        self._desired = desired
        self._close_difference(desired - self._refuse_unserved(desired))
        self._is_restored = True
        await self._write_news(desired)

    def _refuse_unserved(self, desired: set[Topic]) -> set[Topic]:
        """Reject what was stored under other settings; answers it.

        The rows stay, because the next start may serve them again.
        """
        refused: set[Topic] = set()
        for topic in desired:
            refusal = self._policy.refusal(topic.channel, topic.category)
            if refusal is None:
                continue
            refused.add(topic)
            if topic not in self._unserved:
                news = (SubscriptionState.REJECTED, str(refusal))
                self._note(topic, news)
                self._unwritten[topic] = news
                _log.warning("control.topic_unserved", topic=topic.key, why=str(refusal))
        for gone in self._unserved - refused:
            self._known.pop(gone, None)
            self._since.pop(gone, None)
        self._unserved = refused
        return refused

    def _close_difference(self, desired: set[Topic]) -> None:
        """Ask the feed for what is missing and let go of what nobody wants.

        There is no wait between reading `wanted` and the calls, so nothing changes in between.
        """
        wanted = self._feed.wanted()
        staying = {topic for topic, state in wanted.items() if state not in _LEAVING}
        # A rejected topic is in `wanted`, so it is not missing: the interval does not repeat a
        # question the venue has answered.
        missing = (desired - staying) | (desired & self._asked_again)
        surplus = staying - desired
        self._asked_again.clear()
        if surplus:
            self._feed.drop(_in_order(surplus))
            for topic in surplus:
                self._forget(topic)
        if missing:
            now = self._monotonic()
            for topic in missing:
                self._since.setdefault(topic, now)
                self.times.asked(topic, now)
            self._feed.want(_in_order(missing))
        if missing or surplus:
            _log.info(
                "control.topics_reconciled",
                wanted=len(missing),
                dropped=len(surplus),
                desired=len(desired),
            )

    async def _write_news(self, desired: set[Topic]) -> None:
        news, self._unwritten = self._unwritten, {}
        news = {topic: state for topic, state in news.items() if topic in desired}
        if not news:
            return
        try:
            await self._store.set_state(news)
        except BaseException:
            # Also when cancelled. What came meanwhile is newer and wins.
            self._unwritten = news | self._unwritten
            raise

    def _outage_seen(self, exc: DatabaseLost) -> None:
        if self._database_error is None:
            _log.warning("control.database_lost", error=str(exc), topics_kept=len(self._known))
        self._database_error = str(exc)

    def _outage_ended(self) -> None:
        if self._database_error is not None:
            self._database_error = None
            # A database that went away may come back as an older copy.
            self._unwritten = self._known | self._unwritten
            _log.info("control.database_returned", news=len(self._unwritten))
            if self._unwritten:
                self._wake.set()


def _in_order(topics: set[Topic]) -> list[Topic]:
    return sorted(topics, key=lambda topic: topic.key)
