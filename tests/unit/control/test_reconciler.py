"""The loop between the ledger of wishes and the feed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import repeat
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from support.memory_feed import MemoryFeed
from support.memory_store import MemorySubscriptions
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.domain.subscription import Subscription
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.ports.store import Fingerprint, RowChange, SubscriptionFilter

MS = 0.001
FULL = Policy(tuple(Category), Category.LINEAR, has_credentials=True)
ANY = SubscriptionFilter()


def ticker(symbol: str) -> Topic:
    """Build a linear ticker."""
    return build_topic(Channel.TICKER, category=Category.LINEAR, symbol=symbol)


A, B, C = ticker("AUSDT"), ticker("BUSDT"), ticker("CUSDT")


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds, at most twenty seconds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is watched has no event to wait for
            await asyncio.sleep(MS)


def quickly() -> Iterator[float]:
    """Retry every ten milliseconds."""
    return repeat(10 * MS)


@asynccontextmanager
async def running(
    store: MemorySubscriptions,
    feed: MemoryFeed,
    interval_seconds: float = 60.0,
    policy: Policy = FULL,
) -> AsyncIterator[Reconciler]:
    """Run a reconciler behind the feed; the interval is out of the way unless asked for."""
    reconciler = Reconciler(
        store,
        feed,
        policy,
        interval_seconds=interval_seconds,
        linger_seconds=5 * MS,
        backoff=quickly,
    )
    feed.observer = reconciler
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        group.create_task(reconciler.run())
        yield reconciler
        reconciler.stop()


async def state_of(store: MemorySubscriptions, topic: Topic) -> tuple[State, str | None]:
    """Read the state of a topic's first wish."""
    rows = await store.page(ANY, after=None, limit=100)
    row = next(row for row in rows if row.topic == topic)
    return row.state, row.last_error


async def test_stored_wishes_are_restored_at_start() -> None:
    """What was desired before the start is asked for at once, with its old state forgotten."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    await store.add(A, "s", "explicit")
    await store.add(B, "s", "explicit")
    await store.set_state({A: (State.REJECTED, "old")})
    async with running(store, feed) as reconciler:
        await until(lambda: reconciler.status().is_restored)
        assert feed.calls == [("want", [A.key, B.key])]
        assert (await state_of(store, A))[0] in (State.REQUESTED, State.PENDING)


async def test_a_new_wish_is_asked_for_at_once() -> None:
    """The wake-up, not the interval, brings a wish to the feed."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    async with running(store, feed) as reconciler:
        row, _ = await store.add(A, "s", "explicit")
        assert reconciler.wish_added(row) is None
        await until(lambda: A in feed.wanted())


async def test_wishes_made_elsewhere_are_found_by_the_interval() -> None:
    """A row that nobody announced is seen at the next look."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    async with running(store, feed, interval_seconds=10 * MS):
        await store.add(A, "s", "explicit")
        await until(lambda: A in feed.wanted())


async def test_a_topic_stays_until_the_last_service_leaves() -> None:
    """Two wishes, one topic: the feed is asked once, and lets go only after both are gone."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    async with running(store, feed) as reconciler:
        one, _ = await store.add(A, "one", "explicit")
        two, _ = await store.add(A, "two", "explicit")
        reconciler.wishes_added([one, two])
        await until(lambda: A in feed.wanted())
        await store.remove(one.id)
        reconciler.wishes_removed([one])
        row, _ = await store.add(B, "one", "explicit")  # proves that it has looked again
        reconciler.wish_added(row)
        await until(lambda: B in feed.wanted())
        assert A in feed.wanted()
        await store.remove(two.id)
        reconciler.wishes_removed([two])
        await until(lambda: A not in feed.wanted())
        assert feed.calls == [("want", [A.key]), ("want", [B.key]), ("drop", [A.key])]


async def test_states_are_written_together() -> None:
    """A hundred acks within a moment are one or two statements, not a hundred."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    topics = [ticker(f"T{n:03d}USDT") for n in range(100)]
    for topic in topics:
        await store.add(topic, "s", "explicit")
    async with running(store, feed) as reconciler:
        await until(lambda: len(feed.wanted()) == 100)
        for topic in topics:
            feed.answer(topic, State.ACTIVE)
        await until(lambda: bool(store.written) and topics[0] in store.written[-1])
        await until(lambda: store.written[-1].get(topics[0]) == (State.ACTIVE, None))
        assert len(store.written) <= 3
        assert reconciler.status().counts == {"active": 100}
    assert await state_of(store, topics[99]) == (State.ACTIVE, None)


async def test_a_rejected_topic_is_not_asked_again_by_the_interval() -> None:
    """The venue's answer is written down and respected until somebody posts the wish again."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    row, _ = await store.add(A, "s", "explicit")
    async with running(store, feed, interval_seconds=5 * MS) as reconciler:
        await until(lambda: A in feed.wanted())
        feed.answer(A, State.REJECTED, "Invalid symbol")
        await until(lambda: {A: (State.REJECTED, "Invalid symbol")} in store.written)
        await asyncio.sleep(30 * MS)
        assert feed.calls == [("want", [A.key])]

        assert reconciler.wish_added(row) == (State.REQUESTED, None)
        await until(lambda: len(feed.calls) == 2)
        assert feed.calls[1] == ("want", [A.key])
        await until(lambda: {A: (State.PENDING, None)} in store.written)
    assert await state_of(store, A) == (State.PENDING, None)


async def test_the_second_service_sees_the_state_the_topic_has() -> None:
    """A wish for a topic that flows already is active without any news from the venue."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    await store.add(A, "one", "explicit")
    async with running(store, feed) as reconciler:
        await until(lambda: A in feed.wanted())
        feed.answer(A, State.ACTIVE)
        await until(lambda: {A: (State.ACTIVE, None)} in store.written)
        second, _ = await store.add(A, "two", "explicit")
        assert reconciler.wish_added(second) == (State.ACTIVE, None)
        written = len(store.written)
        await until(lambda: len(store.written) > written)
    row = await store.get(second.id)
    assert row is not None
    assert row.state is State.ACTIVE


async def test_nothing_is_dropped_while_the_database_is_away() -> None:
    """The feed keeps its topics through an outage, news wait, and all is written afterwards."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    await store.add(A, "s", "explicit")
    async with running(store, feed, interval_seconds=5 * MS) as reconciler:
        await until(lambda: A in feed.wanted())
        store.is_away = True
        await until(lambda: reconciler.status().database_error is not None)
        feed.answer(A, State.ACTIVE)
        await asyncio.sleep(50 * MS)
        assert A in feed.wanted()
        assert ("drop", [A.key]) not in feed.calls
        store.is_away = False
        await store.add(B, "s", "explicit")
        await until(lambda: B in feed.wanted())
        await until(lambda: reconciler.status().database_error is None)
        await until(lambda: any(A in batch for batch in store.written))
    assert await state_of(store, A) == (State.ACTIVE, None)


async def test_news_do_not_hurry_the_retry() -> None:
    """A stream of state changes while the database is away does not turn into attempts."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    attempts = 0

    def slowly() -> Iterator[float]:
        nonlocal attempts
        while True:
            attempts += 1
            yield 60.0

    reconciler = Reconciler(store, feed, FULL, linger_seconds=MS, backoff=slowly)
    feed.observer = reconciler
    store.is_away = True
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(reconciler.run())
        await until(lambda: attempts == 1)
        for _ in range(20):
            feed.answer(A, State.ACTIVE)
            await asyncio.sleep(2 * MS)
        assert attempts == 1
        reconciler.stop()


async def test_a_start_without_database_restores_when_it_comes() -> None:
    """Nothing is asked for, and nothing is called ready, before the ledger was read once."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    await store.add(A, "s", "explicit")
    store.is_away = True
    async with running(store, feed) as reconciler:
        await until(lambda: reconciler.status().database_error is not None)
        assert not reconciler.status().is_restored
        store.is_away = False
        await until(lambda: reconciler.status().is_restored)
        assert A in feed.wanted()


async def test_a_change_heard_while_others_are_read_is_not_forgotten() -> None:
    """What changed again after its row was read is read again, not at the interval but at once."""

    class SlowSubscriptions(MemorySubscriptions):
        """Answers what the rows were when it was asked."""

        def __init__(self) -> None:
            super().__init__()
            self.asked, self.gate = asyncio.Event(), asyncio.Event()

        async def get_all(self, ids: Sequence[UUID]) -> list[Subscription]:
            seen = await super().get_all(ids)
            self.asked.set()
            await self.gate.wait()
            return seen

    store, feed = SlowSubscriptions(), MemoryFeed()
    async with running(store, feed) as reconciler:
        await until(lambda: reconciler.status().is_restored)
        first, _ = await store.add(A, "one", "explicit")  # by somebody else, as all of these
        reconciler.rows_changed([RowChange(first.id, first.revision)])
        await store.asked.wait()
        second, _ = await store.add(B, "one", "explicit")
        await store.remove(first.id)
        reconciler.rows_changed([RowChange(first.id, None), RowChange(second.id, second.revision)])
        assert not reconciler.is_current
        store.gate.set()
        await until(lambda: B in feed.wanted())
        await until(lambda: reconciler.register.get(first.id) is None)
        assert A not in reconciler.register.topics
        await until(lambda: reconciler.is_current)


async def test_no_lease_ends_because_the_process_stood_still() -> None:
    """Nobody could renew while it did: the lease has its whole length again."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    await store.add(A, "s", "explicit", ttl_seconds=2)
    await store.add(B, "s", "explicit", ttl_seconds=600)
    with capture_logs() as lines:
        async with running(store, feed) as reconciler:
            await until(lambda: {A, B} <= set(feed.wanted()))
            time.sleep(3.0)  # noqa: ASYNC251 - the loop is to stand still
            # What was due while it stood still comes before anything else does.
            await until(lambda: any(one["event"] == "control.stood_still" for one in lines))
            await asyncio.sleep(100 * MS)
            assert {A, B} <= set(reconciler.register.topics)
            assert not [one for one in lines if one["event"] == "control.subscription_expired"]
            # It is a lease still, and ends when nobody renews it now.
            store.turned += timedelta(seconds=5)
            reconciler.wishes_added([])
            async with asyncio.timeout(30):
                while A in reconciler.register.topics:  # noqa: ASYNC110 - no event to wait for
                    await asyncio.sleep(MS)
            assert B in reconciler.register.topics


async def test_a_wish_stored_during_the_look_is_not_dropped() -> None:
    """A topic wished for again while the ledger is being read keeps flowing without a break."""

    class SlowSubscriptions(MemorySubscriptions):
        """Answers what the ledger held when it was asked."""

        gate: asyncio.Event | None = None

        async def everything(self) -> tuple[Fingerprint, list[Subscription]]:
            seen = await super().everything()
            if self.gate is not None:
                await self.gate.wait()
            return seen

    store, feed = SlowSubscriptions(), MemoryFeed()
    first, _ = await store.add(A, "one", "explicit")
    async with running(store, feed) as reconciler:
        await until(lambda: A in feed.wanted())
        store.gate = asyncio.Event()
        await store.remove(first.id)  # by somebody else
        reconciler.ledger_doubtful()
        await asyncio.sleep(20 * MS)
        second, _ = await store.add(A, "two", "explicit")
        reconciler.wish_added(second)
        store.gate.set()
        third, _ = await store.add(C, "two", "explicit")
        reconciler.wish_added(third)
        await until(lambda: C in feed.wanted())
        await until(lambda: reconciler.register.get(first.id) is None)
        assert [call for call in feed.calls if call[0] == "drop"] == []


async def test_the_end_of_an_unwanted_topic_is_no_news_of_a_new_wish() -> None:
    """`removing` and `removed` are never written: the rows they concern are gone."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    await store.add(A, "s", "explicit")
    async with running(store, feed) as reconciler:
        await until(lambda: A in feed.wanted())
        reconciler.topic_changed(A, State.REMOVING, None)
        reconciler.topic_changed(A, State.REMOVED, None)
        await asyncio.sleep(20 * MS)
    assert all(batch[A][0] is State.PENDING for batch in store.written if A in batch)


async def test_stop_ends_the_loop_and_leaves_the_topics() -> None:
    """After `stop` the loop returns at once; the feed is not told to drop anything."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    await store.add(A, "s", "explicit")
    async with running(store, feed):
        await until(lambda: A in feed.wanted())
    assert A in feed.wanted()


SPOT = build_topic(Channel.TICKER, category=Category.SPOT, symbol="BTCUSDT")
ORDER = build_topic(Channel.ORDER)


@pytest.mark.parametrize(
    ("policy", "served", "setting"),
    [
        (
            Policy((Category.LINEAR,), Category.LINEAR, has_credentials=True),
            {A, ORDER},
            "WSG_ENABLED_CATEGORIES",
        ),
        (
            Policy(tuple(Category), Category.LINEAR, has_credentials=True, serves_public=False),
            {ORDER},
            "WSG_CONNECTION_STRATEGY",
        ),
        (
            Policy(tuple(Category), Category.LINEAR, has_credentials=False),
            {A, SPOT},
            "WSG_BYBIT_API_KEY",
        ),
    ],
)
async def test_a_stored_wish_that_the_settings_forbid_now_is_not_asked_for(
    policy: Policy, served: set[Topic], setting: str
) -> None:
    """It is rejected with a sentence naming the setting, and comes back when that allows it."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    for topic in (A, SPOT, ORDER):
        await store.add(topic, "s", "explicit")
    refused = {A, SPOT, ORDER} - served
    async with running(store, feed, interval_seconds=5 * MS, policy=policy) as reconciler:
        await until(lambda: any(refused <= batch.keys() for batch in store.written))
        before = [row for row in (await store.everything())[1] if row.topic in refused]
        await asyncio.sleep(20 * MS)  # several intervals ask no more and change no row
        assert set(feed.wanted()) == served
        assert len(feed.calls) == 1
        assert [row for row in (await store.everything())[1] if row.topic in refused] == before
        assert reconciler.status().counts == {"pending": len(served), "rejected": len(refused)}
    for topic in refused:
        state, error = await state_of(store, topic)
        assert state is State.REJECTED
        assert setting in str(error)

    feed = MemoryFeed()
    async with running(store, feed):
        await until(lambda: set(feed.wanted()) == {A, SPOT, ORDER})
        await until(lambda: bool(store.written) and refused <= store.written[-1].keys())
    for topic in refused:
        assert await state_of(store, topic) == (State.PENDING, None)


async def test_a_forbidden_wish_that_is_removed_leaves_no_trace() -> None:
    """Its removal drops nothing, and a wish stored again is refused again."""
    store, feed = MemorySubscriptions(), MemoryFeed()
    only_linear = Policy((Category.LINEAR,), Category.LINEAR, has_credentials=True)
    wish, _ = await store.add(SPOT, "s", "explicit")
    async with running(store, feed, interval_seconds=5 * MS, policy=only_linear):
        await until(lambda: len(store.written) == 1)
        await store.remove(wish.id)
        await asyncio.sleep(20 * MS)
        await store.add(SPOT, "s", "explicit")
        await until(lambda: len(store.written) == 2)
    assert (await state_of(store, SPOT))[0] is State.REJECTED
    assert feed.calls == []


# ── what it tells of each topic ───────────────────────────────────────────────────────────────


class Watched:
    """A reconciler whose clock and looks at the ledger are in the test's hand."""

    def __init__(self, policy: Policy = FULL) -> None:
        self.now = 100.0
        self.store, self.feed = MemorySubscriptions(), MemoryFeed()
        self.reconciler = Reconciler(
            self.store, self.feed, policy, linger_seconds=60.0, monotonic=lambda: self.now
        )
        self.rows: dict[Topic, Subscription] = {}
        self.reconciler.stop()  # its loop does not run, so news need no timer
        self.feed.observer = self.reconciler

    async def want(self, *topics: Topic) -> None:
        """Store wishes and look at the ledger once."""
        for topic in topics:
            self.rows[topic], _ = await self.store.add(topic, "s", "explicit")
        self.reconciler.ledger_doubtful()
        await self.reconciler._reconcile()

    def told(self, topic: Topic) -> tuple[State, str | None, float]:
        """Return what is told of a topic."""
        return next(
            (one.state, one.error, one.since)
            for one in self.reconciler.board.topics()
            if one.topic == topic
        )


async def test_a_topics_time_is_that_of_its_phase() -> None:
    """Requested and pending are one wait; active, stalled and rejected begin anew."""
    watched = Watched()
    await watched.want(A)
    assert watched.told(A) == (State.PENDING, None, 100.0)
    for now, state, since in (
        (101.0, State.REQUESTED, 100.0),  # the socket was lost before the ack
        (102.0, State.PENDING, 100.0),
        (103.0, State.ACTIVE, 103.0),
        (104.0, State.ACTIVE, 103.0),
        (105.0, State.STALLED, 105.0),
        (106.0, State.PENDING, 106.0),
        (107.0, State.REJECTED, 107.0),
    ):
        watched.now = now
        watched.feed.answer(A, state)
        assert watched.told(A) == (state, None, since)


async def test_a_new_error_in_the_same_state_is_news() -> None:
    """The newest words are told and written down, and the time stays that of the state."""
    watched = Watched()
    await watched.want(A)
    watched.now = 101.0
    watched.feed.answer(A, State.STALLED, "no data for 9 s")
    watched.now = 110.0
    watched.feed.answer(A, State.STALLED, "no data for 18 s")
    assert watched.told(A) == (State.STALLED, "no data for 18 s", 101.0)
    await watched.want()
    assert await state_of(watched.store, A) == (State.STALLED, "no data for 18 s")


async def test_a_topic_asked_for_again_is_on_its_way_since_then() -> None:
    """An old refusal says nothing of how long the new question has been waiting."""
    watched = Watched()
    await watched.want(A)
    watched.feed.answer(A, State.REJECTED, "Invalid symbol")
    watched.now = 500.0
    watched.reconciler.wish_added(watched.rows[A])
    await watched.want()
    assert watched.told(A) == (State.PENDING, None, 500.0)


async def test_a_stalled_topic_stays_asked_for_once() -> None:
    """Mending it is the venue room's; the loop neither drops nor repeats it."""
    watched = Watched()
    await watched.want(A)
    watched.feed.answer(A, State.STALLED)
    await watched.want()
    assert watched.feed.calls == [("want", [A.key])]
    assert watched.reconciler.status().counts == {"stalled": 1}


async def test_the_feed_is_believed_before_its_news() -> None:
    """A state that was never told is still the state, and old words do not go with it."""
    watched = Watched()
    await watched.want(A)
    watched.feed.answer(A, State.REJECTED, "Invalid symbol")
    watched.feed.observer = None
    watched.feed.answer(A, State.ACTIVE)
    assert watched.told(A)[:2] == (State.ACTIVE, None)


async def test_what_nobody_wants_any_more_is_told_apart() -> None:
    """A topic that the venue still has is counted, but not as wanted."""
    watched = Watched()
    await watched.want(A)
    watched.feed.observer = None
    watched.feed.answer(B, State.ACTIVE)
    topics = watched.reconciler.board.topics()
    assert {(one.topic, one.is_desired) for one in topics} == {(A, True), (B, False)}


async def test_a_topic_wanted_anew_before_its_end_is_on_its_way() -> None:
    """The late end of its former life neither hides it nor makes it look fresh for ever."""
    watched = Watched()
    await watched.want(A)
    watched.now = 200.0
    watched.feed.answer(A, State.REMOVING)
    assert watched.told(A) == (State.REQUESTED, None, 100.0)
    watched.feed.answer(A, State.PENDING)
    watched.reconciler.topic_changed(A, State.REMOVED, None)
    assert watched.told(A)[2] == 100.0


async def test_a_forbidden_wish_is_told_with_its_setting() -> None:
    """It is wanted and rejected since the first look, whatever the later ones."""
    watched = Watched(Policy((Category.LINEAR,), Category.LINEAR, has_credentials=True))
    await watched.want(SPOT)
    watched.now = 105.0
    await watched.want()
    state, error, since = watched.told(SPOT)
    assert (state, since) == (State.REJECTED, 100.0)
    assert "WSG_ENABLED_CATEGORIES" in str(error)
