"""The files of a recording: begun, filled, closed by size or age, and removed when they are old.

All calls block: they belong in one thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from frame_recording.block import BlockKind, build_block
from frame_recording.reader import SUFFIX
from frame_recording.records import Header, Record, Tally, What, topic_of

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_encode_lines = msgspec.json.Encoder().encode_lines
_encode = msgspec.json.Encoder().encode


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

    Attributes:
        written_bytes: since the start.
        removed_files: since the start.
    """

    def __init__(
        self, folder: Path, limits: Limits, header: Header, clock_us: Callable[[], int]
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._header = header
        self._clock_us = clock_us
        self._lock: int | None = None
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._begun = 0.0
        self._tally = Tally()
        self.written_bytes = 0
        self.removed_files = 0

    def claim(self) -> None:
        """Make the folder this process's own.

        Raises:
            OSError: it cannot be made or written to.
            FolderTaken: another process has it.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
        if self._file is None:
            return True
        is_old = time.monotonic() - self._begun >= self._limits.file_seconds
        return is_old or self._size >= self._limits.file_bytes

    def begin(self, carried: Iterable[Record]) -> None:
        """Close the present file and begin the next one, with what the connections carry.

        Raises:
            OSError: the disk refused.
        """
        self.close()
        self._make_room(0)
        path, file = self._create()
        self._path, self._file, self._size = path, file, 0
        self._begun = time.monotonic()
        self._tally = Tally()
        now = self._clock_us()
        header = msgspec.structs.replace(self._header, begun_at=now)
        self._append(build_block(BlockKind.HEADER, _encode(header) + b"\n", 1, now, now))
        records = list(carried)
        if records:
            self.write(records, b"".join(map(line_of, records)))

    def write(self, records: list[Record], lines: bytes) -> None:
        """Append a block; a block that could be written in part only is taken back.

        Args:
            records: at least one.
            lines: the same, encoded.

        Raises:
            OSError: the disk refused.
        """
        times = [record.at for record in records]
        block = build_block(BlockKind.RECORDS, lines, len(records), min(times), max(times))
        self._make_room(len(block))
        self._append(block)
        for record in records:
            topic = topic_of(record.raw) if record.what is What.RECEIVED else ""
            self._tally.note(record, topic)

    def close(self) -> None:
        """End the present file with its index; without room it ends without."""
        if self._file is None:
            return
        index = self._tally.index()
        try:
            block = build_block(BlockKind.INDEX, _encode(index) + b"\n", 1, index.first, index.last)
            self._append(block)
        except OSError as exc:
            log.warning("recording.index_missing", file=str(self._path), why=str(exc))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let the present file be as it is."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a disk that fails at close has failed before
                os.close(self._file)
        self._file = self._path = None

    def _create(self) -> tuple[Path, int]:
        at = self._clock_us()
        while True:
            moment = datetime.fromtimestamp(at / 1e6, tz=UTC)
            path = self._folder / f"{moment:%Y%m%dT%H%M%S.%f}Z{SUFFIX}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                return path, os.open(path, flags, 0o600)
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

    def _make_room(self, size: int) -> None:
        """Remove the oldest files as far as the bound of all asks for it."""
        files = [path for path in sorted(self._folder.glob(f"*{SUFFIX}")) if path != self._path]
        sizes = {path: path.stat().st_size for path in files}
        own = self._size if self._file is not None else 0
        total = sum(sizes.values()) + own + size
        for path in files:
            if total <= self._limits.total_bytes:
                return
            path.unlink()
            total -= sizes[path]
            self.removed_files += 1
            log.info(
                "recording.oldest_removed",
                file=path.name,
                size=sizes[path],
                most=self._limits.total_bytes,
            )


def line_of(record: Record) -> bytes:
    """Encode one record."""
    return _encode(record) + b"\n"


def lines_of(records: list[Record]) -> bytes:
    """Encode records, a line each."""
    lines = _encode_lines(records)
    return lines if lines.endswith(b"\n") else lines + b"\n"
