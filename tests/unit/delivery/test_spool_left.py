"""A spool of another prefix beside ours is named, and left as it is."""

from __future__ import annotations

import os
from pathlib import Path

from structlog.testing import capture_logs

from support.delivery_rig import ORDERS, observe
from support.link_stage import Stage
from ws_gateway.control.reasons import delivery_reasons
from ws_gateway.delivery.spool import Spool
from ws_gateway.domain.event import Kind


async def opened(folder: Path) -> tuple[Stage, Spool]:
    """Begin as a process does."""
    stage = Stage(spool=folder)
    assert stage.spool is not None
    await stage.spool.open()
    return stage, stage.spool


def contents(folder: Path) -> dict[str, bytes]:
    """Read all its files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_the_spool_of_another_prefix_is_named_and_not_sent(tmp_path: Path) -> None:
    """Its events wait for a gateway with that prefix; while one runs there is nothing to say."""
    former, spool = await opened(tmp_path / "spool-old")
    for _ in range(3):
        former.runner.accept(observe(ORDERS, kind=Kind.UPDATE, payload=b"{}"))
    await spool.step()
    _, beside = await opened(tmp_path / "spool-beside")
    assert beside.left == []
    await beside.close()
    await spool.close()
    before = contents(tmp_path / "spool-old")
    with capture_logs() as told:
        stage, own = await opened(tmp_path / "spool-new")
    lines = [one for one in told if one["event"] == "delivery.spool_left_behind"]
    assert [one["folder"] for one in lines] == [str(tmp_path / "spool-old")]
    assert lines[0]["bytes"] == sum(
        len(data) for name, data in before.items() if name.endswith(".seg")
    )
    assert lines[0]["remedy"] == "start the gateway once with WSG_AMQP_PREFIX=old"
    assert own.is_empty
    (reason,) = [
        one
        for one in delivery_reasons(stage.publisher.status(), "RabbitMQ")
        if one.code == "spool_left_behind"
    ]
    assert not reason.is_blocking
    assert "WSG_AMQP_PREFIX=old" in reason.detail
    await own.close()
    assert contents(tmp_path / "spool-old") == before


async def test_a_spool_that_was_delivered_is_not_named(tmp_path: Path) -> None:
    """Its folder stays, with nothing in it."""
    former, spool = await opened(tmp_path / "spool-old")
    former.runner.accept(observe(ORDERS, kind=Kind.UPDATE, payload=b"{}"))
    await spool.step()
    former.begin()
    former.drain()
    await spool.step()
    await spool.close()
    assert os.listdir(tmp_path / "spool-old")  # noqa: PTH208 - a path's own blocks the loop
    _, own = await opened(tmp_path / "spool-new")
    assert own.left == []
    await own.close()
