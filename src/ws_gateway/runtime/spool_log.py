"""Messages on disk, oldest first: segments that are only appended to, read once, and deleted.

A segment is a file of records (spool_format.py). Whoever holds the log tells by `acknowledge` how
far the broker answered; that is kept in a file of its own, so that after a crash only what was not
answered for comes again. All calls block: they belong in one thread.

Data are handed to the operating system at once, so they survive the death of the process, and
forced to the disk once a second at most: a power cut may cost the last second, a sync per record
would cost more than the broker's own.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from ws_gateway.runtime.spool_format import (
    Batch,
    Opened,
    Position,
    Record,
    Segment,
    encode,
    encode_mark,
    parse,
    read_mark,
)

_SYNC_SECONDS = 1.0
_SEGMENTS = 16
"""Into how many segments the bound is divided: what is dropped at once when it is reached."""

_PROBE_BYTES = 4096
_SEGMENT_MAX = 8 * 1024 * 1024

Condense = Callable[[list[Record]], list[Record]]
"""Makes of dropped records, losses among them, the losses that are kept in their place."""


class SpoolLog:
    """The log in one folder.

    Args:
        folder: made if it does not exist; one process at a time may have it.
        max_bytes: beyond this the oldest unread segments are dropped.
        max_age_seconds: a segment written to longer ago than this is dropped.
        condense: see there.
        clock: time of day in seconds, which also files have.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        max_age_seconds: float,
        condense: Condense,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_age = max_age_seconds
        self._segment_most = min(_SEGMENT_MAX, max(4096, max_bytes // _SEGMENTS))
        self._condense = condense
        self._clock = clock
        self._segments: list[Segment] = []
        self._cursor: Position = (0, 0)
        self._tail: int | None = None  # descriptor of the newest segment
        self._lock: int | None = None
        self._synced_at = 0.0
        self._torn: list[Segment] = []  # whose ends could not be read, and are there still

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    @property
    def folder(self) -> Path:
        """Return where it is."""
        return self._folder

    def open(self, *, keeps_torn: bool = False) -> Opened:
        """Take the folder and look through what is there; a torn end is cut off.

        Args:
            keeps_torn: it is there, never read, until `cut_torn`: who opens next learns of it too.

        Raises:
            OSError: the folder cannot be used, or another process has it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = self._look_through()
            if not keeps_torn:
                self.cut_torn()
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock
        return found

    def _look_through(self) -> Opened:
        mark = read_mark(self._folder)
        found = Opened()
        self._segments.clear()
        self._torn.clear()
        for path in sorted(self._folder.glob("*.seg")):
            if not (path.stem.isascii() and path.stem.isdecimal()):
                continue  # somebody's copy
            number = int(path.stem)
            if number < mark[0]:
                path.unlink()
                continue
            start = mark[1] if number == mark[0] else 0
            segment = self._survey(path, number, start, found)
            found.last_segment = number
            self._segments.append(segment)
        if self._segments:
            first = self._segments[0].number
            self._cursor = (first, mark[1] if first == mark[0] else 0)
        else:
            self._cursor = (mark[0], mark[1])
        return found

    def _survey(self, path: Path, number: int, start: int, found: Opened) -> Segment:
        data = path.read_bytes()
        segment = Segment(number, path, len(data), written_at=path.stat().st_mtime)
        batch, end = parse(data, number, min(start, len(data)))
        if batch.records:
            found.newest = batch.records[-1][1]
        if end < len(data):
            if found.torn_at is None:
                found.torn_at, found.before_torn = segment.written_at, found.newest
            self._torn.append(segment)  # written in part when the process or the machine died
            segment.size = end
            batch.damaged += 1
        segment.observed = sum(record.is_observed for _, record in batch.records)
        segment.is_losses = bool(batch.records) and all(r.is_loss for _, r in batch.records)
        found.records += len(batch.records)
        found.observed += segment.observed
        found.damaged += batch.damaged
        return segment

    def cut_torn(self) -> None:
        """Cut off the torn ends that were found, once nobody needs to learn of them any more.

        Raises:
            OSError: the disk refuses it; the next process finds them again.
        """
        for segment in self._torn:
            if segment in self._segments:  # else all else in it was answered for, and it is gone
                os.truncate(segment.path, segment.size)
        self._torn.clear()

    def close(self) -> None:
        """Force everything to the disk and let the folder go."""
        try:
            self._close_tail()
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    # ── in ────────────────────────────────────────────────────────────────────────────────────

    def append(self, records: Iterable[Record], *, is_read: bool = False) -> list[Position]:
        """Write records behind all others; answers the position behind each.

        Args:
            records: what to write.
            is_read: whoever calls has them in hand, so that `read` is not to give them again;
                only while nothing is unread.

        Raises:
            OSError: nothing of it counts as written; trying again later is all that can be done.
        """
        segment, tail = self._writable()
        parts, positions, offset, observed = [], [], segment.size, 0
        for record in records:
            parts.append(encode(record))
            offset += len(parts[-1])
            positions.append((segment.number, offset))
            observed += record.is_observed
        try:
            _write_all(tail, b"".join(parts))
            if time.monotonic() - self._synced_at > _SYNC_SECONDS:
                self._sync()
        except OSError:
            self._abandon_tail(segment)  # also what only could not be synced: it comes again
            raise
        segment.size = offset
        segment.observed += observed
        segment.written_at = self._clock()
        if is_read:
            segment.observed -= observed
            self._cursor = (segment.number, offset)
        return positions

    def probe(self) -> None:
        """Write and take back as much as a small record needs.

        Raises:
            OSError: the disk takes nothing.
        """
        path = self._folder / "probe"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(file, bytes(_PROBE_BYTES))
            os.fdatasync(file)
        finally:
            os.close(file)
            path.unlink(missing_ok=True)

    def _writable(self) -> tuple[Segment, int]:
        """Return the newest segment with its descriptor, or open another when it is full."""
        if self._tail is not None and self._segments:
            if self._segments[-1].size < self._segment_most:
                return self._segments[-1], self._tail
            self._close_tail()
        number = max(self._cursor[0], self._segments[-1].number if self._segments else 0) + 1
        path = self._folder / f"{number:012d}.seg"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        tail = self._tail = os.open(path, flags, 0o600)
        segment = Segment(number, path, written_at=self._clock())
        if not self._segments:
            self._cursor = (number, 0)
        self._segments.append(segment)
        return segment, tail

    def _abandon_tail(self, segment: Segment) -> None:
        """Cut off what was written in part, and begin another segment next time."""
        if self._tail is not None:
            tail, self._tail = self._tail, None
            try:
                os.ftruncate(tail, segment.size)
            finally:
                os.close(tail)
        if not segment.size and segment in self._segments:
            # A full disk refuses again and again; it must not be given a file each time.
            self._segments.remove(segment)
            segment.path.unlink(missing_ok=True)

    def _sync(self) -> None:
        if self._tail is not None:
            os.fdatasync(self._tail)
            self._synced_at = time.monotonic()

    def _close_tail(self) -> None:
        if self._tail is not None:
            tail, self._tail = self._tail, None
            try:
                os.fdatasync(tail)
            finally:
                os.close(tail)

    # ── out ───────────────────────────────────────────────────────────────────────────────────

    def read(self, max_records: int) -> Batch:
        """Read on from where the last call ended; an empty batch means that nothing is unread.

        A file that somebody took away is damage: whoever waited for it would wait for ever.

        Raises:
            OSError: the file cannot be read; the next call tries again.
        """
        batch = Batch()
        for segment in self._segments:
            number, offset = self._cursor
            if segment.number < number or len(batch.records) >= max_records:
                continue
            start = offset if segment.number == number else 0
            try:
                data = self._content(segment) if start < segment.size else b""
            except OSError:
                if batch.records:
                    break  # what was read is in hand; the next call meets the fault again
                raise
            part, end = parse(data, segment.number, start, max_records - len(batch.records))
            if not part.records and end < segment.size:
                end = segment.size  # damaged to its end
                part.damaged += 1
            batch.records += part.records
            batch.damaged += part.damaged
            segment.observed -= sum(record.is_observed for _, record in part.records)
            self._cursor = (segment.number, end)
        return batch

    def _content(self, segment: Segment) -> bytes:
        try:
            return segment.path.read_bytes()[: segment.size]
        except FileNotFoundError:
            return b""

    @property
    def unread_observed(self) -> int:
        """Count the observations not read yet."""
        return sum(segment.observed for segment in self._segments)

    @property
    def size_bytes(self) -> int:
        """Sum the files."""
        return sum(segment.size for segment in self._segments)

    def acknowledge(self, position: Position) -> None:
        """Take note that everything up to a position was answered for; frees what it can.

        Raises:
            OSError: it could not be noted; after a crash more comes again than needs to.
        """
        path = self._folder / "mark"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(file, encode_mark(position), 0)
        finally:
            os.close(file)
        while self._segments:
            oldest = self._segments[0]
            is_done = oldest.number < position[0] or (
                oldest.number == position[0] and oldest.size <= position[1]
            )
            if not is_done or oldest.number > self._cursor[0]:
                return
            if len(self._segments) == 1 and self._tail is not None:
                tail, self._tail = self._tail, None
                os.close(tail)  # of a file nobody needs any more
            oldest.path.unlink(missing_ok=True)
            del self._segments[0]

    # ── bounds ────────────────────────────────────────────────────────────────────────────────

    @property
    def may_be_beyond(self) -> bool:
        """Say whether `drop_oldest` may have something to do; touches no file."""
        oldest_allowed = self._clock() - self._max_age
        return self.size_bytes > self._max_bytes or any(
            segment.written_at < oldest_allowed for segment in self._segments
        )

    def drop_oldest(self) -> int:
        """Drop what is beyond the bounds and was not read, oldest first; answers how many.

        Observations are counted. Their losses take their place in the log. What was read in part
        is let be, so the bound may be exceeded by one segment.

        Raises:
            OSError: the losses could not be written; nothing was dropped.
        """
        dropped = 0
        while (victim := self._victim()) is not None:
            dropped += self._drop(victim)
        return dropped

    def _victim(self) -> int | None:
        """Return the place of the oldest segment that is to go, not counting kept losses."""
        oldest_allowed = self._clock() - self._max_age
        is_over = self.size_bytes > self._max_bytes
        for place, segment in enumerate(self._segments):
            is_old = segment.written_at < oldest_allowed
            is_tail = self._tail is not None and place == len(self._segments) - 1
            if self._is_begun(segment) or segment.is_losses or (is_tail and not is_old):
                continue
            if is_tail:
                self._close_tail()
            return place if is_over or is_old else None
        return None

    def _is_begun(self, segment: Segment) -> bool:
        number, offset = self._cursor
        return segment.number < number or (segment.number == number and offset > 0)

    def _drop(self, place: int) -> int:
        segment = self._segments[place]
        batch, _ = parse(self._content(segment), segment.number, 0)
        records = [record for _, record in batch.records]
        before = self._segments[place - 1] if place else None
        if before is not None and before.is_losses and not self._is_begun(before):
            earlier, _ = parse(self._content(before), before.number, 0)
            records = [record for _, record in earlier.records] + records
        else:
            before = None
        losses = self._condense(records)
        data = b"".join(map(encode, losses))
        temporary = segment.path.with_suffix(".new")
        temporary.write_bytes(data)
        temporary.replace(segment.path)
        dropped, segment.observed = segment.observed, 0
        segment.size, segment.is_losses = len(data), True
        if before is not None:
            before.path.unlink(missing_ok=True)
            self._segments.remove(before)
        return dropped


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
