"""The reference consumer: whatever the order and the repeats, the newest state stands."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from position_manager.__main__ import keep_positions
from support.amqp_names import delete_topology
from support.position_desk import (
    EPOCH,
    LATER_EPOCH,
    PositionDesk,
    latest,
    marker,
    position_desk,
    state,
)
from support.programs import until

_serial = count(1)

FIRST = 200
"""So many of a busy queue's events come before the rest."""


@pytest.fixture
async def desk(amqp_url: str, amqp_prefix: str, database_url: str) -> AsyncIterator[PositionDesk]:
    """A queue and tables of the test's own."""
    async with position_desk(amqp_url, amqp_prefix, database_url) as opened:
        yield opened


async def _keeping(desk: PositionDesk, *, is_shared: bool) -> AsyncIterator[PositionDesk]:
    work = asyncio.create_task(
        keep_positions(
            amqp_url=desk.amqp_url,
            database_url=desk.database_url,
            prefix=desk.prefix,
            is_shared=is_shared,
        )
    )
    yield desk
    assert not work.done(), work.exception()
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


@pytest.fixture
async def kept(desk: PositionDesk) -> AsyncIterator[PositionDesk]:
    """The same, with a manager that reads the queue alone."""
    async for one in _keeping(desk, is_shared=False):
        yield one


@pytest.fixture
async def kept_with_others(desk: PositionDesk) -> AsyncIterator[PositionDesk]:
    """The same, with a manager that looks at no numbers."""
    async for one in _keeping(desk, is_shared=True):
        yield one


# ── which state stands ────────────────────────────────────────────────────────────────────────

_Fact = tuple[str, int, int, int | None, int, str, str]
_facts = st.tuples(
    st.sampled_from(["BTCUSDT", "ETHUSDT"]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from(["0", "0.1", "12"]).map(lambda size: 0 if size == "0" else 1),
    st.sampled_from([None, -1, 7, 8, 9]),
    st.integers(0, 2),
    st.sampled_from([EPOCH, LATER_EPOCH]),
    st.sampled_from(["position", "position.linear"]),
)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(facts=st.lists(_facts, min_size=2, max_size=12), seed=st.integers(0, 2**20))
async def test_any_order_with_any_repeats_ends_in_the_same_table(
    kept_with_others: PositionDesk, facts: list[_Fact], seed: int
) -> None:
    """Other seqs of one time, other times of one seq, none at all, two accounts, hedge mode."""
    run, rng = next(_serial), Random(seed)
    accounts = (f"first-{run}", f"second-{run}")
    events = []
    for number, (symbol, idx, is_open, seq, ms, epoch, topic) in enumerate(facts, start=1):
        size = str(number) if is_open else "0"
        place = {"epoch": epoch, "topic": topic, "source": rng.choice(["stream", "rest"])}
        events += [
            state(number, size, seq=seq, ms=ms, symbol=symbol, idx=idx, account=account, **place)
            for account in accounts
        ]
        kind = rng.choice(["gap", "resumed"])
        events.append(marker(kind, number, account=accounts[0], epoch=epoch, topic=topic))
    delivered = events + rng.choices(events, k=len(events) // 2)
    rng.shuffle(delivered)
    await kept_with_others.publish(*delivered)
    end = state(1, account=f"end-{run}")
    await kept_with_others.publish(end)
    await kept_with_others.until_rows(latest([end]), f"end-{run}")

    for account in accounts:
        own = [event for event in events if event["account"] == account]
        assert await kept_with_others.rows(account) == latest(own)
    found = await kept_with_others.database.fetch(
        "SELECT topic, is_complete FROM position_streams WHERE account = $1", accounts[0]
    )
    assert {row["topic"]: row["is_complete"] for row in found} == _completeness(events)


def _completeness(events: list[dict[str, Any]]) -> dict[str, bool]:
    """Say of each stream what its last marker says."""
    last: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["kind"] == "update":
            continue
        before = last.get(event["topic"])
        if before is None or (before["epoch"], before["sequence"]) < (
            event["epoch"],
            event["sequence"],
        ):
            last[event["topic"]] = event
    return {topic: event["kind"] == "resumed" for topic, event in last.items()}


async def test_a_row_has_what_the_event_says_to_the_last_digit(kept: PositionDesk) -> None:
    """Amounts are exact, times are of both clocks, and the venue's record is beside them."""
    event = state(1, "0.123456789012345678", seq=2**53 + 1, ms=7)
    await kept.publish(event)
    await kept.until_current(size=Decimal("0.123456789012345678"))
    row = await kept.current()
    payload = event["payload"]
    for name in ("entry_price", "margin", "unrealised_pnl", "cumulative_realised_pnl"):
        assert row[name] == Decimal(payload[name])
    for name in ("side", "mode", "status", "seq", "position_idx", "category"):
        assert row[name] == payload[name]
    for name in ("event_id", "trace_id", "source", "account", "topic", "epoch", "sequence"):
        assert row[name] == event[name]
    assert row["event_timestamp"].timestamp() * 1000 == event["timestamp"]
    assert round(row["received_at"].timestamp() * 1_000_000) == event["received_at"]
    assert json.loads(row["raw"]) == payload["raw"]


async def test_a_closed_position_stays_as_flat_so_that_it_cannot_come_back(
    kept_with_others: PositionDesk,
) -> None:
    """An old event delivered again after the close changes nothing."""
    opened, closed = state(1, "2", seq=5), state(2, "0", seq=6)
    await kept_with_others.publish(opened, closed, opened, state(3, symbol="ETHUSDT"))
    await kept_with_others.until_rows(
        latest([opened, closed]) | latest([state(3, symbol="ETHUSDT")])
    )
    row = await kept_with_others.current()
    assert (row["side"], row["size"], row["entry_price"]) == (None, 0, None)


async def test_what_rest_tells_late_does_not_undo_what_the_stream_told(
    kept_with_others: PositionDesk,
) -> None:
    """Its time is that of its answer, but its seq says how old the state is."""
    fill = state(1, "3", seq=9, ms=10)
    lagging = state(2, "2", seq=8, ms=50, source="rest")
    settings_changed = state(3, "3", seq=9, ms=60, source="rest")
    await kept_with_others.publish(fill, lagging)
    await kept_with_others.until_rows(latest([fill, lagging]))
    assert (await kept_with_others.current())["size"] == 3
    await kept_with_others.publish(settings_changed, fill)
    await kept_with_others.until_rows(latest([settings_changed]))
    assert (await kept_with_others.current())["source"] == "rest"


# ── what is missing ───────────────────────────────────────────────────────────────────────────


async def test_a_gap_makes_an_accounts_positions_stale_until_resumed(kept: PositionDesk) -> None:
    """Those of another account stay as good as they are; the old values stay readable."""
    other = state(10, "5", account="other")
    await kept.publish(marker("gap", 1), marker("resumed", 2), state(3), other, marker("gap", 4))
    await kept.until_current(size=1, is_stale=True, stale_reason="disconnect")
    assert not (await kept.current("other"))["is_stale"]
    await kept.publish(state(5, "2", seq=101))
    await kept.until_current(size=2, is_stale=True)  # good, but others may still be missing
    await kept.publish(marker("resumed", 6))
    await kept.until_current(size=2, is_stale=False, stale_reason=None, stale_since=None)


async def test_a_resumed_that_does_not_say_complete_leaves_positions_stale(
    kept: PositionDesk,
) -> None:
    """Data flow again, but what was missed could not be read: nobody may take it for whole."""
    await kept.publish(marker("gap", 1), state(2), marker("resumed", 3, complete=False))
    await kept.publish(state(4, "2", seq=101))
    await kept.until_current(size=2, is_stale=True, stale_reason="disconnect")
    await kept.publish(marker("resumed", 5))
    await kept.until_current(size=2, is_stale=False)


async def test_a_step_that_nothing_explains_is_a_gap_too(kept: PositionDesk) -> None:
    """As when the queue dropped its oldest: `resumed` behind the hole ends it as well."""
    await kept.publish(marker("gap", 1), marker("resumed", 2), state(3), state(7, "2", seq=101))
    await kept.until_current(size=2, is_stale=True, stale_reason="unexplained")
    await kept.publish(marker("gap", 8), marker("resumed", 9))
    await kept.until_current(is_stale=False)


async def test_a_state_that_no_row_can_hold_stops_nothing_and_is_said(
    desk: PositionDesk, tmp_path: Path
) -> None:
    """It is given up, its stream is stale, and what comes behind it is stored."""
    impossible = state(2, "7", seq=101)
    impossible["payload"]["category"] = "spot"
    beyond = state(3, "7", seq=101)
    beyond["payload"]["size"] = "many"
    async with desk.manager(tmp_path) as program:
        await desk.publish(state(1), impossible, beyond, state(4, "2", seq=102))
        await desk.until_current(size=2, is_stale=True, stale_reason="refused")
        assert await program.terminate() == 0, program.words
    assert program.words.count("position.refused event_id=") == 2
    assert impossible["event_id"] in program.words
    assert await desk.waiting() <= 1  # the end may come between the last one's commit and its ack


async def test_an_envelope_of_a_later_version_ends_it_and_stays_in_the_queue(
    desk: PositionDesk, tmp_path: Path
) -> None:
    """Nobody knows what it says, so nothing is guessed and nothing is lost."""
    await desk.publish(state(1) | {"schema": 2})
    async with desk.manager(tmp_path) as program:
        assert await program.ended(30) == 2
    assert "version 2" in program.words
    assert "Traceback" not in program.words
    await desk.until_waiting(1)
    assert await desk.rows() == {}


async def test_without_its_settings_or_its_queue_it_says_so(
    desk: PositionDesk, tmp_path: Path, amqp_url: str
) -> None:
    """One sentence, exit code 2."""
    await delete_topology(amqp_url, desk.prefix)
    async with desk.manager(tmp_path) as program:
        assert await program.ended(30) == 2
    assert f"{desk.prefix}.position" in program.words
    assert "Traceback" not in program.words


# ── crashes and company ───────────────────────────────────────────────────────────────────────


def _busy(number: int, seed: int) -> list[dict[str, Any]]:
    """Make so many states of twelve rows, shuffled as competing consumers would have them."""
    rng = Random(seed)
    events = [
        state(
            sequence,
            str(sequence % 5),
            seq=rng.randint(1, number),
            ms=rng.randint(0, 50),
            symbol=rng.choice(["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"]),
            idx=rng.choice([0, 1, 2]),
        )
        for sequence in range(1, number + 1)
    ]
    rng.shuffle(events)
    return events


async def _stored_some(desk: PositionDesk) -> bool:
    return bool(await desk.rows())


async def test_killed_before_the_commit_the_event_is_still_in_the_queue(
    desk: PositionDesk, tmp_path: Path
) -> None:
    """Acknowledged is only what is committed, so the kill falls between nothing."""

    async def is_writing() -> bool:
        await desk.database.execute("SELECT pg_stat_clear_snapshot()")  # one per transaction
        blocked = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'held'"
        return bool(await desk.database.fetch(blocked))

    async with desk.manager(tmp_path) as program, desk.database.transaction():
        await desk.database.execute("LOCK TABLE positions IN ACCESS EXCLUSIVE MODE")
        await desk.publish(state(1))
        await until(is_writing, seconds=40, what="it writes, and waits for the table")
        await program.kill()
        await desk.until_waiting(1)
    async with desk.manager(tmp_path):
        await desk.until_rows(latest([state(1)]))
        await desk.until_waiting(0)


@pytest.mark.parametrize("instances", [1, 2])
async def test_killed_in_the_middle_nothing_is_lost_and_nothing_goes_back(
    desk: PositionDesk, tmp_path: Path, instances: int
) -> None:
    """`kill -9`, alone or beside another: what was not acknowledged comes again."""
    events = _busy(1_500, seed=instances)
    await desk.publish(*events[:FIRST])
    async with desk.manager(tmp_path, "--shared") as doomed:
        await until(lambda: _stored_some(desk), seconds=40, what="something is stored")
        doomed.process.send_signal(signal.SIGSTOP)  # it is not to be done before the kill
        await desk.publish(*events[FIRST:])
        if instances == 1:
            await doomed.kill()
            assert await desk.rows() != latest(events)
        async with desk.manager(tmp_path, "--shared") as survivor:
            if instances == 2:
                await desk.until_read_by(2)
                doomed.process.send_signal(signal.SIGCONT)
            await doomed.kill()
            await desk.until_rows(latest(events))
            assert await survivor.terminate() == 0, survivor.words
    assert await desk.rows() == latest(events)


async def test_two_instances_share_a_queue_and_end_in_the_same_table(
    desk: PositionDesk, tmp_path: Path
) -> None:
    """Both store, in an order that nobody decides."""
    events = _busy(1_000, seed=3)
    async with desk.manager(tmp_path, "--shared") as one, desk.manager(tmp_path, "--shared") as two:
        await desk.until_read_by(2)
        await desk.publish(*events)
        await desk.until_rows(latest(events))
        assert [await one.terminate(), await two.terminate()] == [0, 0]
    assert "position.stored" in one.words
    assert "position.stored" in two.words
    assert "stream.stale" not in one.words + two.words
    assert await desk.rows() == latest(events)


async def test_told_to_end_in_the_middle_it_ends_well_and_the_next_one_goes_on(
    desk: PositionDesk, tmp_path: Path
) -> None:
    """What it had not stored is in the queue again at once."""
    events = _busy(1_500, seed=4)
    await desk.publish(*events[:FIRST])
    async with desk.manager(tmp_path, "--shared") as first:
        await until(lambda: _stored_some(desk), seconds=40, what="something is stored")
        first.process.send_signal(signal.SIGSTOP)  # it is not to be done before it is told
        await desk.publish(*events[FIRST:])
        first.process.send_signal(signal.SIGTERM)
        first.process.send_signal(signal.SIGCONT)
        assert await first.ended() == 0, first.words
    assert await desk.waiting() > 0
    assert first.words.rstrip().endswith("stopped")
    async with desk.manager(tmp_path, "--shared"):
        await desk.until_rows(latest(events))


async def test_postgresql_that_goes_away_is_waited_for(
    kept_with_others: PositionDesk,
) -> None:
    """Each event is tried until it is stored; none is acknowledged before."""
    desk, events = kept_with_others, _busy(600, seed=5)
    await desk.publish(*events)
    for _ in range(3):
        await until(lambda: _stored_some(desk), seconds=40, what="something is stored")
        cut = await desk.database.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cut
        await desk.database.execute("TRUNCATE positions")
        await desk.publish(*events)
    await desk.until_rows(latest(events))
