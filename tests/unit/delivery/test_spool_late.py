"""A spool whose folder is to be had late: what was accepted before follows what is in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from support.delivery_rig import ORDERS, observe
from support.link_stage import Stage
from ws_gateway.delivery.spool import Spool
from ws_gateway.domain.event import Kind


def spool_of(stage: Stage) -> Spool:
    """Return its spool."""
    assert stage.spool is not None
    return stage.spool


def feed(stage: Stage, many: int) -> None:
    """Let orders come."""
    for _ in range(many):
        stage.runner.accept(observe(ORDERS, kind=Kind.UPDATE, payload=b"{}"))


def die(stage: Stage) -> None:
    """End as by `kill -9`: nothing is written any more, the system lets the folder go."""
    assert stage.log is not None
    spool_of(stage)._disk._thread.shutdown()
    if stage.log._lock is not None:
        os.close(stage.log._lock)


async def begun_late(folder: Path, *, is_sent: bool) -> Stage:
    """Accept 7 while a former process still has the folder, with 5 in it; then take it up."""
    former = Stage(spool=folder, epoch="E1")
    await spool_of(former).open()
    feed(former, 5)
    await spool_of(former).step()
    stage = Stage(spool=folder, epoch="E2")
    await spool_of(stage).open()
    if is_sent:
        stage.begin()
    feed(stage, 7)
    stage.flush()
    die(former)
    await spool_of(stage).open()
    stage.assert_balance()
    return stage


async def delivered(stage: Stage) -> list[dict[str, Any]]:
    """Let the broker take everything; answers the events in its order, first copies only."""
    stage.begin()
    for _ in range(500):
        await spool_of(stage).step()
        stage.assert_balance()
        stage.flush()
        if stage.outbox.unconfirmed:
            stage.confirm()
        elif spool_of(stage).is_empty and not stage.outbox.messages:
            break
    for _ in range(2):
        await spool_of(stage).step()
    assert spool_of(stage).observed == 0
    assert spool_of(stage).size_bytes == 0
    return list({one["event_id"]: one for one in stage.broker.bodies}.values())


def places(bodies: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Name the epoch and number of each event."""
    return [(one["epoch"], one["sequence"]) for one in bodies if one["kind"] == "update"]


ALL = 12


@pytest.mark.parametrize("is_sent", [False, True])
@pytest.mark.parametrize("is_killed", [False, True])
async def test_what_was_accepted_before_the_folder_was_free_outlives_the_process(
    tmp_path: Path, *, is_sent: bool, is_killed: bool
) -> None:
    """By `kill -9` or an orderly stop, sent without an answer or not: the next one delivers it."""
    stage = await begun_late(tmp_path, is_sent=is_sent)
    if is_killed:
        for _ in range(3):
            await spool_of(stage).step()
            stage.assert_balance()
        die(stage)
    else:
        await spool_of(stage).close()
    after = Stage(spool=tmp_path, epoch="E3")
    await spool_of(after).open()
    bodies = await delivered(after)
    known = places(bodies)
    assert len(known) == ALL
    assert [epoch for epoch, _ in known] == ["E1"] * 5 + ["E2"] * 7
    assert known == sorted(known)
    assert not [one for one in bodies if one["payload"].get("reason") == "spool_overflow"]
    await spool_of(after).close()


@pytest.mark.parametrize("is_sent", [False, True])
async def test_what_was_accepted_before_the_folder_was_free_is_delivered_once_the_broker_is_back(
    tmp_path: Path, *, is_sent: bool
) -> None:
    """In this process too, behind what the former left, with later events behind it."""
    stage = await begun_late(tmp_path, is_sent=is_sent)
    feed(stage, 3)
    await spool_of(stage).step()
    stage.assert_balance()
    if is_sent:
        stage.end()
    bodies = await delivered(stage)
    known = places(bodies)
    assert len(known) == ALL + 3
    for epoch in ("E1", "E2"):
        numbers = [number for one, number in known if one == epoch]
        assert numbers == sorted(numbers)
    if not is_sent:
        assert known == sorted(known)
    assert not [one for one in bodies if one["payload"].get("reason") == "spool_overflow"]
    await spool_of(stage).close()
