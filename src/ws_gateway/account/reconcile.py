"""Reconciliation: what REST knows of an account and the stream did not tell becomes events.

It reads after every (re)connect, at start, and once in a while. The stream is never held back: its
events are delivered as they come, and what REST tells older is not told (decision 25).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from random import Random

import structlog

from ws_gateway.account.list_reader import ListReader
from ws_gateway.account.mark_book import MarkBook
from ws_gateway.account.mark_keeper import MarkKeeper
from ws_gateway.account.missed import RECONCILED, Reading
from ws_gateway.account.missed_orders import Unresolved
from ws_gateway.account.recent import id_digest
from ws_gateway.account.reconcile_plan import kept_at, next_mark
from ws_gateway.account.stage import AccountStage
from ws_gateway.account.teller import Teller, Told
from ws_gateway.domain.event import GapReason
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Channel, Topic
from ws_gateway.errors import Retryable, VenueLost
from ws_gateway.ports.account import (
    AccountProblem,
    DeliveryRoom,
    PrivateLists,
    StreamHolder,
    WalletSource,
)
from ws_gateway.ports.event_path import UnreadableSink
from ws_gateway.runtime.backoff import full_jitter
from ws_gateway.runtime.counters import AccountTally, Counters

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

PATIENCE_SECONDS = 10.0
"""How long `resumed` waits for a reading; then it says that it was not waited for."""

GRACE_SECONDS = 1.0
"""How long the stream may take to tell what REST told first, while nothing is known to be lost."""

_LEAVING = frozenset({SubscriptionState.REMOVED, SubscriptionState.REJECTED})


class Reconciliation:
    """Reconciles one account's subscribed topics; `run` does the work, the rest takes note.

    Args:
        stage: where facts go, and what remembers what was told.
        lists, wallets: who reads the venue's REST.
        keeper: where marks are.
        streams: who ends breaks.
        delivery: at whose pace is told.
        option_coins: base coins whose options may be traded.
        every_seconds: between two readings although nothing is known to be missing.
        tally: where readings are timed.
        recall: lets the stage know of what an earlier process stored; may raise `DatabaseLost`.
    """

    def __init__(
        self,
        stage: AccountStage,
        lists: PrivateLists,
        wallets: WalletSource,
        *,
        keeper: MarkKeeper,
        streams: StreamHolder,
        unreadable: UnreadableSink,
        delivery: DeliveryRoom,
        counters: Counters,
        option_coins: Sequence[str],
        every_seconds: float,
        rng: Random,
        tally: AccountTally | None = None,
        recall: Callable[[], Awaitable[None]] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tally = tally or AccountTally()
        self._recall = recall
        self._stage = stage
        self._lists = lists
        self._wallets = wallets
        self._streams = streams
        self._counters = counters
        self._reader = ListReader(lists, unreadable)
        self._option_coins = option_coins
        self._every_seconds = every_seconds
        self._rng = rng
        self._monotonic = monotonic
        self._active: set[Topic] = set()
        self._broken: dict[Topic, float] = {}  # since when it is known to lack something
        self._unread: set[Topic] = set()  # of them, those that no reading was begun for since
        self._left: set[Topic] = set()  # dropped since the present reading began
        self._teller = Teller(stage, lists, unreadable, delivery)
        self._unresolved = Unresolved(stage.account)
        self._wake = asyncio.Event()
        self._faults: dict[Topic, str] = {}  # why what was read of it last is not complete
        self._again: dict[Topic, float] = {}  # when such a topic is tried again
        self._delays = self._fresh_delays()
        self._fault_since = 0.0
        self._healthy_at = 0.0  # when those that lack nothing are read again
        self._book = MarkBook(keeper, monotonic=monotonic)
        self._set_back: dict[str, int] = {}  # by topic: its marks passed what was lost since then

    # ── what is told ──────────────────────────────────────────────────────────────────────────

    def topic_changed(self, topic: Topic, state: SubscriptionState) -> None:
        """Take note of a topic's state; one that became active may have missed something."""
        if topic.channel not in RECONCILED or not topic.is_private:
            return
        if state is SubscriptionState.ACTIVE:
            if topic not in self._active:
                self._active.add(topic)
                self._book.flows(topic)
                self._broken[topic] = self._monotonic()
                self._unread.add(topic)
                self._streams.hold([topic])
                self._wake.set()
            return
        self._active.discard(topic)
        if state is SubscriptionState.PENDING:
            self._streams.hold([topic])  # its first facts may come before the ack
        elif state in _LEAVING:
            self._broken.pop(topic, None)
            self._unread.discard(topic)
            self._left.add(topic)
            self._succeed(topic)
            self._streams.release([topic])
            if state is SubscriptionState.REMOVED:
                self._forget(topic)

    def streams_broken(self, topics: Iterable[Topic], reason: GapReason) -> None:
        """Take note that facts are being missed from now on."""
        for topic in topics:
            if topic.channel not in RECONCILED:
                continue
            self._streams.hold([topic])
            self._broken[topic] = self._monotonic()
            self._unread.add(topic)
            if reason is GapReason.DISCONNECT:
                self._active.discard(topic)  # until it is acknowledged anew
        self._wake.set()

    def facts_lost(self, topics: Iterable[Topic] | None, since: int | None = None) -> None:
        """Take note that what was told did not all arrive: a reading is due, from longer ago.

        Args:
            topics: whose; None for all, those that only an earlier process had included.
            since: exchange time of the oldest of it, ms, if it is known.
        """
        of = self.wanted() if topics is None else topics
        lost = [topic for topic in of if topic.channel in RECONCILED]
        for name, at in self._book.lost(lost, since, is_all=topics is None).items():
            self._set_back[name] = min(at, self._set_back.get(name, at))
        self.streams_broken(lost, GapReason.SHED)

    def wanted(self) -> set[Topic]:
        """Name the topics that somebody wants, as far as they flow or flowed."""
        return self._active | self._broken.keys()

    def problems(self) -> list[AccountProblem]:
        """Tell why it does not get on."""
        if not self._faults:
            return []
        detail = (
            f"what the stream missed could not be read over REST for "
            f"{self._monotonic() - self._fault_since:.0f} s; the stream flows: "
            + "; ".join(sorted(set(self._faults.values())))
        )
        return [AccountProblem("not_reconciled", self._stage.account, detail)]

    def _forget(self, topic: Topic) -> None:
        if topic.channel is Channel.BALANCE:
            self._teller.is_wallet_told = False
        self._book.forget(topic)

    # ── the loop ──────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Reconcile until cancelled; whatever fails is tried again, the stream goes on."""
        self._healthy_at = self._monotonic() + self._every_seconds
        while True:
            self._wake.clear()
            if topics := self._due():
                await self._attempt(sorted(topics, key=_key))
            else:
                await self._sleep(self._next_at() - self._monotonic())

    def _fresh_delays(self) -> Iterator[float]:
        return full_jitter(base_seconds=1.0, cap_seconds=30.0, rng=self._rng, first_at_once=False)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return  # it is time

    def _due(self) -> set[Topic]:
        """Name what is to be read now, in one reading; the most urgent if there is more.

        A topic that flows again, or lost something, waits for no other's pause. What failed is
        tried again in its own time, and the clock comes round for what lacks nothing.
        """
        now = self._monotonic()
        again = {topic for topic in self._active if self._again.get(topic, now + 1) <= now}
        if lacking := self._active & self._unread | again & self._broken.keys():
            return lacking
        if failed := again - self._broken.keys():
            return failed
        if now < self._healthy_at:
            return set()
        self._healthy_at = now + self._every_seconds
        return self._active - self._broken.keys() - self._again.keys()

    def _next_at(self) -> float:
        """Say when something is to be read though nothing happens until then, our clock, s."""
        again = (at for topic, at in self._again.items() if topic in self._active)
        return min([self._healthy_at, *again])

    async def _attempt(self, topics: list[Topic]) -> None:
        """Read and tell what is missing of these."""
        begun = self._monotonic()
        self._unread.difference_update(topics)
        self._left.clear()
        is_gap = any(topic in self._broken for topic in topics)
        news, told = Counter[str](), list[Told]()
        under_way: list[Reading] = []
        reading = asyncio.create_task(self._read(topics, under_way), name="reconcile")
        try:
            while not (await asyncio.wait({reading}, timeout=PATIENCE_SECONDS))[0]:
                if is_gap:
                    self._resume(topics, begun, "data flows; what was missed is still being read")
                for one in under_way:  # a list that does not answer keeps back no other's rows
                    told += await self._teller.tell(one, news)
            read = await reading
        except Retryable as exc:
            pause = exc.retry_after_seconds if isinstance(exc, VenueLost) else None
            self._fail(topics, begun, str(exc), pause or 0.0)
            return
        finally:
            reading.cancel()
        if not is_gap:
            await asyncio.sleep(GRACE_SECONDS)
        told += await self._teller.tell(read, news)
        news = +news
        self._keep(read, told)
        self._unresolved.note(read.unresolved)
        self._report(read, news, sum(len(found.rows) for found, _ in told), begun, is_gap=is_gap)
        failed = {topic for topic, _ in read.failed}
        done = [topic for topic in topics if topic not in failed]
        counts = ", ".join(f"{count} {name}" for name, count in sorted(news.items()))
        said = f"reconciled over REST: {counts or 'nothing was missing'}"
        self._resume(done, begun, said, is_complete=True)
        for topic in done:
            self._succeed(topic)
            if self._broken.get(topic, begun) <= begun:
                self._broken.pop(topic, None)
        if failed:
            why = "; ".join(f"{part}: {fault}" for part, fault in sorted(read.faults.items()))
            self._fail(sorted(failed, key=_key), begun, why, read.retry_after)
        else:
            self._ended("done", begun)

    async def _read(self, topics: list[Topic], under_way: list[Reading]) -> Reading:
        now_ms = await self._lists.time_ms()
        self._book.note_time(now_ms)
        endpoint = topics[0].key.removesuffix(topics[0].name)  # it names a further account
        restored = await self._book.restore()
        if self._recall is not None:
            await self._recall()
        lost, self._set_back = self._set_back, {}
        for name, at in self._book.all_lost().items():
            lost[name] = min(at, lost.get(name, at))
        for mark in restored:
            if mark.topic not in lost:  # of what is lost, some may be called seen
                self._stage.told[f"{endpoint}{mark.topic}"].seed(mark.seen)
        self._book.set_back(lost)
        self._stage.begin_reading(topics)
        reading = Reading(
            self._reader,
            self._wallets,
            self._stage,
            topics,
            self._book.begin(topics),
            now_ms,
            self._option_coins,
            self._unresolved.given_up,
            self._book.floors,
        )
        under_way.append(reading)
        await reading.run()
        return reading

    def _resume(
        self, topics: Iterable[Topic], begun: float, detail: str, *, is_complete: bool = False
    ) -> None:
        """End the breaks that are older than this attempt, of topics that flow."""
        self._streams.resume(
            [
                topic
                for topic in topics
                if topic in self._active and self._broken.get(topic, begun) <= begun
            ],
            detail,
            is_complete=is_complete,
        )

    def _fail(self, topics: Iterable[Topic], begun: float, why: str, pause: float) -> None:
        """Say that these are not complete, and when they are tried again: not before a pause, s."""
        topics = [topic for topic in topics if self._is_wanted(topic)]
        if topics and not self._faults:
            self._fault_since = begun
            log.warning("account.not_reconciled", account=self._stage.account, why=why)
        self._faults |= dict.fromkeys(topics, why)
        at = self._monotonic() + max(next(self._delays), pause)
        self._again |= dict.fromkeys(topics, at)
        self._ended("failed", begun)
        self._resume(topics, begun, f"data flows; what was missed could not be read: {why}")

    def _is_wanted(self, topic: Topic) -> bool:
        """Say whether somebody wants it still, whether it flows or not."""
        return topic in self._active or topic in self._broken

    def _succeed(self, topic: Topic) -> None:
        """Take note that of this topic nothing failed, or that nobody wants it any more."""
        self._faults.pop(topic, None)
        self._again.pop(topic, None)
        if not self._faults:
            self._delays = self._fresh_delays()

    def _ended(self, how: str, begun: float) -> None:
        self._counters.reconciliations[how] += 1
        self._tally.ended[how] += 1
        self._tally.readings.of(how).observe(self._monotonic() - begun)

    # ── what was read ─────────────────────────────────────────────────────────────────────────

    def _keep(self, read: Reading, told_facts: list[Told]) -> None:
        """Set marks where all that was read is on its way; stored once it is delivered."""
        marks = []
        known = self._book.marks or {}
        for found, facts in told_facts:
            topic, place = found.topic, (found.topic.name, str(found.category))
            if (topic, place[1]) in read.failed or not self._is_wanted(topic):
                continue
            if topic in self._left or topic.name in self._set_back:
                continue  # it begins anew; or this reading knows nothing of what was lost meanwhile
            told = []
            if topic.channel is not Channel.POSITION:  # their states are few, and told again
                told = [
                    (kept_at(row, read.started), id_digest(fact.event_id, topic.key))
                    for row, fact in facts
                ]
            mark = next_mark(
                known.get(place),
                *place,
                started=read.started,
                told=told,
                newest=found.newest,
                living=found.living,
            )
            marks.append(mark)
        self._book.put(marks)

    def _report(
        self, read: Reading, news: Counter[str], rows: int, begun: float, *, is_gap: bool
    ) -> None:
        account = self._stage.account
        self._counters.reconciled.update(news)
        self._tally.reconciled.update(news)
        if is_gap:
            log.info(
                "account.reconciled",
                account=account,
                seconds=round(self._monotonic() - begun, 3),
                rows=rows,
                news=dict(news),
                failed=sorted(read.faults),
            )
        elif news:
            self._counters.differing.update(news)
            self._tally.differing.update(news)
            log.warning(
                "account.stream_differs",
                account=account,
                news=dict(news),
                why="REST tells what the stream did not, though no break is known",
            )


def _key(topic: Topic) -> str:
    return topic.key
