"""What a witness heard and the consumer did not is marked; what need not be lost is not.

Trades and orders carry no numbers in a row, so a loss shows only to somebody else who listens.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from bybit_sim.connection import LiveConnection
from support.fault_stage import FaultStage, faulting
from support.feed_stage import QUICK, FeedStage, feeding
from support.proxy import TcpProxy, through
from support.scripted_venue import book, ticker
from support.sim_client import KEY, LINEAR, PRIVATE, SECRET, eventually, running
from support.witness import witnessing
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.ports.feed import SessionState
from ws_gateway.venue.auth import Credentials

BOOK, OTHER_BOOK, TOP, TICKER = book(), book("ETHUSDT"), book(depth=1), ticker("BTCUSDT")
TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")
ORDERS = build_topic(Channel.ORDER)
CANDLES = tuple(
    build_topic(Channel.KLINE, category=Category.LINEAR, symbol="BTCUSDT", interval=each)
    for each in ("1", "3", "5", "15", "30", "60")
)
UNHURRIED = replace(QUICK, ping_interval=1.0, pong_deadline=1.0, stall_scale=1.0)
"""It takes a while until a socket that is gone is called gone."""

PACE_KNOWN = 80
"""Facts of a book after which its silence is noticed within half a second."""


def open_sockets(stage: FaultStage, path: str = LINEAR) -> list[LiveConnection]:
    """List the connections the venue has on a path, oldest first."""
    return [each for each in stage.venue.connections if each.path == path]


async def two_carry(stage: FaultStage, *topics: Topic) -> None:
    """Wait until two sockets carry these public topics, and they flow."""
    stage.feed.want(topics)
    await stage.hear(*topics)
    await stage.until(
        lambda: [len(each.topics) for each in open_sockets(stage)] == [len(topics)] * 2,
        what="two sockets with all topics",
    )


async def order(stage: FaultStage) -> None:
    """Place an order and wait until it was told to have been filled."""
    told = len(stage.facts(ORDERS))
    stage.venue.place_market_order("BTCUSDT", "Buy", "0.010")
    await stage.until(lambda: len(stage.facts(ORDERS)) == told + 2, what="an order")


async def deafen(stage: FaultStage, *topics: Topic, sockets: int = 1) -> None:
    """Bring nothing of these any more on the oldest sockets, which go on to answer."""
    for topic in topics:
        await stage.begin("stall", topic=topic.name, until="reconnected", most=sockets, path=LINEAR)


async def renewed(stage: FaultStage, *old: LiveConnection) -> None:
    """Wait until none of these sockets is left and as many others carry on."""
    gone = {each.id for each in old}
    await stage.until(
        lambda: not gone & {each.id for each in stage.venue.connections}, what="new sockets"
    )


def names(stage: FeedStage) -> set[str]:
    """List the names of the sockets."""
    return {each.name for each in stage.feed.connections()}


def whole(stage: FeedStage, sockets: int) -> bool:
    """Say whether there are so many sockets, with all topics active on each."""
    counts = [
        (each.active_subscriptions, each.wanted_subscriptions) for each in stage.feed.connections()
    ]
    return len(counts) == sockets and all(active == wanted for active, wanted in counts)


# ── deaf sockets ──────────────────────────────────────────────────────────────────────────────


async def test_a_deaf_socket_whose_only_paced_topic_stalls() -> None:
    """The book alone shows it; the trades beside it, which may be silent, are marked as well."""
    async with faulting() as stage:
        await stage.flow(BOOK, TRADES)
        async with witnessing(stage.venue, TRADES.name) as witness:
            await stage.hear(BOOK, count=PACE_KNOWN)
            (deaf, _) = open_sockets(stage)
            await deafen(stage, BOOK, TRADES)
            await renewed(stage, deaf)
            await stage.settle(BOOK, TRADES)
            witness.account(TRADES.name, stage.outlet.of(TRADES)).assert_holes_marked()


async def test_both_redundant_sockets_are_deaf() -> None:
    """Neither vouches for the other: trades are marked before any is told by a successor."""
    async with faulting(redundancy=2) as stage:
        await two_carry(stage, BOOK, TRADES, OTHER_BOOK)
        async with witnessing(stage.venue, TRADES.name) as witness:
            await stage.hear(BOOK, count=PACE_KNOWN)
            deaf = open_sockets(stage)[:2]
            await deafen(stage, BOOK, TRADES, OTHER_BOOK, sockets=2)
            await renewed(stage, *deaf)
            await stage.settle(BOOK, TRADES, OTHER_BOOK)
            witness.account(TRADES.name, stage.outlet.of(TRADES)).assert_holes_marked()
            assert stage.breaks(BOOK)


async def test_a_successor_is_deaf_too() -> None:
    """It is replaced as well, if not at once: a pause lies between two such replacements."""
    timing = replace(QUICK, stall_scale=0.05, stall_retry=0.2)
    async with faulting(timing=timing, secret=None, pause=2.6) as stage:
        await stage.flow(BOOK, OTHER_BOOK)
        await stage.hear(BOOK, count=PACE_KNOWN)
        for _ in range(2):  # the second falls deaf well before the pause is over
            (deaf,) = open_sockets(stage)
            await deafen(stage, BOOK, OTHER_BOOK)
            await renewed(stage, deaf)
            await stage.hear(BOOK, OTHER_BOOK)
        await stage.settle(BOOK, OTHER_BOOK)
        assert stage.attempts() == 3


# ── sockets that are gone ─────────────────────────────────────────────────────────────────────


async def test_a_half_open_socket_is_replaced_by_hand() -> None:
    """Its successor cannot know what it missed: trades and orders are marked, each once."""
    timing = replace(UNHURRIED, ping_interval=5.0, pong_deadline=5.0)
    async with faulting(timing=timing) as stage:
        await stage.flow(BOOK, TRADES, ORDERS)
        async with witnessing(stage.venue, TRADES.name, orders=True) as witness:
            await order(stage)
            await stage.begin("half_open", path=LINEAR, most=1)
            await stage.begin("half_open", path=PRIVATE, most=1)
            heard = len(witness.heard[TRADES.name])
            stage.venue.place_market_order("BTCUSDT", "Buy", "0.010")
            await stage.until(lambda: len(witness.heard[TRADES.name]) > heard + 10)
            assert stage.feed.replace("linear", "a person asked for it")
            assert stage.feed.replace("private", "a person asked for it")
            await stage.until(lambda: names(stage) == {"linear.b", "private.b"})
            await stage.settle(BOOK, TRADES, ORDERS)
            await order(stage)
            for topic in (TRADES, ORDERS):
                account = witness.account(topic.name, stage.outlet.of(topic))
                account.assert_holes_marked(may_be_late=True)
                assert stage.breaks(topic) == ["disconnect"]


async def test_losses_of_two_sockets_overlap() -> None:
    """One socket is gone unnoticed while the other comes back: neither had what lies between."""
    async with faulting(timing=UNHURRIED, redundancy=2) as stage:
        await two_carry(stage, BOOK, TRADES)
        await stage.flow(ORDERS)
        await stage.until(lambda: len(open_sockets(stage, PRIVATE)) == 2)
        async with witnessing(stage.venue, TRADES.name, orders=True) as witness:
            await order(stage)
            for path in (LINEAR, PRIVATE):
                await stage.begin("half_open", path=path, most=1)
            await stage.begin("slow_handshake", delay_seconds=1.0, count=2)
            for path in (LINEAR, PRIVATE):
                open_sockets(stage, path)[1].socket.transport.abort()
            heard = len(witness.heard[TRADES.name])
            await stage.until(lambda: len(witness.heard[TRADES.name]) > heard + 2)
            stage.venue.place_market_order("BTCUSDT", "Buy", "0.010")
            await stage.until(
                lambda: stage.breaks(TRADES) != [] and stage.breaks(ORDERS) != [], what="markers"
            )
            await stage.settle(BOOK, TRADES, ORDERS)
            await order(stage)
            for topic in (TRADES, ORDERS):
                account = witness.account(topic.name, stage.outlet.of(topic))
                account.assert_holes_marked(may_be_late=True)


@pytest.mark.parametrize("copies", [1, 2])
async def test_a_socket_that_lags_is_replaced(copies: int) -> None:
    """What was sent on it is heard out before it is closed: nothing is lost, nothing marked."""
    timing = replace(QUICK, ping_interval=1.0, pong_deadline=5.0, ack_deadline=5.0, stall_scale=1.0)
    async with running() as venue:
        target = urlsplit(venue.ws_url)
        async with TcpProxy(target.hostname or "", target.port or 0) as proxy:
            proxy.delay_seconds = 0.5
            async with feeding(
                through(venue.ws_url, proxy),
                timing=timing,
                secret=None,
                redundancy=copies,
                hear_out_deadline=5.0,
                linger=5.0,
            ) as stage:
                stage.feed.want([BOOK, TRADES])
                await stage.more([BOOK, TRADES])
                await eventually(lambda: whole(stage, copies))
                proxy.delay_seconds = 0.0
                async with witnessing(venue, TRADES.name) as witness:
                    assert stage.feed.replace("linear", "a person asked for it")
                    await eventually(lambda: "linear" not in names(stage) and whole(stage, copies))
                    await stage.more([BOOK, TRADES], count=20)
                    witness.account(TRADES.name, stage.outlet.of(TRADES)).assert_whole()
                assert stage.gaps(BOOK) == stage.gaps(TRADES) == ["restart"]
                updates = [each.observation.update_id or 0 for each in stage.facts(BOOK)]
                assert updates == list(range(updates[0], updates[0] + len(updates)))
                assert stage.problems() == []


# ── what comes and cannot be used, and what is lost on one of two ─────────────────────────────


async def test_a_frame_nobody_can_read_comes_over_both_sockets() -> None:
    """A second copy is no help if it cannot be read either: the streams it is of are marked."""
    async with faulting(redundancy=2) as stage:
        await two_carry(stage, BOOK, TRADES)
        await stage.flow(ORDERS)
        await stage.until(lambda: len(open_sockets(stage, PRIVATE)) == 2)
        for path, name in ((LINEAR, TRADES.name), (PRIVATE, ORDERS.name)):
            await stage.begin(
                "malformed_frame", path=path, text=f'{{"topic":"{name}","type":"snapshot","data":['
            )
        await stage.until(lambda: len(stage.quarantined) == 4, what="four unreadable frames")
        await order(stage)
        await stage.settle(BOOK, TRADES, ORDERS)
        assert set(stage.breaks(TRADES)) == {"sequence"}
        # Nothing was told of orders before, so the mark of the new process stands for both.
        assert stage.outlet.marks[ORDERS]
        stage.assert_undisturbed([BOOK])


async def test_half_of_a_book_is_lost_on_one_of_two_sockets() -> None:
    """The other socket tells the book unbroken, and the bad one is not asked without end."""
    async with faulting(redundancy=2) as stage:
        await two_carry(stage, BOOK, TRADES)
        async with witnessing(stage.venue, TRADES.name) as witness:
            fault = await stage.begin(
                "update_gap", topic=BOOK.name, path=LINEAR, probability=0.5, count=None, most=1
            )
            await stage.until(lambda: fault.hits >= 60, what="many lost deltas")
            assert 1 <= len(stage.asked("unsubscribe", LINEAR)) <= 7
            stage.assert_undisturbed([BOOK, TRADES])
            witness.account(TRADES.name, stage.outlet.of(TRADES)).assert_whole()


async def test_the_venue_sets_its_clock_back() -> None:
    """With two sockets, what is stamped earlier than before is news, not an old copy."""
    latest = (TICKER, TOP)
    async with faulting(redundancy=2, secret=None) as stage:
        await two_carry(stage, *latest, TRADES)
        async with witnessing(stage.venue, TRADES.name) as witness:
            await stage.begin("clock_skew", by_seconds=-120.0)
            await stage.hear(*latest, TRADES, count=10)
            stage.assert_undisturbed([*latest, TRADES])
            witness.account(TRADES.name, stage.outlet.of(TRADES)).assert_whole()


# ── answers that do not come, or are no ───────────────────────────────────────────────────────


async def test_the_ack_of_an_unsubscribe_is_lost() -> None:
    """What is asked for once more is the topic, not its end: the book goes on for good."""
    timing = replace(QUICK, stall_scale=1.0, first_data_deadline=10.0)
    async with faulting(timing=timing) as stage:
        await stage.flow(BOOK, TRADES)
        async with witnessing(stage.venue, TRADES.name) as witness:
            lost = await stage.begin("missing_acks", path=LINEAR, count=1)
            await stage.begin("update_gap", topic=BOOK.name, path=LINEAR, count=1)
            await stage.until(lambda: stage.breaks(BOOK) == ["sequence"])
            await stage.hear(BOOK, count=100)
            assert lost.hits == 1
            assert set(open_sockets(stage)[0].topics) == {BOOK.name, TRADES.name}
            assert stage.breaks(BOOK) == ["sequence"]
            await stage.settle(BOOK, TRADES)
            witness.account(TRADES.name, stage.outlet.of(TRADES)).assert_whole()


async def test_all_requests_are_refused_for_a_while() -> None:
    """A refusal that blames no topic condemns none: all are asked for again, in few requests."""
    topics = (BOOK, TICKER, TRADES, TOP, *CANDLES)
    async with faulting(secret=None) as stage:
        stage.feed.want(topics)
        await stage.until(lambda: stage.is_active(*topics))
        asked = len(stage.asked("subscribe"))
        refused = await stage.begin("refused_acks", path=LINEAR)
        await stage.begin("drop", path=LINEAR)
        await stage.until(lambda: refused.hits > 0)
        await asyncio.sleep(1.0)
        stage.venue.clear_faults()
        await stage.settle(*topics[:3])
        assert stage.is_active(*topics)
        assert State.REJECTED not in stage.feed.wanted().values()
        assert len(stage.asked("subscribe")) - asked <= 40


async def test_credentials_are_renewed_while_the_login_is_unanswered() -> None:
    """The socket that logs in with the old ones is replaced by one that uses the new ones."""
    async with faulting() as stage:
        await stage.begin("late_acks", path=PRIVATE, delay_seconds=0.4, count=1)
        stage.feed.want([ORDERS])
        await stage.until(lambda: [each[0] for each in stage.asked("auth")] == [KEY])
        assert stage.status("private").connection_status is SessionState.AUTHENTICATING
        stage.feed.renew_credentials(Credentials("renewed", SECRET))
        await stage.until(lambda: stage.asked("auth")[-1][0] == "renewed")
        stage.feed.renew_credentials(Credentials(KEY, SECRET))
        await stage.settle(ORDERS)
        await order(stage)
