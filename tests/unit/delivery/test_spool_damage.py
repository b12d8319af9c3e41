"""What the disk does not give back is said to be lost, since when, and so read again over REST."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.delivery_rig import ORDERS, observe
from support.link_stage import Rereader, Stage
from ws_gateway.delivery.envelope import body_of
from ws_gateway.delivery.spool import Spool
from ws_gateway.domain.event import Kind
from ws_gateway.domain.topic import Channel, Topic, build_topic
from ws_gateway.runtime.spool_format import Record, parse

EXECUTIONS = build_topic(Channel.EXECUTION)


def spool_of(stage: Stage) -> Spool:
    """Return its spool."""
    assert stage.spool is not None
    return stage.spool


async def opened(folder: Path, epoch: str = "E1") -> tuple[Stage, Rereader]:
    """Begin as a process does, with somebody who reads again what was lost."""
    stage, again = Stage(spool=folder, epoch=epoch), Rereader()
    stage.runner.report_losses_to(again)
    await spool_of(stage).open()
    return stage, again


def tell(stage: Stage, topic: Topic = ORDERS, many: int = 1) -> None:
    """Let facts come."""
    for _ in range(many):
        stage.runner.accept(observe(topic, kind=Kind.UPDATE, payload=b"{}"))


def die(stage: Stage) -> None:
    """End as by `kill -9`: nothing is written any more, the system lets the folder go."""
    assert stage.log is not None
    spool_of(stage)._disk._thread.shutdown()
    if stage.log._lock is not None:
        os.close(stage.log._lock)


async def deliver(stage: Stage) -> list[dict[str, Any]]:
    """Let the broker take everything; answers what it has by then."""
    stage.begin()
    for _ in range(500):
        await spool_of(stage).step()
        stage.assert_balance()
        stage.flush()
        if stage.outbox.unconfirmed:
            stage.confirm()
        if spool_of(stage).is_empty and not stage.outbox.messages:
            break
    return stage.broker.bodies


async def left_by_a_dead_process(folder: Path, *facts: Topic) -> Path:
    """Leave facts on disk, written by a process that died; answers the file."""
    stage, _ = await opened(folder)
    await spool_of(stage).step()
    for topic in facts:
        tell(stage, topic)
    await spool_of(stage).step()
    die(stage)
    (path,) = segments(folder)
    return path


def segments(folder: Path) -> list[Path]:
    """List the files records are in."""
    return sorted(folder.glob("*.seg"))


def written(path: Path) -> list[dict[str, Any]]:
    """Read the events in a file that is whole."""
    batch, _ = parse(path.read_bytes(), 1, 0)
    return [msgspec.json.decode(body_of(each.data)) for _, each in batch.records]


async def test_private_events_lost_at_the_end_of_the_spool_were_never_read_again(
    tmp_path: Path,
) -> None:
    """A power cut took the end; nobody knows whose it was, but since when is known."""
    path = await left_by_a_dead_process(tmp_path, *[ORDERS] * 10)
    before_last = written(path)[-2]
    os.truncate(path, path.stat().st_size - 7)
    stage, again = await opened(tmp_path, "E2")
    assert again.asked == [None]
    assert again.since == [before_last["timestamp"]]
    assert spool_of(stage).damaged == 1
    die(stage)
    later, again = await opened(tmp_path, "E3")
    assert again.asked == []  # once is enough
    die(later)


async def test_an_end_filled_with_zeros_is_a_loss_as_well(tmp_path: Path) -> None:
    """As some file systems leave it."""
    path = await left_by_a_dead_process(tmp_path, *[ORDERS] * 10)
    content = path.read_bytes()
    before_last = written(path)[-4]
    batch, _ = parse(content, 1, 0)
    whole = batch.records[-4][0][1]
    path.write_bytes(content[:whole] + bytes(len(content) - whole))
    stage, again = await opened(tmp_path, "E2")
    assert (again.asked, again.since) == ([None], [before_last["timestamp"]])
    die(stage)


async def test_without_any_event_before_it_the_end_is_as_old_as_its_file(tmp_path: Path) -> None:
    """The gateway may have been down for days, so now would be too late."""
    path = await left_by_a_dead_process(tmp_path, ORDERS)
    os.truncate(path, 9)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    stage, again = await opened(tmp_path, "E2")
    assert (again.asked, again.since) == ([None], [1_700_000_000_000])
    die(stage)


async def test_a_whole_spool_is_no_loss(tmp_path: Path) -> None:
    """However the process ended."""
    await left_by_a_dead_process(tmp_path, *[ORDERS] * 10)
    stage, again = await opened(tmp_path, "E2")
    await deliver(stage)
    assert (again.asked, again.since) == ([], [])
    die(stage)


async def test_a_damaged_event_that_is_the_last_of_its_stream_is_read_again(tmp_path: Path) -> None:
    """No later number of its stream tells of it, so no marker names it."""
    path = await left_by_a_dead_process(tmp_path, ORDERS, EXECUTIONS, ORDERS, ORDERS)
    content = bytearray(path.read_bytes())
    events = written(path)
    batch, _ = parse(bytes(content), 1, 0)
    (place,) = (n for n, each in enumerate(events)
                if each["topic"] == EXECUTIONS.name and each["kind"] == Kind.UPDATE)  # fmt: skip
    content[batch.records[place][0][1] - 3] ^= 0xFF
    path.write_bytes(content)
    stage, again = await opened(tmp_path, "E2")
    assert again.asked == []  # `read` meets it
    await deliver(stage)
    assert again.asked == [None]
    (since,) = again.since
    assert since is not None
    assert since <= events[place]["timestamp"]
    die(stage)


async def test_a_hole_in_a_stream_is_read_again_from_the_event_before_it(tmp_path: Path) -> None:
    """Its marker is told; from now on would be too late after days without the gateway."""
    path = await left_by_a_dead_process(tmp_path, *[ORDERS] * 5)
    content = bytearray(path.read_bytes())
    events = written(path)
    batch, _ = parse(bytes(content), 1, 0)
    content[batch.records[-2][0][1] - 3] ^= 0xFF
    path.write_bytes(content)
    stage, again = await opened(tmp_path, "E2")
    bodies = await deliver(stage)
    assert set(again.asked) == {None, ORDERS}
    assert again.since[again.asked.index(ORDERS)] == events[-3]["timestamp"]
    reasons = [each["payload"]["reason"] for each in bodies if each["kind"] == Kind.GAP]
    assert "spool_overflow" in reasons
    die(stage)


async def test_a_record_that_nobody_can_read_is_read_again_over_rest(tmp_path: Path) -> None:
    """It is whole, but of another version, say."""
    log = Stage(spool=tmp_path).log
    assert log is not None
    log.open()
    log.append([Record(b"\x03\x00\x01\x00\x00\x00\x02{}\xce", is_observed=True)])
    log.close()
    stage, again = await opened(tmp_path)
    await deliver(stage)
    assert again.asked == [None]
    die(stage)


@pytest.mark.parametrize("is_emptied", [True, False])
async def test_files_taken_away_under_a_running_gateway_are_read_again(
    tmp_path: Path, *, is_emptied: bool
) -> None:
    """Somebody cleaned up."""
    stage, again = await opened(tmp_path)
    await spool_of(stage).step()
    tell(stage, many=50)
    for _ in range(3):
        await spool_of(stage).step()
    tell(stage, many=50)
    await spool_of(stage).step()
    for path in segments(tmp_path):
        if is_emptied:
            os.truncate(path, 0)
        else:
            path.unlink()
    await deliver(stage)
    assert stage.counters.shed["spool_damaged"] > 0
    assert None in again.asked
    die(stage)
