"""What `record` and `replay` refuse, in words, before they do anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.recording_stage import recording
from ws_gateway.errors import ConfigError
from ws_gateway.frame_commands import moment
from ws_gateway.record import RecordOptions, run_record
from ws_gateway.replay.command import STDOUT, ReplayOptions, run_replay
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
