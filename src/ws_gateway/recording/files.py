"""The files of a recording: begun, filled, closed by size or age, and removed when they are old.

All calls block: they belong in one thread.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from frame_recording.block import MAX_INDEX_BYTES, BlockKind, build_block
from frame_recording.reader import SUFFIX
from frame_recording.records import Header, Record, Tally, What, topic_of
from ws_gateway.recording.room import Room, Volume

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_encode_lines = msgspec.json.Encoder().encode_lines
_encode = msgspec.json.Encoder().encode
_NAMED = "%Y%m%dT%H%M%S.%fZ"
_LOCK = ".lock"


class FolderTaken(Exception):
    """Another process records into this folder."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a recording may become.

    Attributes:
        file_bytes: a file that reaches it is closed, and the next one is begun.
        file_seconds: the same by age.
        total_bytes: of all files in the folder; beyond it the oldest are removed.
    """

    file_bytes: int
    file_seconds: float
    total_bytes: int


class RecordingFiles:
    """Appends blocks of records to the newest file of a folder.

    Args:
        folder: where the files are; made if need be.
        limits: of the files.
        header: says what is recorded; `begun_at` is set anew for every file.
        clock_us: Unix µs.
        volume: what else has to find room there.

    Attributes:
        written_bytes: since the start.
        removed_files: since the start.
        room: of the volume, at the last look.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        header: Header,
        clock_us: Callable[[], int],
        volume: Volume,
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._header = header
        self._clock_us = clock_us
        self._volume = volume
        self._lock: int | None = None
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._begun = 0.0
        self._tally = Tally()
        self._has_records = False
        self.written_bytes = 0
        self.removed_files = 0
        self.room = Room(0, 0, 0)

    def claim(self) -> None:
        """Make the folder this process's own.

        Raises:
            OSError: it cannot be made or written to.
            FolderTaken: another process has it.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise FolderTaken from None

    def release(self) -> None:
        """Let others have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def is_due(self) -> bool:
        """Say whether a file must be begun before anything else is written."""
        if self._file is None or self._is_gone():
            return True
        is_old = time.monotonic() - self._begun >= self._limits.file_seconds
        return is_old or self._size >= self._limits.file_bytes

    def _is_gone(self) -> bool:
        """Say whether somebody has deleted or moved the present file, or put another there."""
        if self._file is None or self._path is None:
            return False
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file))
        except OSError:
            return True

    def begin(self, carried: Iterable[Record]) -> None:
        """Close the present file and begin the next one, with what the connections carry.

        Raises:
            OSError: the disk refused, has no room to spare, or the folder is another's now.
        """
        if self._is_gone():
            log.warning(
                "recording.file_gone", file=str(self._path), frames=self._tally.index().frames
            )
        self.close()
        self._hold()
        self._make_room(self._limits.file_bytes, is_beginning=True)
        at, path, file = self._create()
        self._path, self._file, self._size = path, file, 0
        self._begun = time.monotonic()
        self._tally = Tally()
        self._has_records = False
        header = msgspec.structs.replace(self._header, begun_at=at)
        self._append(build_block(BlockKind.HEADER, _encode(header) + b"\n", 1, at, at))
        records = list(carried)
        if records:
            self._add(records, _block_of(records, b"".join(map(line_of, records))))

    def _hold(self) -> None:
        """Have the folder, though somebody may have deleted it meanwhile."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat((self._folder / _LOCK).stat(), os.fstat(self._lock)):
                    return
        self.release()
        try:
            self.claim()
        except FolderTaken:
            raise OSError(errno.EBUSY, "another process records into it") from None

    def write(self, records: list[Record], lines: bytes) -> None:
        """Append a block; a block that could be written in part only is taken back.

        Args:
            records: at least one.
            lines: the same, encoded.

        Raises:
            OSError: the disk refused.
        """
        block = _block_of(records, lines)
        self._make_room(len(block))
        self._add(records, block)
        self._has_records = True

    def _add(self, records: list[Record], block: bytes) -> None:
        self._append(block)
        for record in records:
            topic = topic_of(record.raw) if record.what is What.RECEIVED else ""
            self._tally.note(record, topic)

    def close(self) -> None:
        """End the present file with its index; without room it ends without.

        One that holds nothing is removed, so that a disk that refuses for hours leaves no heap of
        them.
        """
        if self._file is None:
            return
        try:
            if self._has_records:
                self._end()
            elif self._path is not None and not self._is_gone():
                self._path.unlink()
        except OSError as exc:
            log.warning("recording.index_missing", file=str(self._path), why=str(exc))
        finally:
            self.abandon()

    def _end(self) -> None:
        index = self._tally.index()
        lines = _encode(index) + b"\n"
        if len(lines) > MAX_INDEX_BYTES:
            raise OSError(errno.EFBIG, f"it would have {len(lines)} bytes")
        self._append(build_block(BlockKind.INDEX, lines, 1, index.first, index.last))

    def abandon(self) -> None:
        """Let the present file be as it is."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a disk that fails at close has failed before
                os.close(self._file)
        self._file = self._path = None

    def _create(self) -> tuple[int, Path, int]:
        """Make a file whose name, and time, come after all that are there, whatever the clock says.

        So a clock that is set back upsets neither which file is the oldest, nor their order in a
        replay.
        """
        at = max([self._clock_us(), *(_moment(path) + 1 for path in self._finished())])
        while True:
            path = self._folder / f"{datetime.fromtimestamp(at / 1e6, tz=UTC):{_NAMED}}{SUFFIX}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                return at, path, os.open(path, flags, 0o600)
            except FileExistsError:
                at += 1

    def _append(self, block: bytes) -> None:
        assert self._file is not None  # noqa: S101 - `begin` comes first
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
                os.lseek(self._file, self._size, os.SEEK_SET)
            raise
        self._size += len(block)
        self.written_bytes += len(block)

    def _make_room(self, size: int, *, is_beginning: bool = False) -> None:
        """Remove the oldest files, as far as their bound or the others on the volume ask for it.

        Args:
            size: bytes that are to be written; of a file that is begun, the whole of it.
            is_beginning: the newest file stays then, for nothing may come after it.

        Raises:
            OSError: without them there is still no room to spare.
        """
        sizes = {path: _size_of(path) for path in self._finished()}
        total = sum(sizes.values()) + (self._size if self._file is not None else 0)
        total += 0 if is_beginning else size
        files, most = list(sizes), self._limits.total_bytes
        while files and total > most:
            total -= sizes[files[0]]
            self._remove(files.pop(0), f"all files together reached {most:,} bytes")
        self.room = self._volume.look()
        spared = 1 if is_beginning else 0
        while self.room.lacking(size) > 0:
            why = self.room.words(size)
            if len(files) <= spared or self.room.kept + size > self.room.total:
                raise OSError(errno.ENOSPC, why)  # or no file that is removed could help
            self._remove(files.pop(0), why)
            self.room = self._volume.look()

    def _finished(self) -> list[Path]:
        """List the files that are not written to any more, the oldest first."""
        return [path for path in sorted(self._folder.glob(f"*{SUFFIX}")) if path != self._path]

    def _remove(self, path: Path, why: str) -> None:
        size = _size_of(path)
        path.unlink(missing_ok=True)
        self.removed_files += 1
        log.info("recording.oldest_removed", file=path.name, size=size, why=why)


def line_of(record: Record) -> bytes:
    """Encode one record."""
    return _encode(record) + b"\n"


def lines_of(records: list[Record]) -> bytes:
    """Encode records, a line each."""
    lines = _encode_lines(records)
    return lines if lines.endswith(b"\n") else lines + b"\n"


def _block_of(records: list[Record], lines: bytes) -> bytes:
    times = [record.at for record in records]
    return build_block(BlockKind.RECORDS, lines, len(records), min(times), max(times))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # somebody removed it just now


def _moment(path: Path) -> int:
    """Read when a file was begun out of its name, Unix µs; 0 if somebody renamed it."""
    try:
        moment = datetime.strptime(path.name.removesuffix(SUFFIX), _NAMED).replace(tzinfo=UTC)
    except ValueError:
        return 0
    return round(moment.timestamp() * 1e6)
