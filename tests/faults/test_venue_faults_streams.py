"""Faults of public data: what is lost is found, marked and mended; other topics do not notice."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from support.fault_stage import FaultStage, faulting
from support.scripted_venue import book, ticker
from support.sim_client import LINEAR, OPTION, SPOT
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, Endpoint, Topic, build_topic

BOOK, TICKER, LATER = book(), ticker("BTCUSDT"), ticker("ETHUSDT")
OTHER_BOOK, TOP = book("ETHUSDT"), book(depth=1)
SPOT_BOOK = book(category=Category.SPOT)
RPI_BOOK = build_topic(Channel.ORDERBOOK_RPI, category=Category.LINEAR, symbol="BTCUSDT")
TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")
ORDERS = build_topic(Channel.ORDER)
BOTH = (BOOK, TICKER)
REST = (OTHER_BOOK, TICKER, TRADES)
"""What stands beside the book that suffers."""


def updates(stage: FaultStage, topic: Topic) -> list[int | None]:
    """List the update ids that were told."""
    return [each.observation.update_id for each in stage.facts(topic)]


# ── silence ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("topic", [TICKER, BOOK], ids=["ticker", "book"])
async def test_stall(topic: Topic) -> None:
    """Noticed within seconds although pongs go on; the topic alone is asked for again."""
    others = [each for each in (BOOK, TICKER, OTHER_BOOK, TRADES) if each != topic]
    async with faulting() as stage:
        await stage.flow(topic, *others)
        await stage.begin("stall", topic=topic.name, until="resubscribed")
        await stage.until(lambda: stage.asked("unsubscribe", LINEAR) != [])
        assert stage.asked("unsubscribe", LINEAR) == [[topic.name]]
        await stage.settle(topic, *others)
        assert len(stage.breaks(topic)) == 1
        stage.assert_undisturbed(others)
        assert stage.attempts() == 1


async def test_stall_that_persists() -> None:
    """What a new subscription does not cure, a new socket does: opened first, without a gap."""
    others = (BOOK, OTHER_BOOK, TRADES)
    async with faulting() as stage:
        await stage.flow(TICKER, *others)
        first = stage.venue.connections[0].id
        await stage.begin("stall", topic=TICKER.name, until="reconnected")
        await stage.until(lambda: [each.id != first for each in stage.venue.connections] == [True])
        await stage.settle(TICKER, *others)
        stage.assert_undisturbed(others)
        assert stage.breaks(TICKER)
        assert stage.attempts() == 2
        assert len(stage.ids(TRADES)) == len(set(stage.ids(TRADES)))


async def test_stall_that_nothing_cures() -> None:
    """It is shown as stalled, nothing storms, and the others flow without a marker."""
    others = (BOOK, OTHER_BOOK, TRADES)
    async with faulting() as stage:
        await stage.flow(TICKER, *others)
        await stage.begin("stall", topic=TICKER.name)
        await stage.until(lambda: stage.state_of(TICKER) is State.STALLED)
        await asyncio.sleep(4)
        await stage.until(lambda: stage.state_of(TICKER) is State.STALLED)
        assert len(stage.asked("unsubscribe", LINEAR)) <= 5
        assert stage.attempts() <= 4
        stage.assert_undisturbed(others)
        stage.venue.clear_faults()
        await stage.settle(TICKER, *others)


async def test_a_quiet_market_raises_no_alarm() -> None:
    """Topics that may be silent, or that speak seldom, are left alone."""
    seldom = (build_topic(Channel.KLINE, category=Category.LINEAR, symbol="BTCUSDT"), TICKER)
    async with faulting(venue={"rate": 1.0}) as stage:
        stage.feed.want([ORDERS, TRADES, *seldom])
        await stage.until(lambda: stage.is_active(ORDERS, TRADES, *seldom))
        await asyncio.sleep(4)
        assert stage.asked("unsubscribe") == []
        stage.assert_undisturbed([ORDERS, TRADES, *seldom])
        assert stage.attempts() == 2


# ── loss, repetition, disorder ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 3])
async def test_update_gap(count: int) -> None:
    """A hole in a book is marked once and mended by a snapshot of that book alone."""
    async with faulting() as stage:
        await stage.flow(BOOK, *REST)
        fault = await stage.begin("update_gap", topic=BOOK.name, path=LINEAR, count=count)
        await stage.until(lambda: stage.breaks(BOOK) == ["sequence"])
        await stage.settle(BOOK, *REST)
        assert fault.hits == count
        assert stage.outlet.missed[BOOK] >= count
        assert stage.breaks(BOOK) == ["sequence"]
        assert stage.asked("unsubscribe") == [[BOOK.name]]
        stage.assert_undisturbed(REST)
        assert stage.attempts() == 1


async def test_update_gap_in_one_of_a_thousand_frames() -> None:
    """Every hole is found, marked and mended; the topics beside it do not notice."""
    names = [f"SIM{number:04}USDT" for number in range(1, 41)]
    books, others = [book(name) for name in names], [ticker(name) for name in names]
    async with faulting(venue={"symbols": len(names)}) as stage:
        await stage.flow(*books, *others)
        told = sum(len(stage.facts(each)) for each in books)
        # With this seed no topic loses two of 40 frames, so each loss has a marker of its own.
        fault = await stage.begin("update_gap", probability=0.001, seed=3, count=None)
        await stage.until(
            lambda: (
                fault.hits >= 8 and sum(len(stage.facts(each)) for each in books) - told > 8_000
            ),
            seconds=30,
        )
        stage.venue.clear_faults()
        await stage.settle(*books, *others)
        marks = Counter(reason for each in books for reason in stage.breaks(each))
        assert marks == {"sequence": fault.hits}
        assert sum(stage.outlet.missed[each] for each in books) >= fault.hits
        asked_anew = [name for names in stage.asked("unsubscribe") for name in names]
        assert Counter(asked_anew) == {
            each.name: len(stage.breaks(each)) for each in books if stage.breaks(each)
        }
        stage.assert_undisturbed([*others, *(each for each in books if not stage.breaks(each))])
        assert stage.attempts() == 1


async def test_update_gap_that_persists() -> None:
    """A bad symbol cannot storm: it is asked for again now and then, and the others flow."""
    async with faulting() as stage:
        await stage.flow(BOOK, *REST)
        await stage.begin("update_gap", topic=BOOK.name, path=LINEAR, probability=0.5, count=None)
        await asyncio.sleep(3)
        assert len(stage.asked("unsubscribe")) <= 10
        stage.assert_undisturbed(REST)
        stage.venue.clear_faults()
        await stage.settle(BOOK, *REST)
        assert set(stage.breaks(BOOK)) == {"sequence"}
        assert stage.attempts() == 1


async def test_duplicate_frame() -> None:
    """A book's frame that comes twice is told once."""
    async with faulting() as stage:
        await stage.flow(BOOK, *REST)
        fault = await stage.begin("duplicate_frame", topic=BOOK.name, path=LINEAR, count=3)
        await stage.until(lambda: fault.hits == 3)
        await stage.settle(BOOK, *REST)
        assert len(stage.ids(BOOK)) == len(set(stage.ids(BOOK)))
        assert stage.counters.suppressed.total() >= 3
        stage.assert_undisturbed([BOOK, *REST])


@pytest.mark.parametrize("topic", [TRADES, TICKER], ids=["trades", "ticker"])
async def test_duplicate_frame_without_update_ids(topic: Topic) -> None:
    """A fact that comes twice is told once, also where only its identity shows it."""
    async with faulting() as stage:
        await stage.flow(topic, BOOK)
        fault = await stage.begin("duplicate_frame", topic=topic.name, path=LINEAR, count=3)
        await stage.until(lambda: fault.hits == 3)
        await stage.settle(topic, BOOK)
        assert len(stage.ids(topic)) == len(set(stage.ids(topic)))
        stage.assert_undisturbed([topic, BOOK])


async def test_reorder_frames() -> None:
    """A book's frames in the wrong order are a hole, marked and mended; none is told backwards."""
    async with faulting() as stage:
        await stage.flow(BOOK, *REST)
        fault = await stage.begin("reorder_frames", topic=BOOK.name, path=LINEAR)
        await stage.until(lambda: fault.hits == 1)
        await stage.settle(BOOK, *REST)
        assert stage.breaks(BOOK) == ["sequence"]
        told = [each for each in updates(stage, BOOK) if each is not None]
        assert told == sorted(told)
        stage.assert_undisturbed(REST)
        assert stage.attempts() == 1


@pytest.mark.parametrize("subject", [BOOK, RPI_BOOK], ids=["50", "rpi"])
async def test_book_restart(subject: Topic) -> None:
    """A book that begins anew at 1 is marked, and goes on from the snapshot that says so."""
    async with faulting() as stage:
        await stage.flow(subject, *REST)
        await stage.begin("book_restart", topic=subject.name, path=LINEAR)
        await stage.until(lambda: stage.breaks(subject) == ["sequence"])
        await stage.settle(subject, *REST)
        told = updates(stage, subject)
        at = told.index(1)
        assert told[at:] == list(range(1, len(told) - at + 1))
        assert stage.asked("unsubscribe") == []
        stage.assert_undisturbed(REST)


async def test_snapshot() -> None:
    """One that says what is known already is not told twice and breaks nothing."""
    async with faulting() as stage:
        await stage.flow(BOOK, TOP, *REST)
        faults = [
            await stage.begin("snapshot", topic=each.name, path=LINEAR, count=2, every_seconds=0.1)
            for each in (BOOK, TOP)
        ]
        await stage.until(lambda: all(each.hits == 2 for each in faults))
        await stage.settle(BOOK, TOP, *REST)
        stage.assert_undisturbed([BOOK, TOP, *REST])
        assert len(stage.ids(BOOK)) == len(set(stage.ids(BOOK)))
        assert stage.asked("unsubscribe") == []


# ── what cannot be read ───────────────────────────────────────────────────────────────────────

MALFORMED = {
    "cut off": '{"topic":"tickers.BTCUSDT","da',
    "binary": "\x00\x01\x02 garbage",
    "nested": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
    "a late time": '{"topic":"tickers.BTCUSDT","ts":' + "9" * 40 + "}",
}


async def assert_it_cost_only_itself(stage: FaultStage, reason: str, lost: list[str]) -> None:
    """Assert one frame in quarantine, and a marker where its content may be missing."""
    await stage.until(lambda: stage.quarantined != [])
    await stage.settle(*BOTH)
    assert [(why, origin) for why, origin, _ in stage.quarantined] == [(reason, "linear")]
    stage.assert_breaks({BOOK: [], TICKER: lost})  # the book's own numbers would have told
    assert stage.attempts() == 1


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_frame(name: str) -> None:
    """Quarantined once with its bytes; the same connection carries on, and nothing stays hidden."""
    async with faulting() as stage:
        await stage.flow(*BOTH)
        await stage.begin(
            "malformed_frame", text=MALFORMED[name], binary=name == "binary", path=LINEAR
        )
        await assert_it_cost_only_itself(stage, "malformed", ["sequence"])
        assert stage.quarantined[0][2] == MALFORMED[name].encode()


async def test_malformed_frame_of_a_book() -> None:
    """What it said is missing, so the book is marked and mended; the ticker is not touched."""
    text = f'{{"topic":"{BOOK.name}","type":"delta","ts":1,"data":{{"u":"x"}}}}'
    async with faulting() as stage:
        await stage.flow(*BOTH)
        await stage.begin("malformed_frame", text=text, path=LINEAR)
        await stage.until(lambda: stage.breaks(BOOK) == ["sequence"])
        await stage.settle(*BOTH)
        assert [reason for reason, _, _ in stage.quarantined] == ["missing_field"]
        stage.assert_undisturbed([TICKER])
        assert stage.attempts() == 1


async def test_oversized_frame() -> None:
    """Ten megabytes are read, not understood, and cost only themselves."""
    async with faulting() as stage:
        await stage.flow(*BOTH)
        await stage.begin("oversized_frame", size_bytes=10_000_000, topic=TICKER.name, path=LINEAR)
        await assert_it_cost_only_itself(stage, "too_large", ["sequence"])


async def test_unknown_topic() -> None:
    """A frame of a topic nobody asked for is kept aside; no stream misses anything."""
    async with faulting() as stage:
        await stage.flow(*BOTH)
        await stage.begin("unknown_topic", topic="tickers.NOBODYUSDT", path=LINEAR)
        await assert_it_cost_only_itself(stage, "unknown_topic", [])


# ── announcements ─────────────────────────────────────────────────────────────────────────────


async def test_maintenance() -> None:
    """An announcement alone disturbs nothing."""
    async with faulting() as stage:
        await stage.flow(*BOTH)
        await stage.begin("maintenance", announce_seconds=0.2, duration_seconds=0.5)
        await stage.hear(*BOTH, count=8)
        await stage.settle(*BOTH)
        stage.assert_undisturbed(BOTH)
        assert stage.attempts() == 1


async def test_maintenance_is_told_to_whoever_asks() -> None:
    """Each step of it is an event of system status, from a socket of its own."""
    notices = build_topic(Channel.SYSTEM_STATUS)
    async with faulting() as stage:
        stage.feed.want([notices, *BOTH])
        await stage.until(lambda: stage.is_active(notices, *BOTH))
        await stage.begin("maintenance", announce_seconds=0.2, duration_seconds=0.6)
        await stage.until(lambda: len(stage.facts(notices)) == 3)
        told = [row["state"] for rows in stage.payloads(notices) for row in rows]
        assert told == ["scheduled", "ongoing", "completed"]
        stage.assert_undisturbed(BOTH)


async def test_maintenance_quietens_alarms() -> None:
    """A topic that falls silent in announced maintenance is not hunted."""
    async with faulting() as stage:
        await stage.flow(*BOTH, SPOT_BOOK)
        await stage.begin("maintenance", products=[1])
        await stage.until(lambda: stage.is_excused(Endpoint.LINEAR))
        await stage.begin("stall", topic=TICKER.name, path=LINEAR)
        await asyncio.sleep(4)
        assert stage.asked("unsubscribe") == []
        stage.venue.clear_faults()
        await stage.settle(*BOTH, SPOT_BOOK)
        assert stage.attempts() == 2


# ── one among many ────────────────────────────────────────────────────────────────────────────


async def test_two_hundred_topics_and_one_of_them_wrong() -> None:
    """199 flow, one is rejected with the venue's own words."""
    names = [f"SIM{number:04}USDT" for number in range(1, 101)]
    topics = [each for name in names for each in (book(name), ticker(name))]
    wrong = ticker("NOPEUSDT")
    topics[137] = wrong
    good = [each for each in topics if each != wrong]
    async with faulting(venue={"symbols": len(names), "rate": 5.0}) as stage:
        stage.feed.want(topics)
        await stage.until(lambda: stage.state_of(wrong) is State.REJECTED)
        await stage.settle(*good)
        rejected = [
            (each, words) for each, state, words in stage.changes if state is State.REJECTED
        ]
        ((topic, words),) = rejected
        assert topic == wrong
        assert (words or "").startswith(f"error:handler not found,topic:{wrong.name}; ")
        assert "not asked for again until it is posted again" in (words or "")
        assert stage.status().active_subscriptions == 199
        stage.assert_undisturbed(good)
        assert stage.attempts() == 1
        (connection,) = (await stage.state())["connections"]
        assert sorted(connection["topics"]) == sorted(each.name for each in good)


async def test_topics_that_do_not_exist_on_the_option_socket_stay_alone() -> None:
    """Listed as a success there, they are not called active, and the one that exists flows."""
    good, bad = (ticker(f"BTC-25JUN27-106000-{side}-USDT", Category.OPTION) for side in ("C", "X"))
    async with faulting() as stage:
        stage.feed.want([good, bad])
        await stage.hear(good)
        (connection,) = (each for each in stage.venue.connections if each.path == OPTION)
        assert set(connection.topics) == {good.name, bad.name}
        assert stage.state_of(bad) is not State.ACTIVE
        stage.assert_undisturbed([good])


async def test_a_spot_topic_that_does_not_exist_stays_alone() -> None:
    """Spot refuses in words of its own, which are told; the others flow."""
    bad = ticker("NOPEUSDT", Category.SPOT)
    async with faulting() as stage:
        stage.feed.want([SPOT_BOOK, bad])
        await stage.until(lambda: stage.state_of(bad) is State.REJECTED)
        words = stage.words_of(bad) or ""
        assert words.startswith(f"Invalid symbol :[{bad.name}]; Bybit does not list that symbol")
        await stage.settle(SPOT_BOOK)
        assert stage.asked("subscribe", SPOT)
        stage.assert_undisturbed([SPOT_BOOK])
