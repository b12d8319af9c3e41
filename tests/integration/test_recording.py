"""Recorded from a venue with faults, and replayed: in memory, and over sockets to another feed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bybit_sim.config import AccountConfig
from frame_recording import Record, What
from support.feed_stage import PATIENT, FeedStage, feeding
from support.recording_stage import open_line, recorded, recording, replayed, story
from support.scripted_venue import book, ticker
from support.sim_client import LINEAR, eventually, running
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.recording.files import Limits
from ws_gateway.venue.auth import Credentials

BOOK, TICKER = book(), ticker("BTCUSDT")
TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")
SPOT_BOOK = book(category=Category.SPOT)
ALL = (BOOK, TICKER, TRADES, SPOT_BOOK)


async def record_bad_day(folder: Path, redundancy: int = 1) -> FeedStage:
    """Record a feed that meets a gap, a lost socket and a frame nobody can read."""
    async with running(rate=40) as venue:
        with recording(folder) as recorder:
            async with feeding(
                venue.ws_url, timing=PATIENT, recorder=recorder, redundancy=redundancy
            ) as stage:
                stage.feed.want(ALL)
                await stage.more(ALL)
                venue.skip_updates(LINEAR, BOOK.name)
                if redundancy == 1:
                    await eventually(lambda: stage.gaps(BOOK)[-1:] == ["sequence"])
                await stage.more(ALL)
                await venue.fault("drop", path=LINEAR, most=1)
                if redundancy == 1:
                    await eventually(lambda: stage.gaps(BOOK)[-1:] == ["disconnect"])
                await stage.more(ALL)
                await venue.inject(LINEAR, '{"topic":"publicTrade.BTCUSDT","ts":')
                await eventually(lambda: stage.quarantined)
                venue.restart_book(LINEAR, BOOK.name)
                await stage.more(ALL)
                stage.feed.drop([TICKER])
                await asyncio.sleep(0.2)
                stage.feed.want([TICKER])
                await stage.more(ALL)
    return stage


def assert_same_story(live: FeedStage, again: list[str], topic: Topic) -> None:
    """Assert that a stream was told with the same ids, order and gaps."""
    before = story(live.outlet.taken, topic)
    assert again == before
    assert len(before) > 10


async def test_a_replay_tells_the_same_facts_gaps_and_order(tmp_path: Path) -> None:
    """Ids are those of the live path, so that whoever had them knows them again."""
    live = await record_bad_day(tmp_path)
    again = replayed(tmp_path)
    for topic in ALL:
        assert_same_story(live, story(again.outlet.taken, topic), topic)
    assert "gap sequence" in story(again.outlet.taken, BOOK)
    assert "gap resubscribe" in story(again.outlet.taken, TICKER)
    assert [one[:2] for one in again.quarantined] == [one[:2] for one in live.quarantined]
    assert again.problems() == []
    received = {e.observation.event_id: e.observation.received_at for e in live.outlet.taken}
    for event in again.outlet.taken:
        if not event.is_marker:
            assert received[event.observation.event_id] == event.observation.received_at


async def test_a_replay_of_two_sockets_tells_each_fact_once(tmp_path: Path) -> None:
    """A lost socket whose topics the other carried leaves no gap in the replay either."""
    live = await record_bad_day(tmp_path, redundancy=2)
    again = replayed(tmp_path)
    for topic in (BOOK, TICKER, TRADES, SPOT_BOOK):
        told = story(again.outlet.taken, topic)
        facts = [one for one in told if not one.startswith("gap")]
        before = [one for one in story(live.outlet.taken, topic) if not one.startswith("gap")]
        assert facts == before
        assert "gap disconnect" not in told
    assert again.problems() == []


async def test_the_simulator_plays_a_recording_to_another_feed(tmp_path: Path) -> None:
    """Over real sockets, cuts included: the same facts in the same order, and the same gaps."""
    live = await record_bad_day(tmp_path)
    async with (
        running(recording=(tmp_path,), recording_speed=2.0) as venue,
        feeding(venue.ws_url, timing=PATIENT) as stage,
    ):
        playback = venue.playback
        assert playback is not None
        again = asyncio.create_task(want_as_recorded(stage))
        stage.feed.want(ALL)
        await eventually(lambda: playback.is_over)
        last = {topic: story(live.outlet.taken, topic)[-1] for topic in ALL}
        await eventually(
            lambda: all(story(stage.outlet.taken, topic)[-1] == last[topic] for topic in ALL)
        )
        await again
        for topic in ALL:
            assert_same_story(live, story(stage.outlet.taken, topic), topic)
        assert playback.unheard == 0
        assert len(stage.quarantined) == len(live.quarantined)
        assert stage.problems() == []


async def want_as_recorded(stage: FeedStage) -> None:
    """Drop the ticker and want it again, as the recorded services did."""
    await eventually(lambda: len(stage.quarantined) > 0)
    await stage.more(ALL)
    stage.feed.drop([TICKER])
    await asyncio.sleep(0.1)
    stage.feed.want([TICKER])


async def test_a_replay_that_begins_in_mid_stream_waits_for_a_snapshot(tmp_path: Path) -> None:
    """Facts that stand alone are told at once; a book's deltas before its snapshot are not."""
    async with running(rate=40) as venue:
        with recording(tmp_path) as recorder:
            async with feeding(venue.ws_url, recorder=recorder) as stage:
                stage.feed.want([BOOK, TRADES])
                await stage.more([BOOK, TRADES], 10)
                venue.skip_updates(LINEAR, BOOK.name)
                await eventually(lambda: stage.gaps(BOOK)[-1:] == ["sequence"])
                await stage.more([BOOK, TRADES], 5)
    records = recorded(tmp_path)
    third = next(n for n, one in enumerate(records) if one.what is What.RECEIVED) + 8
    names = (BOOK.name, TRADES.name)
    carried = Record(records[third].at, What.CARRIED, "linear", path=LINEAR, topics=names)
    again = replayed([carried, *records[third:]])
    assert story(again.outlet.taken, TRADES)[1] in story(stage.outlet.taken, TRADES)
    told = [one for one in again.outlet.taken if one.observation.topic == BOOK]
    first = next(one for one in told if not one.is_marker)
    assert first.observation.kind == "snapshot"
    assert again.counters.shed["venue_hole"] > 0
    assert again.problems() == []


async def test_a_hole_in_a_recording_is_a_gap_in_its_replay(tmp_path: Path) -> None:
    """Of every stream that was open, because nobody knows whose frames are missing."""
    async with running(rate=40) as venue:
        with recording(tmp_path) as recorder:
            async with feeding(venue.ws_url, recorder=recorder) as stage:
                stage.feed.want([TICKER, TRADES])
                await stage.more([TICKER, TRADES], 10)
    records = recorded(tmp_path)
    middle = len(records) // 2
    cut = records[middle : middle + 3]
    hole = Record(cut[0].at, What.HOLE, frames=3, until=cut[-1].at, detail="no room in memory")
    again = replayed([*records[:middle], hole, *records[middle + 3 :]])
    for topic in (TICKER, TRADES):
        told = story(again.outlet.taken, topic)
        assert [one for one in told if one.startswith("gap")] == ["gap restart", "gap disconnect"]
    assert again.player.missing == 3


async def test_private_frames_are_not_in_a_recording_nobody_asked_them_of(tmp_path: Path) -> None:
    """The public connections beside are."""
    orders = build_topic(Channel.ORDER)
    async with running(trade_every_seconds=0.1) as venue:
        with recording(tmp_path) as recorder:
            async with feeding(venue.ws_url, recorder=recorder) as stage:
                stage.feed.want([orders, BOOK])
                await stage.more([orders, BOOK])
    found = recorded(tmp_path)
    assert {one.connection for one in found} == {"linear"}
    assert {What.OPENED, What.SENT, What.RECEIVED, What.CLOSED} == {one.what for one in found}


async def test_private_facts_are_replayed_with_their_ids(tmp_path: Path) -> None:
    """Recorded because it was asked for; positions and wallets in the form they are told in."""
    channels = (Channel.ORDER, Channel.EXECUTION, Channel.POSITION, Channel.BALANCE)
    topics = [build_topic(channel) for channel in channels]
    async with running(trade_every_seconds=0.1) as venue:
        with recording(tmp_path, is_private=True) as recorder:
            async with feeding(venue.ws_url, recorder=recorder) as stage:
                stage.feed.want(topics)
                await stage.more(topics, 6)
    again = replayed(tmp_path)
    for topic in topics:
        assert story(again.outlet.taken, topic) == story(stage.outlet.taken, topic)


async def test_the_simulator_plays_private_frames_to_who_logs_in(tmp_path: Path) -> None:
    """With a key of the playing simulator's own, for the recording has none."""
    orders, fills = build_topic(Channel.ORDER), build_topic(Channel.EXECUTION)
    async with running(trade_every_seconds=0.1) as venue:
        with recording(tmp_path, is_private=True) as recorder:
            async with feeding(venue.ws_url, recorder=recorder) as live:
                live.feed.want([orders, fills])
                await live.more([orders, fills], 6)
    async with (
        running(recording=(tmp_path,), recording_speed=0.0) as venue,
        feeding(venue.ws_url) as stage,
    ):
        stage.feed.want([orders, fills])
        for topic in (orders, fills):
            told = story(live.outlet.taken, topic)
            await eventually(
                lambda topic=topic, told=told: story(stage.outlet.taken, topic) == told,  # type: ignore[misc]
            )


async def test_a_playback_goes_on_without_what_the_client_never_asks_for(tmp_path: Path) -> None:
    """It waits for a while, once; what is asked for is told all the same."""
    async with running(rate=40) as venue:
        with recording(tmp_path) as recorder:
            async with feeding(venue.ws_url, recorder=recorder) as live:
                live.feed.want([TRADES, TICKER])
                await live.more([TRADES, TICKER])
    async with (
        running(
            recording=(tmp_path,), recording_speed=0.0, recording_patience_seconds=0.5
        ) as venue,
        feeding(venue.ws_url) as stage,
    ):
        stage.feed.want([TRADES])
        told = story(live.outlet.taken, TRADES)
        await eventually(lambda: story(stage.outlet.taken, TRADES) == told)
        playback = venue.playback
        assert playback is not None
        await eventually(lambda: playback.is_over)
        assert playback.unheard > 0


HEDGE = Credentials("hedge_key", "hedge_secret", "hedge")
OF_BOTH = [
    build_topic(channel, account=account)
    for channel in (Channel.ORDER, Channel.EXECUTION)
    for account in (None, "hedge")
]


async def record_two_accounts(folder: Path) -> FeedStage:
    """Record the orders and fills of two accounts."""
    hedge = AccountConfig("hedge", HEDGE.key, HEDGE.secret)
    async with running(trade_every_seconds=0.1, accounts=(hedge,)) as venue:
        with recording(folder, is_private=True) as recorder:
            async with feeding(venue.ws_url, recorder=recorder, further=[HEDGE]) as live:
                live.feed.want(OF_BOTH)
                await live.more(OF_BOTH, 4)
    return live


async def test_the_simulator_plays_each_accounts_frames_to_its_own_login(tmp_path: Path) -> None:
    """Accounts meet by name, whatever their keys are; a replay keeps them apart as well."""
    live = await record_two_accounts(tmp_path)
    again = replayed(tmp_path)
    other = AccountConfig("hedge", "another_key", "another_secret")
    async with (
        running(recording=(tmp_path,), recording_speed=0.0, accounts=(other,)) as venue,
        feeding(
            venue.ws_url, further=[Credentials("another_key", "another_secret", "hedge")]
        ) as stage,
    ):
        # The other account's socket is there first: which comes first must not matter.
        stage.feed.want([one for one in OF_BOTH if one.account is not None])
        await eventually(lambda: stage.connection("private") is not None)
        stage.feed.want(OF_BOTH)
        playback = venue.playback
        assert playback is not None
        await eventually(lambda: playback.is_over)
        for topic in OF_BOTH:
            told = story(live.outlet.taken, topic)
            assert len(told) > 3
            assert story(again.outlet.taken, topic) == told
            await eventually(
                lambda topic=topic, told=told: story(stage.outlet.taken, topic) == told  # type: ignore[misc]
            )
        assert playback.unheard == 0


async def test_a_playback_says_whose_frames_nobody_can_hear_and_does_not_wait_for_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An account of the recording that was given no key; the others are heard."""
    live = await record_two_accounts(tmp_path)
    first = [one for one in OF_BOTH if one.account is None]
    async with (
        running(
            recording=(tmp_path,), recording_speed=0.0, recording_patience_seconds=600
        ) as venue,
        feeding(venue.ws_url) as stage,
    ):
        stage.feed.want(first)
        playback = venue.playback
        assert playback is not None
        await eventually(lambda: playback.is_over)
        for topic in first:
            told = story(live.outlet.taken, topic)
            await eventually(
                lambda topic=topic, told=told: story(stage.outlet.taken, topic) == told  # type: ignore[misc]
            )
        assert playback.unheard > 0
    assert "nobody hears account 'hedge' of the recording" in caplog.text


async def test_a_playback_to_whom_nobody_can_log_in_does_not_wait_either(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A simulator without a key refuses every login; it says whose frames nobody hears."""
    await record_two_accounts(tmp_path)
    async with running(
        recording=(tmp_path,),
        recording_speed=0.0,
        recording_patience_seconds=600,
        api_key=None,
        api_secret=None,
    ) as venue:
        playback = venue.playback
        assert playback is not None
        await eventually(lambda: playback.is_over)
    assert "nobody hears the first account of the recording" in caplog.text


async def test_a_playback_of_several_files_does_not_wait_at_each(tmp_path: Path) -> None:
    """What a later file says to be carried was asked for already."""
    limits = Limits(file_bytes=1, file_seconds=3600, total_bytes=10**9)
    async with running(rate=40) as venue:
        with recording(tmp_path, limits) as recorder:
            async with feeding(venue.ws_url, recorder=recorder) as live:
                live.feed.want([TRADES, TICKER])
                await eventually(lambda: len(list(tmp_path.glob("*.zst"))) > 2)
                await live.more([TRADES, TICKER])
    async with (
        running(
            recording=(tmp_path,), recording_speed=0.0, recording_patience_seconds=600
        ) as venue,
        feeding(venue.ws_url) as stage,
    ):
        stage.feed.want([TRADES, TICKER])
        playback = venue.playback
        assert playback is not None
        await eventually(lambda: playback.is_over)
        for topic in (TRADES, TICKER):
            told = story(live.outlet.taken, topic)
            await eventually(
                lambda topic=topic, told=told: story(stage.outlet.taken, topic) == told  # type: ignore[misc]
            )


NO_REQUESTS = (b"no json", b"[1,2]", b'{"op":5}', b"\xff\xfe", b'{"op":"subscribe","args":7}')


async def test_sent_frames_that_are_no_requests_are_passed_over_with_a_count(
    tmp_path: Path,
) -> None:
    """By a replay and by the simulator; what is around them is told."""
    trade = b'{"topic":"publicTrade.BTCUSDT","ts":1,"type":"snapshot","data":[]}'
    with recording(tmp_path) as recorder:
        line = open_line(recorder)
        line.sent(b'{"op":"subscribe","req_id":"1","args":["publicTrade.BTCUSDT"]}', 2)
        for number, raw in enumerate(NO_REQUESTS):
            line.sent(raw, 3 + number)
        line.received(trade, 10)
    again = replayed(tmp_path)
    assert again.player.passed_over == len(NO_REQUESTS)
    assert again.player.frames == 1
    async with running(recording=(tmp_path,), recording_patience_seconds=0.01) as venue:
        playback = venue.playback
        assert playback is not None
        await eventually(lambda: playback.is_over)
        assert playback.catalogue.passed_over == len(NO_REQUESTS)
        assert playback.catalogue.find("linear", TRADES.name) is not None


async def test_a_clock_that_was_set_back_does_not_play_an_hour_at_once(tmp_path: Path) -> None:
    """From there on the pauses are as they were, for the simulator too."""
    hour = 3_600_000_000
    with recording(tmp_path) as recorder:
        line = recorder.open_line("linear", LINEAR, hour, is_private=False)
        assert line is not None
        for at in (hour + 1, 5, 700_005):
            line.received(b'{"op":"pong"}', at)
    began = time.monotonic()
    async with running(recording=(tmp_path,), recording_speed=1.0) as venue:
        playback = venue.playback
        assert playback is not None
        await eventually(lambda: playback.is_over)
    assert time.monotonic() - began >= 0.7
