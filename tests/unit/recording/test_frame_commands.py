"""What `record` and `replay` refuse, in words, before they do anything."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from frame_recording.records import Record, What
from support.memory_outlet import MemoryOutlet
from support.recording_stage import Replayed, open_line, recording, replayed
from ws_gateway.errors import ConfigError
from ws_gateway.frame_commands import moment
from ws_gateway.record import RecordOptions, run_record
from ws_gateway.replay.command import (
    STDOUT,
    ReplayOptions,
    _LateClock,
    _Pace,
    _play,
    _Way,
    run_replay,
)
from ws_gateway.replay.listing import listed
from ws_gateway.settings_source import load_settings


@pytest.mark.parametrize(
    ("topics", "with_private", "words"),
    [
        (["linear:nothing.BTCUSDT"], False, "name a topic of Bybit"),
        (["nothing.BTCUSDT"], False, "behind its category and a colon"),
        (["nowhere:tickers.BTCUSDT"], False, "'nowhere' is no category; write CATEGORY:TOPIC"),
        (["order"], False, "add --private"),
        ([], True, "private topics need key and secret"),
        ([], False, "names no topic"),
    ],
)
async def test_record_refuses_what_it_cannot_record(
    tmp_path: Path, topics: list[str], words: str, *, with_private: bool
) -> None:
    """One sentence with what to do, and no folder is made."""
    options = RecordOptions(topics, tmp_path / "frames", with_private, 1.0)
    with pytest.raises(ConfigError, match=words):
        await run_record(load_settings({}), options, asyncio.Event())
    assert not options.folder.exists()


@pytest.mark.parametrize(
    ("account", "with_private", "words"),
    [
        ("hedge", True, "found 'hedge'; name one of the settings: main"),
        ("main", False, "--account: goes with --private alone"),
    ],
)
async def test_record_refuses_an_account_it_cannot_record(
    tmp_path: Path, account: str, words: str, *, with_private: bool
) -> None:
    """One that is not there, and one whose frames would not be recorded."""
    settings = load_settings({"WSG_BYBIT_API_KEY": "k", "WSG_BYBIT_API_SECRET": "s"})
    options = RecordOptions(
        ["linear:tickers.BTCUSDT"], tmp_path / "frames", with_private, 1.0, [account]
    )
    with pytest.raises(ConfigError, match=words):
        await run_record(settings, options, asyncio.Event())
    assert not options.folder.exists()


@pytest.mark.parametrize(
    ("name", "to", "words"),
    [
        ("nowhere", STDOUT, "no such file or folder"),
        ("empty.frames.zst", STDOUT, "it is empty"),
        ("text", STDOUT, "no part of a recording"),
        ("folder", STDOUT, "no file in it ends in .frames.zst"),
        ("text", "ws-gateway", "is the prefix of the live gateway"),
    ],
)
async def test_replay_refuses_what_it_cannot_replay(
    tmp_path: Path, name: str, to: str, words: str
) -> None:
    """And never publishes to the live prefix unless it is told to."""
    (tmp_path / "empty.frames.zst").write_bytes(b"")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "folder").mkdir()
    options = ReplayOptions([tmp_path / name], None, None, 0.0, to, is_live_allowed=False)
    with pytest.raises(ConfigError, match=words):
        await run_replay(load_settings({}), options, asyncio.Event())


def test_a_list_shows_what_cannot_be_read_beside_the_rest(tmp_path: Path) -> None:
    """It is there to find out."""
    (tmp_path / "a.frames.zst").write_bytes(b"")
    (tmp_path / "b.frames.zst").write_text("hello")
    lines = list(listed([tmp_path], None, None, as_json=False))
    assert any("it is empty" in line for line in lines)
    assert any("no part of a recording" in line for line in lines)


async def test_a_span_in_which_nothing_was_recorded_names_the_span_that_was(
    tmp_path: Path,
) -> None:
    """Both `--list` and a replay: neither prints nothing and calls that well."""
    with recording(tmp_path) as recorder:
        line = recorder.open_line("linear", "/v5/public/linear", 1_000_000, is_private=False)
        assert line is not None
        line.received(b"{}", 2_000_000)
    words = "leave nothing of what is recorded: 1970-01-01T00:00:01.*to 1970-01-01T00:00:02"
    assert list(listed([tmp_path], 1_000_000, None, as_json=False))
    with pytest.raises(ConfigError, match=words):
        list(listed([tmp_path], 60_000_000, None, as_json=False))
    options = ReplayOptions([tmp_path], 60_000_000, None, 0.0, STDOUT, is_live_allowed=False)
    with pytest.raises(ConfigError, match=words):
        await run_replay(load_settings({}), options, asyncio.Event())


def test_a_time_without_a_zone_is_utc() -> None:
    """And what is no time is refused with an example."""
    assert moment("--from", "1970-01-01T00:00:01") == moment("--from", "1970-01-01T01:00:01+01:00")
    assert moment("--from", "1970-01-01T00:00:01Z") == 1_000_000
    with pytest.raises(ConfigError, match="write it like 2026-"):
        moment("--from", "yesterday")


async def test_ctrl_c_ends_a_replay_in_the_middle_of_a_long_pause(tmp_path: Path) -> None:
    """Not at the next record, which may be an hour away."""
    with recording(tmp_path) as recorder:
        line = open_line(recorder)
        line.received(b'{"op":"pong"}', 2)
        line.received(b'{"op":"pong"}', 3_600_000_000)
    stop = asyncio.Event()
    options = ReplayOptions([tmp_path], None, None, 1.0, STDOUT, is_live_allowed=False)
    running = asyncio.create_task(run_replay(load_settings({}), options, stop))
    await asyncio.sleep(0.3)
    assert not running.done()
    stop.set()
    await asyncio.wait_for(running, 20)


async def test_ctrl_c_ends_a_replay_before_a_broker_that_takes_nothing() -> None:
    """What it was given is waited for; nothing more is."""
    stop = asyncio.Event()
    found = Replayed()
    way = _Way(MemoryOutlet(), found, lambda: True, found.counters, _LateClock())
    player = replayed([]).player
    record = Record(1, What.OPENED, "linear", path="/v5/public/linear")
    playing = asyncio.create_task(_play(record, player, _Pace(0, stop), way))
    await asyncio.sleep(0.1)
    assert not playing.done()
    stop.set()
    await asyncio.wait_for(playing, 20)
    assert player.now_us == 0, "it was played"


async def test_a_replay_keeps_its_pace_across_a_clock_that_was_set_back() -> None:
    """What came in the hour that was told twice is not played at once."""
    pace = _Pace(1.0, asyncio.Event())
    for at in (3_600_000_000, 5):
        await pace.wait(at)
    began = time.monotonic()
    await pace.wait(400_005)
    assert time.monotonic() - began >= 0.35


async def test_a_replay_says_how_many_sent_frames_are_no_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And goes on behind them."""
    with recording(tmp_path) as recorder:
        line = open_line(recorder)
        line.sent(b"no json", 2)
        line.received(b'{"op":"pong"}', 3)
    options = ReplayOptions([tmp_path], None, None, 0.0, STDOUT, is_live_allowed=False)
    await run_replay(load_settings({}), options, asyncio.Event())
    said = capsys.readouterr().err
    assert "1 sent frames are no requests" in said
    assert "replayed 1 frames" in said


def test_a_list_shows_nothing_that_a_terminal_would_obey(tmp_path: Path) -> None:
    """The file may be a stranger's."""
    with recording(tmp_path) as recorder:
        line = recorder.open_line("\x1b[2Jlinear", "/v5/\x07", 1, is_private=False)
        assert line is not None
        line.received(b"{}", 2)
    told = "".join(listed([tmp_path], None, None, as_json=False))
    assert "?[2Jlinear /v5/?" in told
    assert told.isprintable()
