"""A disk that takes nothing while it gives what it has: said once, for as long as it lasts."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from support.delivery_rig import ORDERS, observe
from support.link_stage import Stage
from ws_gateway.delivery.spool import Spool
from ws_gateway.domain.event import Kind
from ws_gateway.runtime import spool_log


def feed(stage: Stage, many: int) -> None:
    """Let orders come."""
    for _ in range(many):
        stage.runner.accept(observe(ORDERS, kind=Kind.UPDATE, payload=b"{}"))


def error_of(spool: Spool) -> str | None:
    """Say why the disk refuses."""
    return spool.last_error


def has_probe(folder: Path) -> bool:
    """Say whether the file a disk is tried with was left."""
    return (folder / "probe").exists()


async def test_acknowledgements_do_not_hide_that_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker is back and takes what is on disk: the fault stays, told once, until a write."""

    def full(file: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    stage = Stage(spool=tmp_path, max_events=100_000)
    spool = stage.spool
    assert spool is not None
    await spool.open()
    feed(stage, 3000)
    for _ in range(3):
        await spool.step()
    with capture_logs() as told, monkeypatch.context() as patch:
        patch.setattr(spool_log, "_write_all", full)
        stage.begin()
        for _ in range(60):
            feed(stage, 2)
            spool._disk._refused_at = None  # a second later
            await spool.step()
            stage.assert_balance()
            assert spool.last_error is not None
            stage.flush()
            stage.private.on_confirm(stage.outbox.private.first_tag + 4, multiple=True)
        for _ in range(1000):
            spool._disk._refused_at = spool._disk._refused_at and 1e-9
            await spool.step()
            stage.flush()
            if not stage.outbox.messages and spool.is_empty:
                break
            stage.confirm()
        assert stage.counters.confirmed == 3120
        spool._disk._refused_at = None  # a second later, with nothing to write
        await spool.step()
        assert spool.last_error is not None
    assert [one["event"] for one in told if one["log_level"] != "debug"] == [
        "delivery.spool_refused"
    ]
    spool._disk._refused_at = None
    with capture_logs() as told:
        await spool.step()
    assert error_of(spool) is None
    assert [one["event"] for one in told] == ["delivery.spool_usable"]
    await spool.close()
    assert not has_probe(tmp_path)
