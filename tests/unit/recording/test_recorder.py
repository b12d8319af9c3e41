"""The recorder: rotation, bounds, secrets, and a disk or a thread that does not keep up."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from frame_recording import RecordedFile, What, find_files, read_records, summarise
from frame_recording.block import MAX_FRAME_BYTES
from support.needs import skip_without
from support.outages import small_disk
from support.programs import crowd
from support.recording_stage import (
    PATH,
    frame,
    open_line,
    recorded,
    recorder_into,
    recording,
)
from support.recording_stage import until_thread as until
from ws_gateway.errors import ConfigError
from ws_gateway.recording.files import Limits
from ws_gateway.recording.recorder import without_secrets


def test_a_recording_tells_frames_requests_and_the_end_in_order(tmp_path: Path) -> None:
    """With the connection's path, and an index that counts by topic."""
    with recording(tmp_path) as recorder:
        line = open_line(recorder)
        line.sent(b'{"op":"subscribe","req_id":"1","args":["orderbook.50.BTCUSDT"]}', 2)
        line.received(frame(1), 3)
        line.received(b"\xff\xfe", 4)
        line.closed("pong: no pong in 10 s", 5)
    found = recorded(tmp_path)
    assert [one.what for one in found] == [
        What.OPENED, What.SENT, What.RECEIVED, What.RECEIVED, What.CLOSED,
    ]  # fmt: skip
    assert found[0].path == PATH
    assert [one.raw for one in found[2:4]] == [frame(1), b"\xff\xfe"]
    assert found[4].detail == "pong: no pong in 10 s"
    (path,) = find_files([tmp_path])
    summary = summarise(path)
    assert summary.is_closed
    assert summary.index.connections["linear"].topics == {"orderbook.50.BTCUSDT": 1, "": 1}
    assert path.stat().st_mode & 0o077 == 0, "others may read it"


def test_of_a_login_nothing_is_kept_but_that_it_was_one(tmp_path: Path) -> None:
    """Key, expiry and signature stay out of the file."""
    with recording(tmp_path, is_private=True) as recorder:
        line = recorder.open_line("private", "/v5/private", 1, is_private=True)
        assert line is not None
        line.sent(b'{"req_id":"1","op":"auth","args":["the-key",1700000000000,"the-sign"]}', 2)
    sent = recorded(tmp_path)[1]
    assert json.loads(sent.raw) == {"req_id": "1", "op": "auth", "args": ["redacted"]}


def test_private_connections_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    """Their frames tell of orders and balances."""
    with recording(tmp_path) as recorder:
        assert recorder.open_line("private", "/v5/private", 1, is_private=True) is None


def test_files_are_closed_by_size_and_the_next_says_what_is_carried(tmp_path: Path) -> None:
    """Nothing is lost between them, and each tells the topics of its connections."""
    limits = Limits(file_bytes=100_000, file_seconds=3600, total_bytes=10**9)
    with recording(tmp_path, limits) as recorder:
        line = open_line(recorder)
        line.sent(b'{"op":"subscribe","args":["orderbook.50.BTCUSDT","tickers.BTCUSDT"]}', 2)
        line.sent(b'{"op":"unsubscribe","args":["tickers.BTCUSDT"]}', 3)
        for number in range(4000):
            line.received(frame(number, 1000), 10 + number)
    files = find_files([tmp_path])
    assert len(files) > 2
    found = recorded(tmp_path)
    assert [one.at for one in found if one.what is What.RECEIVED] == list(range(10, 4010))
    carried = [one for one in found if one.what is What.CARRIED]
    assert len(carried) == len(files) - 1
    assert {one.topics for one in carried} == {("orderbook.50.BTCUSDT",)}


def test_files_are_closed_by_age(tmp_path: Path) -> None:
    """A quiet hour does not grow one file for ever."""
    limits = Limits(file_bytes=10**8, file_seconds=0.5, total_bytes=10**9)
    with recording(tmp_path, limits) as recorder:
        line = open_line(recorder)
        for number in range(2):
            line.received(frame(number), 10 + number)
            until(lambda: len(list(tmp_path.glob("*.zst"))) > number)  # noqa: B023
            until(lambda: recorder.tally.written == number + 1)  # noqa: B023
            time.sleep(0.6)
    assert len(find_files([tmp_path])) == 2


def test_the_oldest_files_are_removed_and_that_is_logged(tmp_path: Path) -> None:
    """The bound of all holds, and what is left is the newest."""
    limits = Limits(file_bytes=100_000, file_seconds=3600, total_bytes=1_500_000)
    with capture_logs() as logs, recording(tmp_path, limits) as recorder:
        line = open_line(recorder)
        for number in range(10_000):
            line.received(frame(number, 1000), 10 + number)
    files = find_files([tmp_path])
    assert sum(path.stat().st_size for path in files) <= limits.total_bytes + 1000  # the last index
    removed = [one for one in logs if one["event"] == "recording.oldest_removed"]
    assert removed
    told = [one.at for one in recorded(tmp_path) if one.what is What.RECEIVED]
    assert told == list(range(told[0], 10_010))


def test_frames_of_many_megabytes_are_read_again(tmp_path: Path) -> None:
    """However many wait at once, and however much longer they are in JSON."""
    with recording(tmp_path) as recorder:
        line = open_line(recorder)
        for number in range(6):
            line.received(b"\x01" * 2_000_000, 10 + number)
        until(lambda: recorder.tally.written == 6)
    told = [one for one in recorded(tmp_path) if one.what is What.RECEIVED]
    assert [one.at for one in told] == list(range(10, 16))
    assert {len(one.raw) for one in told} == {2_000_000}


def test_what_finds_no_room_in_memory_stands_in_the_recording_as_a_hole(tmp_path: Path) -> None:
    """The caller never waits; count and times of what is missing are in its place."""
    recorder = recorder_into(tmp_path, buffer_bytes=100_000)
    line = open_line(recorder)  # nobody writes yet
    for number in range(1000):
        line.received(frame(number), 10 + number)
    missed = recorder.tally.missed
    assert missed
    recorder.start()
    until(lambda: not recorder._intake.buffer)
    line.received(frame(1), 5000)
    recorder.close()
    found = recorded(tmp_path)
    (hole,) = [one for one in found if one.what is What.HOLE]
    told = [one for one in found if one.what is What.RECEIVED]
    assert len(told) + hole.frames == 1001
    assert hole.frames == missed
    assert (hole.at, hole.until) == (10 + 1000 - missed, 1009)
    assert found.index(hole) == len(found) - 2


def test_a_full_disk_costs_frames_of_the_recording_and_nobody_else_anything(
    tmp_path: Path,
) -> None:
    """The caller does not notice; when there is room again the hole is told, and it goes on."""
    folder = tmp_path / "small"
    try:
        disk = small_disk(folder)
        disk.__enter__()
    except PermissionError as exc:
        skip_without("mount", str(exc))
    try:
        with capture_logs() as logs, recording(folder) as recorder:
            line = open_line(recorder)
            line.received(frame(0), 9)
            until(lambda: recorder.tally.written == 1)
            (folder / "ballast").write_bytes(b"x" * 350_000)
            longest, number = 0.0, 0
            while recorder.tally.error is None:
                began = time.perf_counter()
                line.received(frame(number, 2000), 10 + number)
                longest = max(longest, time.perf_counter() - began)
                number += 1
                time.sleep(0.0005)
                assert number < 20_000
            assert longest < 0.5 * crowd()
            (folder / "ballast").unlink()
            recorder._failed_at = 0.0  # the pause before the next try is over
            line.received(frame(1), 10**6)
            until(lambda: recorder.tally.error is None)
        found = recorded(folder)
        holes = [one for one in found if one.what is What.HOLE]
        told = sum(one.what is What.RECEIVED for one in found)
        assert sum(one.frames for one in holes) == recorder.tally.unwritten > 0
        assert told + recorder.tally.unwritten == number + 2
        assert "No space left" in holes[0].detail
        words = [one["event"] for one in logs]
        assert words.count("recording.failed") == words.count("recording.resumed") == 1
        assert all(summarise(path).fault is None for path in find_files([folder]))
    finally:
        disk.__exit__(None, None, None)


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    """A second one is refused in words, for each would remove the other's files."""
    with recording(tmp_path), pytest.raises(ConfigError, match="another process records into"):
        recorder_into(tmp_path).start()
    with recording(tmp_path):
        pass  # it is free again


def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    """At the start, not in the middle of the night."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="WSG_RECORD_DIR"):
        recorder_into(tmp_path / "file" / "inside").start()


def test_closing_leaves_no_thread(tmp_path: Path) -> None:
    """Whatever was recorded."""
    with recording(tmp_path) as recorder:
        open_line(recorder)
    assert "recorder" not in {thread.name for thread in threading.enumerate()}


def test_a_login_of_any_form_leaves_no_secret(tmp_path: Path) -> None:
    """Not even one that is no JSON, which none of ours is; and nothing is raised for it."""
    for raw in (
        b'{"op":"auth","req_id":"7","args":["the-key",1,"the-sign"]}',
        b'{"req_id":7,"op": "auth","args":["the-key",1,"the-sign"]}',
        b'{"op":"auth","args":["the-key",1,"the-sign"',
        b'["auth","the-key","the-sign"]',
    ):
        kept = without_secrets(raw)
        assert b"the-" not in kept
        assert json.loads(kept)["op"] == "auth"


@pytest.mark.usefixtures("brisk")
def test_a_private_connection_is_told_with_its_account(tmp_path: Path) -> None:
    """By name, when it is opened and when it is carried; the header names all."""
    limits = Limits(file_bytes=1, file_seconds=3600, total_bytes=10**9)
    with recording(tmp_path, limits, is_private=True) as recorder:
        first = recorder.open_line("private", "/v5/private", 1, is_private=True)
        other = recorder.open_line("private@hedge", "/v5/private", 1, is_private=True,
                                   account="hedge")  # fmt: skip
        public = open_line(recorder)
        assert first is not None
        assert other is not None
        public.received(b"{}", 2)
        until(lambda: recorder.tally.written == 1)
        other.received(b"{}", 3)
    whose = {"linear": "", "private": "main", "private@hedge": "hedge"}
    for path in find_files([tmp_path]):
        assert RecordedFile(path).header.accounts == ("main", "hedge")
        told = {one.connection: one.account for one in read_records([path]) if one.path}
        assert told == whose
        index = summarise(path).index
        assert {name: one.account for name, one in index.connections.items()} == whose


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("how", ["deleted", "moved", "replaced", "deleted with its folder"])
def test_the_newest_file_that_is_taken_away_is_followed_by_another(
    tmp_path: Path, how: str
) -> None:
    """Nothing is written where nobody finds it; that it is gone is logged."""
    folder = tmp_path / "frames"
    with capture_logs() as logs, recording(folder) as recorder:
        line = open_line(recorder)
        line.sent(b'{"op":"subscribe","args":["tickers.BTCUSDT"]}', 2)
        line.received(frame(1), 3)
        until(lambda: recorder.tally.written == 2)
        (first,) = find_files([folder])
        if how == "moved":
            first.rename(tmp_path / "kept.frames.zst")
        elif how == "deleted with its folder":
            shutil.rmtree(folder)
        else:
            first.unlink()
        if how == "replaced":
            first.write_bytes(b"of somebody else")
        line.received(frame(2), 4)
        until(lambda: recorder.tally.written == 3)
    if how == "replaced":
        assert first.read_bytes() == b"of somebody else"
        first.unlink()
    (second,) = find_files([folder])
    carried, told = RecordedFile(second).records()
    assert (carried.what, carried.topics) == (What.CARRIED, ("tickers.BTCUSDT",))
    assert told.at == 4
    (line_,) = [one for one in logs if one["event"] == "recording.file_gone"]
    assert (line_["file"], line_["frames"]) == (str(first), 2)
    assert "recording.failed" not in {one["event"] for one in logs}
    if how == "moved":
        assert summarise(tmp_path / "kept.frames.zst").is_closed


@pytest.mark.usefixtures("brisk")
def test_a_clock_that_is_set_back_upsets_neither_age_nor_order(tmp_path: Path) -> None:
    """The oldest file is that which was begun first, and a replay reads them as they were made."""
    times = iter(range(10**15, 0, -3_600_000_000))
    limits = Limits(file_bytes=1, file_seconds=3600, total_bytes=10**9)
    with recording(tmp_path, limits, clock_us=lambda: next(times)) as recorder:
        line = open_line(recorder)
        for number in range(4):
            line.received(frame(number), 100 - number)
            until(lambda: recorder.tally.written == number + 1)  # noqa: B023
    files = find_files([tmp_path])
    assert len(files) == 4
    told = [[one.at for one in RecordedFile(path).records() if one.text] for path in files]
    assert told == [[100], [99], [98], [97]]
    assert [one.at for one in recorded(tmp_path) if one.text] == [100, 99, 98, 97]


@pytest.mark.usefixtures("brisk")
def test_a_file_says_of_a_connection_that_ended_in_its_first_second_what_it_carried(
    tmp_path: Path,
) -> None:
    """Else frames at its beginning would be nobody's, if the file before is gone."""
    limits = Limits(file_bytes=1, file_seconds=3600, total_bytes=10**9)
    with recording(tmp_path, limits) as recorder:
        line = open_line(recorder)
        line.sent(b'{"op":"subscribe","args":["tickers.BTCUSDT"]}', 2)
        until(lambda: recorder.tally.written == 1)
        line.received(frame(1), 3)
        line.sent(b'{"op":"unsubscribe","args":["tickers.BTCUSDT"]}', 4)
        line.closed("stopped", 5)
    _, second = find_files([tmp_path])
    told = list(RecordedFile(second).records())
    assert (told[0].what, told[0].topics) == (What.CARRIED, ("tickers.BTCUSDT",))
    assert [one.what for one in told[1:]] == [What.RECEIVED, What.SENT, What.CLOSED]


def test_what_is_opened_and_asked_for_while_memory_is_full_is_recorded_all_the_same(
    tmp_path: Path,
) -> None:
    """Else everything that comes over that connection later would be nobody's."""
    recorder = recorder_into(tmp_path, buffer_bytes=20_000)
    line = open_line(recorder)  # nobody writes yet
    for number in range(100):
        line.received(frame(number), 10 + number)
    assert recorder.tally.missed
    line.closed("pong", 200)
    again = open_line(recorder)
    again.sent(b'{"op":"subscribe","args":["tickers.BTCUSDT"]}', 201)
    again.received(frame(0), 202)
    recorder.start()
    until(lambda: not recorder._intake.buffer)
    again.received(frame(1), 300)
    recorder.close()
    told = [one.what for one in recorded(tmp_path) if one.what is not What.RECEIVED]
    assert told == [
        What.OPENED, What.HOLE, What.CLOSED, What.OPENED, What.SENT, What.HOLE,
    ]  # fmt: skip


def test_a_frame_too_large_to_keep_stands_there_as_a_hole(tmp_path: Path) -> None:
    """The largest that is kept is read again, though it were no UTF-8."""
    with recording(tmp_path) as recorder:
        line = open_line(recorder)
        line.received(b"\xff" * MAX_FRAME_BYTES, 10)
        line.received(b"\xff" * (MAX_FRAME_BYTES + 1), 11)
        line.received(b"{}", 12)
        until(lambda: recorder.tally.written == 2)
    kept, hole, rest = recorded(tmp_path)[1:]
    assert len(kept.raw) == MAX_FRAME_BYTES
    assert (hole.what, hole.frames, hole.at) == (What.HOLE, 1, 11)
    assert rest.raw == b"{}"
    assert recorder.tally.unwritten == 1
