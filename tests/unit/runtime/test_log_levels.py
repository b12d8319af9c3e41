"""The level of the log, changed while the process runs; and frames that are sampled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from ws_gateway.runtime.sampling import Sampling
from ws_gateway.runtime.telemetry import LogLevels, LogLevelStatus


@pytest.fixture
def levels() -> Iterator[LogLevels]:
    """Levels of a process that was configured to write `warning`."""
    root = logging.getLogger()
    before = root.level
    root.setLevel("WARNING")
    found = LogLevels("warning", Sampling(3))
    yield found
    found.close()
    root.setLevel(before)
    for name in ("uvicorn", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_a_change_without_a_duration_stays(levels: LogLevels) -> None:
    """The root logger follows at once, those that are kept quiet stay so."""
    assert levels.change("debug", None, "why not") == LogLevelStatus("debug", "warning", None)
    assert logging.getLogger().level == logging.DEBUG
    assert logging.getLogger("uvicorn").level == logging.WARNING
    assert levels.reset("enough").level == "warning"
    assert logging.getLogger().level == logging.WARNING


async def test_a_change_with_a_duration_falls_back(levels: LogLevels) -> None:
    """By itself, to the level of the settings; a later change counts instead."""
    assert levels.change("error", 60, "quiet").seconds_left == pytest.approx(60, abs=5)
    left = levels.change("debug", 0.02, "look").seconds_left
    assert left is not None
    assert left <= 0.1
    async with asyncio.timeout(30):
        while levels.status.level != "warning":  # noqa: ASYNC110 - the level has no event
            await asyncio.sleep(0.005)
    assert levels.status == LogLevelStatus("warning", "warning", None)


def test_a_change_is_told(levels: LogLevels) -> None:
    """What it is, what it was, for how long and why."""
    with capture_logs() as lines:
        levels.change("info", None, "asked for by ops")
    (line,) = lines
    assert line == {
        "event": "gateway.log_level_changed",
        "log_level": "info",
        "to": "info",
        "before": "warning",
        "seconds": None,
        "why": "asked for by ops",
    }


@pytest.mark.usefixtures("levels")
def test_frames_are_told_at_debug_alone() -> None:
    """The switch that is asked per frame follows the level."""
    sampling = Sampling(1)
    levels = LogLevels("warning", sampling)
    switches = [sampling.is_on]
    for level in ("debug", "info", "debug", "warning"):
        levels.change(level, None, "look")
        switches.append(sampling.is_on)
    assert switches == [False, True, False, True, False]


def test_one_in_so_many_of_each_kind_is_told() -> None:
    """A rare kind is told although another is frequent; the first always."""
    sampling = Sampling(3)
    assert [sampling.is_due("trade") for _ in range(7)] == [
        True, False, False, True, False, False, True,
    ]  # fmt: skip
    assert sampling.is_due("order")
    assert not sampling.is_due("order")
