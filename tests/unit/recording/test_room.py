"""What a recording leaves on its volume for private facts, and what becomes of it there."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from frame_recording import What, find_files, read_records
from support.outages import small_disk
from support.recording_stage import frame, open_line, recorded, recording, until_thread
from ws_gateway.recording.files import Limits
from ws_gateway.recording.room import Neighbour, Volume

pytestmark = pytest.mark.usefixtures("brisk")

KEPT, OWED = 50_000, 100_000
SLACK = 16_384
"""Of a few pages that are not full, and an index."""
SMALL = Limits(file_bytes=30_000, file_seconds=3600, total_bytes=10**9)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk of 400 kB."""
    folder = tmp_path / "small"
    try:
        disk = small_disk(folder)
        disk.__enter__()
    except PermissionError as exc:
        pytest.skip(str(exc))
    try:
        yield folder
    finally:
        disk.__exit__(None, None, None)


def noise(number: int, size: int) -> bytes:
    """Make a frame that does not compress by more than a quarter."""
    return b'{"data":"%b"}' % b64encode(Random(number).randbytes(size * 3 // 4))


def free(folder: Path) -> int:
    """Return the bytes that are free."""
    told = os.statvfs(folder)
    return told.f_bavail * told.f_frsize


def test_a_recording_on_the_volume_of_the_spool_leaves_the_spool_its_room(disk: Path) -> None:
    """The oldest files give way; when there are none it pauses, says why, and goes on later."""
    volume = Volume(disk, keep_free=KEPT, neighbours=[Neighbour(disk / "spool", lambda: OWED)])
    with capture_logs() as logs, recording(disk, SMALL, volume=volume) as recorder:
        line, number = open_line(recorder), 0

        def more(count: int) -> None:
            nonlocal number
            for _ in range(count):
                number += 1
                line.received(noise(number, 20_000), number)
                until_thread(lambda: _told(recorder) >= number)  # noqa: B023
                assert free(disk) >= KEPT + OWED - SLACK

        more(40)
        assert recorder.tally.error is None
        assert recorder.tally.removed_files > 0
        told = [one.at for one in recorded(disk) if one.what is What.RECEIVED]
        assert told == list(range(told[0], number + 1))
        assert recorder.tally.kept_bytes == KEPT + OWED
        assert recorder.tally.free_bytes >= KEPT + OWED - SLACK

        before = recorder.tally.removed_files
        for each in ("of somebody else", "more of it"):  # whom files make room for, then cannot
            assert recorder.tally.error is None
            (disk / each).write_bytes(b"x" * (free(disk) - 20_000))
            number += 1
            line.received(noise(number, 20_000), number)
            until_thread(lambda: _told(recorder) >= number)  # noqa: B023
        assert "stay free" in str(recorder.tally.error)
        assert recorder.tally.removed_files > before
        assert len(find_files([disk])) == 1, "the newest stays"

        (disk / "of somebody else").unlink()
        recorder._failed_at = 0.0  # the pause before the next try is over
        line.received(noise(2, 20_000), number + 1)
        until_thread(lambda: recorder.tally.error is None)
    (hole,) = [one for one in recorded(disk) if one.what is What.HOLE]
    assert "stay free" in hole.detail
    words = [one["event"] for one in logs]
    assert words.count("recording.failed") == words.count("recording.resumed") == 1


def _told(recorder: object) -> int:
    return recorder.tally.written + recorder.tally.unwritten  # type: ignore[attr-defined, no-any-return]


def test_from_a_volume_that_is_too_small_altogether_nothing_is_removed(tmp_path: Path) -> None:
    """It would help nobody, and what was recorded before a change of settings is of use."""
    with recording(tmp_path) as recorder:
        open_line(recorder).received(frame(1), 1)
    with recording(tmp_path) as recorder:
        open_line(recorder).received(frame(2), 2)
    before = find_files([tmp_path])
    assert len(before) == 2
    with recording(tmp_path, volume=Volume(tmp_path, keep_free=10**18)) as recorder:
        open_line(recorder).received(frame(3), 3)
        until_thread(lambda: recorder.tally.error is not None)
        assert "stay free" in str(recorder.tally.error)
    assert find_files([tmp_path]) == before


def test_a_spool_on_another_volume_is_owed_nothing(tmp_path: Path) -> None:
    """One that is not made yet counts where it will be."""
    other = Path("/dev/shm")  # noqa: S108 - another volume, which nothing is written to
    if not other.exists() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs two volumes")
    here = Neighbour(tmp_path / "not" / "yet", lambda: 1000)
    there = Neighbour(other / "not" / "yet", lambda: 10**18)
    over = Neighbour(tmp_path, lambda: -5)  # a spool that is over its bound for a moment
    room = Volume(tmp_path, keep_free=7, neighbours=[here, there, over]).look()
    assert room.kept == 1007
    assert Volume(tmp_path).look().lacking(10**18) == 0


def test_a_full_disk_leaves_no_heap_of_files_that_hold_nothing(disk: Path) -> None:
    """Hours of tries every 5 s, and what is missing is counted once."""
    with recording(disk) as recorder:
        line = open_line(recorder)
        line.received(frame(0), 9)
        until_thread(lambda: recorder.tally.written == 1)
        (disk / "ballast").write_bytes(b"x" * (free(disk) - 12_000))  # a header finds room
        for number in range(6):
            recorder._failed_at = None
            line.received(noise(number, 60_000), 10 + number)
            until_thread(lambda: recorder.tally.unwritten == number + 1)  # noqa: B023
        assert len(find_files([disk])) == 1
        (disk / "ballast").unlink()
        recorder._failed_at = None
        line.received(frame(1), 100)
        until_thread(lambda: recorder.tally.error is None)
    (hole,) = [one for one in recorded(disk) if one.what is What.HOLE]
    assert (hole.frames, hole.at, hole.until) == (6, 10, 15)
    assert len(list(read_records(find_files([disk])))) == 5  # opened, two frames, hole, carried
