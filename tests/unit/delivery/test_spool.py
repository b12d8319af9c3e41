"""Private events through an outage: on disk in time, back in order, never one without a word."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.delivery_rig import ORDERS, TRADES, eventually, now_us, observe
from support.link_stage import Rereader, Stage
from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.domain.event import Kind
from ws_gateway.runtime import spool_log
from ws_gateway.runtime.spool_format import Record


async def opened(folder: Path, **changes: Any) -> Stage:
    """Begin as a process does."""
    stage = Stage(spool=folder, **changes)
    assert stage.spool is not None
    await stage.spool.open()
    return stage


def feed(stage: Stage, many: int = 1, payload: bytes = b"{}") -> None:
    """Let orders come."""
    for _ in range(many):
        stage.runner.accept(observe(ORDERS, kind=Kind.UPDATE, payload=payload))


async def step(stage: Stage, times: int = 1) -> None:
    """Let the spool do what there is to do."""
    assert stage.spool is not None
    for _ in range(times):
        await stage.spool.step()
        stage.assert_balance()


async def deliver(stage: Stage) -> list[dict[str, Any]]:
    """Let the broker take everything; answers what it has by then."""
    assert stage.spool is not None
    stage.begin()
    for _ in range(500):
        await step(stage)
        stage.flush()
        if stage.outbox.unconfirmed:
            stage.confirm()
        if stage.spool.is_empty and not stage.outbox.messages:
            break
    await step(stage, 2)
    assert (stage.spool.observed, stage.outbox.messages) == (0, 0)
    return stage.broker.bodies


def die(stage: Stage) -> None:
    """End as by `kill -9`: nothing is written any more, the system lets the folder go."""
    assert stage.spool is not None
    assert stage.log is not None
    stage.spool._disk._thread.shutdown()
    if stage.log._lock is not None:
        os.close(stage.log._lock)


def segments(folder: Path) -> list[Path]:
    """List the files records are in."""
    return sorted(folder.glob("*.seg"))


def problems(bodies: list[dict[str, Any]]) -> list[str]:
    """Apply the consumer's rule."""
    checker = ContinuityChecker(from_start=True)
    for body in bodies:
        checker.check(body)
    return checker.problems


async def test_what_waits_at_death_is_delivered_first_by_the_next_process(tmp_path: Path) -> None:
    """Unconfirmed and never sent, with the epoch and the numbers they had."""
    first = await opened(tmp_path, epoch="E1")
    first.begin()
    feed(first, 5)
    first.flush()
    first.private.on_confirm(3, multiple=True)  # two markers and the first order
    first.end()
    feed(first, 10)
    await step(first, 2)
    assert first.publisher.spooled == 10
    assert first.publisher.in_flight == 4
    die(first)

    second = await opened(tmp_path, epoch="E2")
    assert second.counters.restored == second.publisher.spooled == 14
    feed(second, 3)
    bodies = await deliver(second)
    assert [(one["epoch"], one["sequence"]) for one in bodies] == [
        *(("E1", number) for number in range(4, 18)),
        *(("E2", number) for number in range(1, 6)),
    ]
    assert second.broker.resent == [one["event_id"] for one in bodies[:14]], "it may have sent them"
    assert second.counters.confirmed == 17
    assert second.spool is not None
    assert not second.spool.is_taking
    await second.spool.close()
    second.spool._disk._thread.shutdown()
    third = await opened(tmp_path)
    assert third.counters.restored == 0
    die(third)


async def test_without_trouble_nothing_touches_the_disk(tmp_path: Path) -> None:
    """Events go straight on."""
    stage = await opened(tmp_path)
    stage.begin()
    await step(stage)
    feed(stage, 3)
    stage.flush()
    stage.confirm()
    await step(stage)
    assert stage.counters.confirmed == 3
    assert segments(tmp_path) == []
    die(stage)


async def test_the_oldest_are_lost_beyond_the_bound_and_named(tmp_path: Path) -> None:
    """A marker stands where they are missing; the counters add up."""
    stage = await opened(tmp_path, spool_bytes=100_000)
    again = Rereader()
    stage.runner.report_losses_to(again)
    began_ms = now_us() // 1000
    for _ in range(60):
        feed(stage, 5, b'"%b"' % (b"x" * 1000))
        await step(stage)
    done_ms = now_us() // 1000
    lost = stage.counters.shed["spool_overflow"]
    assert lost > 100
    bodies = await deliver(stage)
    assert problems(bodies) == []
    (gap,) = [one for one in bodies if one["payload"] and "from_sequence" in one["payload"]
              and one["payload"]["reason"] == "spool_overflow"]  # fmt: skip
    hole = gap["payload"]
    assert hole["to_sequence"] - hole["from_sequence"] + 1 >= lost
    assert gap["sequence"] == hole["to_sequence"]
    assert stage.counters.confirmed == 300 - lost
    assert again.asked == [ORDERS]  # once the broker is back, to be read over REST
    (since,) = again.since
    assert since is not None
    assert began_ms <= since < done_ms  # and from when on
    die(stage)


async def test_a_full_disk_is_said_and_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without a spool: in order, within the bound, shed beyond it with a marker."""

    def full(file: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    stage = await opened(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(spool_log, "_write_all", full)
        for _ in range(30):
            feed(stage, 5)
            await step(stage)
        assert stage.spool is not None
        assert stage.spool.last_error is not None
        assert stage.publisher.spooled == 0
        assert stage.counters.shed == {"no_room": 52}
        bodies = await deliver(stage)
        stage.runner.room_again()
        bodies = await deliver(stage)
    assert problems(bodies) == []
    assert stage.counters.confirmed == 98
    die(stage)


async def test_many_events_a_full_disk_refused_go_on_when_the_broker_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait for the disk, they are delivered from memory, in order, without it."""

    def full(file: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    stage = await opened(tmp_path, max_events=10_000)
    monkeypatch.setattr(spool_log, "_write_all", full)
    await step(stage)
    for _ in range(60):
        feed(stage, 50)
        await step(stage)
    bodies = await deliver(stage)
    assert problems(bodies) == []
    assert (stage.counters.confirmed, stage.counters.shed) == (3000, {})
    die(stage)


async def test_a_stop_during_an_outage_leaves_private_events_on_disk(tmp_path: Path) -> None:
    """They are spooled then, not lost."""
    stage = await opened(tmp_path)
    feed(stage, 4)
    stage.runner.accept(observe(TRADES))
    assert stage.spool is not None
    await stage.spool.close()
    stage.spool._disk._thread.shutdown()
    assert (stage.publisher.spooled, stage.publisher.in_flight) == (4, 1)
    stage.assert_balance()
    again = await opened(tmp_path, epoch="E2")
    assert again.counters.restored == 4
    die(again)


async def test_a_damaged_record_is_left_out_and_its_place_named(tmp_path: Path) -> None:
    """One stretch counted, one marker, everything else in order."""
    stage = await opened(tmp_path)
    await step(stage)
    feed(stage, 20)
    await step(stage)
    die(stage)
    (path,) = segments(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    again = await opened(tmp_path, epoch="E2")
    assert again.spool is not None
    assert again.spool.damaged == 1
    bodies = await deliver(again)
    assert problems(bodies) == []
    assert len([one for one in bodies if one["kind"] == "update"]) == 19
    assert len([one for one in bodies if one["kind"] == "gap"]) == 2  # and that of the restart
    die(again)


async def test_a_record_nobody_can_read_is_left_out(tmp_path: Path) -> None:
    """It is whole, but of another version, say: the gateway lives, and the rest comes."""
    log = Stage(spool=tmp_path).log
    assert log is not None
    log.open()
    log.append([Record(b"\x03\x00\x01\x00\x00\x00\x02{}\xce", is_observed=True)] * 2)
    log.close()
    stage = await opened(tmp_path)
    feed(stage, 2)
    bodies = await deliver(stage)
    assert len([one for one in bodies if one["kind"] == "update"]) == 2
    assert stage.counters.shed == {"spool_damaged": 2}
    die(stage)


_steps = st.sampled_from(["feed", "feed", "step", "begin", "confirm", "end", "die", "stop"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(_steps, st.integers(1, 30)), max_size=25))
async def test_whatever_happens_no_private_event_is_lost(steps: list[tuple[str, int]]) -> None:
    """Outages, deaths and confirms in any order: every order arrives, in order, in its epoch."""
    with tempfile.TemporaryDirectory(prefix="spool-") as name:
        folder, life = Path(name), 1
        stage = await opened(folder, epoch=f"E{life:03}", max_events=10_000)
        bodies: list[dict[str, Any]] = []
        told = 0
        for what, many in steps:
            if what == "feed":
                feed(stage, many)
                told += many
            elif what == "step":
                await step(stage)
            elif what == "begin":
                stage.begin()
            elif what == "confirm" and stage.outbox.unconfirmed:
                stage.confirm()
            elif what == "end":
                stage.end()
            elif what in {"die", "stop"}:
                stage.end()
                assert stage.spool is not None
                if what == "die":  # after the moment in which it is brought to the disk
                    await step(stage)
                    die(stage)
                else:
                    await stage.spool.close()
                    stage.spool._disk._thread.shutdown()
                bodies += stage.broker.bodies
                life += 1
                stage = await opened(folder, epoch=f"E{life:03}", max_events=10_000)
            stage.assert_balance()
        await deliver(stage)
        bodies += stage.broker.bodies
        die(stage)
        first: dict[str, dict[str, Any]] = {}
        for body in bodies:
            first.setdefault(body["event_id"], body)
        assert problems(bodies) == []
        assert sum(one["kind"] == "update" for one in first.values()) == told


async def test_what_a_silent_broker_owes_an_answer_for_is_on_disk_too(tmp_path: Path) -> None:
    """It was written to the socket, but nobody knows whether it arrived."""
    stage = await opened(tmp_path, epoch="E1")
    stage.begin()
    await step(stage)
    feed(stage, 3)
    stage.flush()
    await step(stage)
    assert segments(tmp_path) == []
    await asyncio.sleep(0.55)  # more than a moment
    await step(stage, 2)  # at the first it may be this process that was late
    assert (stage.publisher.in_flight, stage.publisher.spooled) == (3, 0)
    stage.confirm()
    feed(stage, 2)
    await step(stage, 3)
    stage.flush()
    die(stage)
    again = await opened(tmp_path, epoch="E2")
    assert again.counters.restored == 2
    die(again)


def error_of(stage: Stage) -> str | None:
    """Say why the disk refuses."""
    return None if stage.spool is None else stage.spool.last_error


async def test_a_folder_that_was_taken_is_taken_up_when_it_is_free(tmp_path: Path) -> None:
    """A process that begins before the former one has ended is not without a spool for ever."""
    first = await opened(tmp_path)
    second = await opened(tmp_path)
    assert second.spool is not None
    assert error_of(second) == "another process has the spool's folder"
    feed(first, 2)
    await step(first, 3)
    die(first)
    await second.spool.open()
    assert error_of(second) is None
    assert len(await deliver(second)) >= 1
    await second.spool.close()


async def test_a_restored_event_nobody_routes_is_tried_on_and_harms_nothing(
    tmp_path: Path,
) -> None:
    """Its stream is of a former process; the queue it needs may be declared tomorrow."""
    first = await opened(tmp_path)
    feed(first, 1)
    await step(first, 3)
    die(first)
    second = await opened(tmp_path)
    assert second.spool is not None
    second.runner.events_lost([(ORDERS, 1)], "unroutable")
    bodies = await deliver(second)
    assert len(bodies) >= 1
    await second.spool.close()


def test_a_disk_that_refuses_all_the_time_leaves_no_empty_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are what a full disk has least of; somebody's copy of one stops nothing."""
    (tmp_path / "copy.seg").write_bytes(b"x")
    log = spool_log.SpoolLog(
        tmp_path, max_bytes=10_000, max_age_seconds=1e6, condense=lambda records: records
    )
    log.open()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    for _ in range(5):
        with pytest.raises(OSError, match="full"):
            log.append([Record(b"x", is_observed=True)], is_read=False)
    assert [path.name for path in segments(tmp_path)] == ["copy.seg"]
    monkeypatch.undo()
    log.append([Record(b"x", is_observed=True)], is_read=False)
    assert len(log.read(10).records) == 1
    log.close()


async def test_a_slow_broker_does_not_let_the_spool_grow_beyond_its_bound(tmp_path: Path) -> None:
    """It takes some and answers, so it is not away: the disk is bounded all the same."""
    stage = await opened(tmp_path, spool_bytes=1_000_000)
    assert stage.log is not None
    stage.begin()
    for _ in range(120):
        feed(stage, 50, b'"%b"' % (b"x" * 1000))
        await step(stage)
        stage.private.on_confirm(stage.outbox.private.first_tag, multiple=False)
    assert stage.counters.shed["spool_overflow"] > 100
    assert stage.log.size_bytes < 3_000_000  # the bound, and what is in memory too
    assert problems(await deliver(stage)) == []
    die(stage)


async def test_a_failed_sync_neither_doubles_records_nor_upsets_the_counters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written before it is not counted; it is written once more, and comes once."""

    def failing(file: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    stage = await opened(tmp_path)
    assert stage.spool is not None
    feed(stage, 5)
    await step(stage)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        for _ in range(3):
            assert stage.log is not None
            stage.log._synced_at = 0.0
            feed(stage, 5)
            stage.spool._disk._refused_at = None  # a second later
            await step(stage)
            assert stage.spool.last_error is not None
    stage.spool._disk._refused_at = None
    await step(stage)
    assert error_of(stage) is None
    assert stage.publisher.spooled + stage.publisher.in_flight == 20
    bodies = await deliver(stage)
    assert [one["sequence"] for one in bodies] == list(range(1, 23))
    assert stage.counters.confirmed == 20
    assert stage.counters.shed == {}
    die(stage)


async def test_a_file_taken_away_holds_nothing_back(tmp_path: Path) -> None:
    """Somebody tidied up: what was in it is counted, and what comes after it is delivered."""
    stage = await opened(tmp_path, max_events=10_000)
    await step(stage)
    feed(stage, 10)
    await step(stage)
    for path in segments(tmp_path):
        path.unlink()
    bodies = await deliver(stage)
    lost = stage.counters.shed["spool_damaged"]
    assert lost > 0
    feed(stage, 3)
    bodies = await deliver(stage)
    assert len([one for one in bodies if one["kind"] == "update"]) == 13 - lost
    die(stage)


async def test_private_events_on_disk_go_before_any_public_one(tmp_path: Path) -> None:
    """Also when there are far more of them than are loaded at once."""
    stage = await opened(tmp_path, max_events=10_000, window=200, spool_bytes=10_000_000)
    for _ in range(30):
        feed(stage, 100)
        await step(stage)
    for _ in range(300):
        stage.runner.accept(observe(TRADES))
    bodies = await deliver(stage)
    classes = [one["event_type"] for one in bodies]
    assert classes.count("order") == 3002
    assert classes.index("trade") == 3002
    assert problems(bodies) == []
    die(stage)


async def test_private_events_wait_on_disk_while_public_ones_flow(tmp_path: Path) -> None:
    """The connection for private events alone is lost; nobody waits for it."""
    stage = await opened(tmp_path, max_events=10_000)
    stage.begin()
    await step(stage)
    stage.private.end()
    feed(stage, 5)
    for _ in range(5):
        stage.runner.accept(observe(TRADES))
    await step(stage, 2)
    stage.flush()
    stage.confirm()
    stage.assert_balance()
    assert {one["event_type"] for one in stage.broker.bodies} == {"trade"}
    assert (stage.publisher.spooled, stage.publisher.in_flight) == (5, 0)
    assert stage.counters.confirmed == 5
    stage.private.begin(stage.broker)
    for _ in range(5):
        await step(stage)
        stage.confirm()
    assert problems(stage.broker.bodies) == []
    assert (stage.publisher.spooled, stage.counters.confirmed) == (0, 10)
    die(stage)


async def test_public_events_wait_a_second_at_most_for_private_ones_that_get_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Private events of an outage go first, but not over a connection that swallows them."""
    monkeypatch.setattr("ws_gateway.delivery.sender._PATIENCE_SECONDS", 0.2)
    stage = await opened(tmp_path, max_events=10_000, window=10)
    feed(stage, 50)
    stage.runner.accept(observe(TRADES))
    await step(stage, 2)
    stage.begin()
    assert {one["event_type"] for one in stage.broker.bodies} <= {"order"}
    # Nobody has to ask for it.
    await eventually(lambda: "trade" in {one["event_type"] for one in stage.broker.bodies}, 5)
    assert problems(await deliver(stage)) == []
    die(stage)


async def test_a_disk_that_hangs_holds_up_its_own_lane_only(tmp_path: Path) -> None:
    """Public events wait a second for what is on disk, and no longer."""
    stage = await opened(tmp_path, max_events=10_000)
    feed(stage, 10)
    await step(stage)
    feed(stage, 10)
    await step(stage)
    for _ in range(5):
        stage.runner.accept(observe(TRADES))
    assert stage.spool is not None
    stage.begin()
    assert {one["event_type"] for one in stage.broker.bodies} <= {"order"}
    stage.spool._moved_at -= 2.0  # no step has come to its end since
    stage.flush()
    assert "trade" in {one["event_type"] for one in stage.broker.bodies}
    assert problems(await deliver(stage)) == []
    die(stage)
