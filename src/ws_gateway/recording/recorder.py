"""Takes raw frames from the event loop and writes them in a thread of its own.

The loop only appends to a bounded buffer, whatever the disk does. What finds no room there, or none
on the disk, is counted, and stands in the recording as a hole.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from frame_recording.block import MAX_FRAME_BYTES
from frame_recording.records import Header, Record, What, frame_record
from ws_gateway.errors import ConfigError
from ws_gateway.recording.files import FolderTaken, Limits, RecordingFiles, line_of, lines_of
from ws_gateway.recording.room import Volume
from ws_gateway.recording.standing import Standing
from ws_gateway.runtime.counters import RecordingTally

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_PAUSE_SECONDS = 0.2
_BLOCK_SECONDS = 1.0
_BLOCK_BYTES = 1024 * 1024
_RETRY_SECONDS = 5.0
_CLOSE_SECONDS = 2.0
_AT_ONCE = 64  # between two such batches the loop gets its turn
_OVERHEAD_BYTES = 200  # of an item in memory, beside its frame
_CONTROL_BYTES = 1024 * 1024
"""Room for what says which connection carries what: without it frames after a hole are nobody's."""

_OPENED, _SENT, _RECEIVED, _CLOSED, _HOLE = (
    What.OPENED,
    What.SENT,
    What.RECEIVED,
    What.CLOSED,
    What.HOLE,
)
_Item = tuple[int, What, str, bytes]
"""When (µs), what, on which connection, and a frame, a path, a reason or a count."""


class _Intake:
    """Between the event loop, which puts in, and the thread, which takes out.

    Attributes:
        buffer: what waits.
        taken, gone: bytes put in and taken out. Both only rise, each by one side: what waits is
            their difference, without a lock.
        most: bytes that may wait.
        hole: how many frames found no room of late, and when the first and the last of them came.
    """

    __slots__ = ("buffer", "gone", "hole", "most", "taken", "tally")

    def __init__(self, most: int, tally: RecordingTally) -> None:
        self.buffer: deque[_Item] = deque()
        self.taken = 0
        self.gone = 0
        self.most = most
        self.hole: tuple[int, int, int] | None = None
        self.tally = tally

    def put(self, item: _Item) -> None:
        """Take something in, or count it as missing."""
        size = len(item[3]) + _OVERHEAD_BYTES
        most = self.most if item[1] is _RECEIVED else self.most + _CONTROL_BYTES
        if self.taken - self.gone + size > most:
            self._miss(item)
            return
        self.end_hole()
        self.taken += size
        self.buffer.append(item)

    def end_hole(self) -> None:
        """Put the hole in its place, if there is one."""
        if self.hole is None:
            return
        count, first, last = self.hole
        self.hole = None
        said = b"%d %d no room in memory" % (count, last)
        self.taken += len(said) + _OVERHEAD_BYTES
        self.buffer.append((first, _HOLE, "", said))

    def _miss(self, item: _Item) -> None:
        at = item[0]
        count, first, _ = self.hole or (0, at, at)
        self.hole = (count + 1, first, at)
        self.tally.missed += 1
        if not count:
            log.warning("recording.buffer_full", held_bytes=self.taken - self.gone)


class RecordedLine:
    """One open connection, to be told of everything that passes on it.

    Attributes:
        name: of the connection.
    """

    __slots__ = ("_intake", "_put", "name")

    def __init__(self, intake: _Intake, name: str) -> None:
        self._intake = intake
        self._put = intake.put
        self.name = name

    def received(self, raw: bytes, at_us: int) -> None:
        """Record a frame from the venue."""
        # As `put` does it, without a call: this is on the way of every event.
        intake = self._intake
        taken = intake.taken + len(raw) + _OVERHEAD_BYTES
        if intake.hole is not None or taken - intake.gone > intake.most:
            intake.put((at_us, _RECEIVED, self.name, raw))
            return
        intake.taken = taken
        intake.buffer.append((at_us, _RECEIVED, self.name, raw))

    def sent(self, raw: bytes, at_us: int) -> None:
        """Record a frame to the venue; of a login nothing but that it was one."""
        self._put((at_us, _SENT, self.name, without_secrets(raw)))

    def closed(self, why: str, at_us: int) -> None:
        """Record that the connection is gone."""
        self._put((at_us, _CLOSED, self.name, why.encode()))


class Recorder:
    """Records the frames of all connections it is told of.

    Args:
        folder: where the files go.
        limits: of the files.
        header: says what is recorded; with `is_private` private connections are recorded too.
        clock_us: Unix µs.
        volume: what else has to find room where the folder is; nothing without.
        buffer_bytes: most bytes that wait to be written.

    Attributes:
        tally: what came of the frames.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        header: Header,
        *,
        clock_us: Callable[[], int],
        volume: Volume | None = None,
        buffer_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.tally = RecordingTally()
        self._folder = folder
        self._limits = limits
        self._is_private = header.is_private
        self._first_account = header.accounts[0] if header.accounts else ""
        self._files = RecordingFiles(folder, limits, header, clock_us, volume or Volume(folder))
        self._intake = _Intake(buffer_bytes, self.tally)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        # Of the thread alone.
        self._standing = Standing()
        self._records: list[Record] = []
        self._lines: list[bytes] = []
        self._waiting_bytes = 0
        self._flushed_at = time.monotonic()
        self._lost: tuple[int, int, int] | None = None
        self._failed_at: float | None = None

    def start(self) -> None:
        """Begin; files appear with the first frame.

        Raises:
            ConfigError: the folder cannot be used.
        """
        try:
            self._files.claim()
        except FolderTaken:
            raise ConfigError(
                "WSG_RECORD_DIR",
                f"another process records into {str(self._folder)!r}",
                "name another folder",
            ) from None
        except OSError as exc:
            raise ConfigError(
                "WSG_RECORD_DIR", f"found {str(self._folder)!r} ({exc.strerror or exc})",
                "name a folder this process may write to",
            ) from exc  # fmt: skip
        log.info(
            "recording.started",
            folder=str(self._folder),
            with_private=self._is_private,
            most_bytes=self._limits.total_bytes,
        )
        self._thread.start()

    def close(self) -> None:
        """Write what waits and end; blocks, for two seconds at most."""
        if self._thread.ident is None:
            return  # it was never begun
        self._stop.set()
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            log.error("recording.not_closed", why="the disk does not answer")
            return
        self._files.release()
        log.info(
            "recording.stopped",
            frames=self.tally.written,
            missed=self.tally.missed + self.tally.unwritten,
            size=self._files.written_bytes,
        )

    # ── the event loop's side ─────────────────────────────────────────────────────────────────

    def open_line(
        self, name: str, path: str, at_us: int, *, is_private: bool, account: str | None = None
    ) -> RecordedLine | None:
        """Take note of a connection that was opened; None if it is not to be recorded."""
        if is_private and not self._is_private:
            return None
        whose = (account or self._first_account) if is_private else ""
        self._intake.put((at_us, _OPENED, name, f"{path}\0{whose}".encode()))
        return RecordedLine(self._intake, name)

    # ── the thread's side ─────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            while not self._stop.wait(_PAUSE_SECONDS):
                self._turn()
            self._turn()
            self._intake.end_hole()  # whoever put in has ended before
            self._turn()
            self._flush()
            self._files.close()
        except Exception:  # a defect must not end unseen in a thread
            log.exception("recording.defect")
            self.tally.error = "a defect ended the recording; see the log"
        finally:
            self._files.abandon()

    def _turn(self) -> None:
        """Take what waits, and write what is large or old enough."""
        intake, buffer = self._intake, self._intake.buffer
        while buffer:
            items: list[_Item] = []
            size = 0
            while buffer and len(items) < _AT_ONCE and size < _BLOCK_BYTES:
                items.append(buffer.popleft())
                size += len(items[-1][3]) + _OVERHEAD_BYTES
            records = [self._record(*item) for item in items]
            lines = lines_of(records)
            intake.gone += size
            self._records += records
            self._lines.append(lines)
            self._waiting_bytes += len(lines)
            if self._waiting_bytes >= _BLOCK_BYTES:
                self._flush()
            time.sleep(0)
        if time.monotonic() - self._flushed_at >= _BLOCK_SECONDS:
            self._flush()

    def _record(self, at: int, what: What, connection: str, raw: bytes) -> Record:
        if what in {_RECEIVED, _SENT}:
            if len(raw) > MAX_FRAME_BYTES:
                self.tally.unwritten += 1
                why = f"a frame of {len(raw):,} bytes, more than a recording keeps"
                return Record(at, _HOLE, frames=1, until=at, detail=why)
            return frame_record(at, what, connection, raw)
        said = raw.decode()
        if what is _OPENED:
            path, _, account = said.partition("\0")
            return Record(at, what, connection, path=path, account=account)
        if what is _CLOSED:
            return Record(at, what, connection, detail=said)
        count, last, why = said.split(" ", 2)
        return Record(at, what, frames=int(count), until=int(last), detail=why)

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        records, self._records = self._records, []
        lines, self._lines = self._lines, []
        self._waiting_bytes = 0
        if not records:
            return
        if self._failed_at is not None and time.monotonic() - self._failed_at < _RETRY_SECONDS:
            self._lose(records)
        else:
            try:
                self._write(records, lines)
            except OSError as exc:
                self._fail(records, exc)
        # Only now: a file that was begun for these records says what stood before them.
        for record in records:
            if record.what is not _RECEIVED:
                self._standing.note(record)
        self._tell_room()

    def _write(self, records: list[Record], lines: list[bytes]) -> None:
        """Write a block, behind the hole that is before it.

        Raises:
            OSError: the disk refused.
        """
        told = records
        if self._lost is not None:
            count, first, last = self._lost
            why = f"the disk: {self.tally.error}"
            hole = Record(first, _HOLE, frames=count, until=last, detail=why)
            told, lines = [hole, *records], [line_of(hole), *lines]
        if self._files.is_due:
            self._files.begin(self._standing.carried(told[0].at))
        self._files.write(told, b"".join(lines))
        self.tally.written += sum(one.what in {_RECEIVED, _SENT} for one in records)
        if self.tally.error is not None:
            log.info("recording.resumed", missed=self._lost[0] if self._lost else 0)
        self._lost = self._failed_at = self.tally.error = None

    def _tell_room(self) -> None:
        self.tally.removed_files = self._files.removed_files
        self.tally.free_bytes, self.tally.kept_bytes = self._files.room.free, self._files.room.kept

    def _fail(self, records: list[Record], exc: OSError) -> None:
        why = exc.strerror or str(exc)
        if self.tally.error is None:
            log.error("recording.failed", folder=str(self._folder), why=why)
        self.tally.error = why
        self._failed_at = time.monotonic()
        self._files.close()
        self._lose(records)

    def _lose(self, records: list[Record]) -> None:
        told = [one for one in records if one.what is not _HOLE]
        frames = len(told) + sum(one.frames for one in records)
        count, first, last = self._lost or (0, records[0].at, 0)
        self._lost = (count + frames, first, max(last, *(one.until or one.at for one in records)))
        self.tally.unwritten += len(told)


def without_secrets(raw: bytes) -> bytes:
    """Return a request as it may be kept: of a login, only that it was one."""
    if b'"auth"' not in raw:
        return raw
    told: dict[str, object] = {"op": "auth", "args": ["redacted"]}
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        told = {"req_id": _read_identity(raw).req_id, **told}
    return msgspec.json.encode(told)


class _Identity(msgspec.Struct):
    req_id: str | None = None


_read_identity = msgspec.json.Decoder(_Identity).decode
