"""Reads recordings: one file, or all of a folder in order of time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from frame_recording.block import (
    MAX_LINE_BYTES,
    MAX_TIME,
    BlockHead,
    BlockKind,
    Cut,
    RecordingFault,
    read_head,
    read_lines,
)
from frame_recording.records import Header, Index, Record, Tally, What, read_request, topic_of

SUFFIX = ".frames.zst"

_PIECE_BYTES = 1024 * 1024
_MOST_NAMES = 100_000


class _LongRecord(msgspec.Struct):
    """A record that is longer than a piece, which only that of a frame may be."""

    at: int
    what: What
    connection: str = ""
    text: str | None = None
    data: bytes | None = None


_read_records = msgspec.json.Decoder(Record).decode_lines
_read_long = msgspec.json.Decoder(_LongRecord).decode
_read_header = msgspec.json.Decoder(Header).decode
_read_index = msgspec.json.Decoder(Index).decode


class RecordedFile:
    """One file of a recording.

    Args:
        path: of the file.

    Attributes:
        header: who wrote it, and when.
        cut_at: where the file ends inside a block, because who wrote it was killed or still
            writes; None if it does not, or was not read that far.

    Raises:
        RecordingFault: it cannot be read, is empty, no recording, or of a newer format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut_at: int | None = None
        self.header = self._read_header()

    def _read_header(self) -> Header:
        for _, _, lines in self._blocks(lambda head: head.kind is BlockKind.HEADER):
            if lines is None:
                break
            try:
                return _read_header(lines)
            except (msgspec.DecodeError, RecursionError) as exc:
                raise self._fault(0, f"its first line is damaged: {exc}") from exc
        raise self._fault(0, "it is empty: whoever began it was ended before the first line")

    def records(self, since: int | None = None, until: int | None = None) -> Iterator[Record]:
        """Read the records of a span of time, in the order they were taken.

        Args:
            since: Unix µs; what was received before is left out, what was opened, sent and closed
                before is not, for it says what the connections carried.
            until: Unix µs; what happened later is left out.

        Raises:
            RecordingFault: the file is damaged; all before the damage was told.
        """

        def is_wanted(head: BlockHead) -> bool:
            return head.kind is BlockKind.RECORDS and (until is None or head.first <= until)

        for offset, head, lines in self._blocks(is_wanted):
            if lines is None:
                continue
            pieces = _pieces(lines)
            while records := self._decoded(pieces, offset):
                for record in records:
                    if not head.first <= record.at <= head.last:
                        raise self._fault(offset, "a record has a time its block does not claim")
                    if until is not None and record.at > until:
                        continue
                    if since is not None and record.at < since and record.what is What.RECEIVED:
                        continue
                    yield record

    def _decoded(self, pieces: Iterator[bytes], offset: int) -> list[Record]:
        """Decode the next piece that holds anything; empty at the end."""
        try:
            return next(filter(None, map(_records_in, pieces)), [])
        except RecordingFault as exc:
            raise self._fault(offset, str(exc)) from None
        except (msgspec.DecodeError, RecursionError) as exc:
            raise self._fault(offset, f"a line is damaged: {exc}") from exc

    def span(self) -> tuple[int, int] | None:
        """Say from when to when its records are, Unix µs; None if it has none."""
        found: tuple[int, int] | None = None
        for _, head, _ in self._blocks(lambda _: False):
            if head.kind is BlockKind.RECORDS:
                first, last = found or (head.first, head.last)
                found = min(first, head.first), max(last, head.last)
        return found

    def index(self) -> Index | None:
        """Return what the file says of itself; None if it was not closed."""
        for offset, _, lines in self._blocks(lambda head: head.kind is BlockKind.INDEX):
            if lines is not None:
                try:
                    index = _read_index(lines)
                except (msgspec.DecodeError, RecursionError) as exc:
                    raise self._fault(offset, f"its index is damaged: {exc}") from exc
                if not 0 <= index.first <= index.last <= MAX_TIME:
                    raise self._fault(offset, "its index is damaged: it has times there are not")
                return index
        return None

    def _blocks(
        self, is_wanted: Callable[[BlockHead], bool]
    ) -> Iterator[tuple[int, BlockHead, bytes | None]]:
        """Go from block to block; answers where each begins, and the lines of those wanted."""
        offset = 0
        with self._open() as file:
            size = file.seek(0, 2)
            while True:
                file.seek(offset)
                try:
                    head = read_head(file)
                    if head is None:
                        return
                    behind = file.tell() + head.size
                    is_whole = behind <= size
                    lines = read_lines(file, head) if is_whole and is_wanted(head) else None
                except Cut:
                    self.cut_at = offset
                    return
                except RecordingFault as exc:
                    raise self._fault(offset, str(exc)) from None
                if not is_whole:
                    self.cut_at = offset
                    return
                yield offset, head, lines
                offset = behind

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as exc:
            raise RecordingFault(f"{self.path}: {exc.strerror or exc}") from exc

    def _fault(self, offset: int, why: str) -> RecordingFault:
        return RecordingFault(f"{self.path}, byte {offset}: {why}")


def _pieces(lines: bytes) -> Iterator[bytes]:
    """Divide lines: as objects they take several times the memory, so not all are at once."""
    begin = 0
    while begin < len(lines):
        end = lines.rfind(b"\n", begin, begin + _PIECE_BYTES) + 1
        if not end:  # one line that is longer
            end = lines.find(b"\n", begin) + 1 or len(lines)
        yield lines[begin:end]
        begin = end


def _records_in(piece: bytes) -> list[Record]:
    if len(piece) <= _PIECE_BYTES:
        return _read_records(piece)
    if len(piece) > MAX_LINE_BYTES:
        raise RecordingFault(
            f"a line has {len(piece):,} bytes, and none has more than {MAX_LINE_BYTES:,}"
        )
    long = _read_long(piece)
    if long.what not in {What.RECEIVED, What.SENT}:
        raise RecordingFault(f"a line of {len(piece):,} bytes tells of no frame")
    return [Record(long.at, long.what, long.connection, long.text, long.data)]


@dataclass(frozen=True, slots=True)
class FileSummary:
    """What a file holds.

    Attributes:
        is_closed: it ends with its index; otherwise it was counted by reading it.
        cut_at: where it ends inside a block.
        fault: why it cannot be read to its end.
    """

    path: Path
    size: int
    header: Header | None
    index: Index
    is_closed: bool
    cut_at: int | None
    fault: str | None = None


def summarise(path: Path) -> FileSummary:
    """Say what a file holds, as far as it can be read; never fails on what is inside."""
    size = path.stat().st_size
    tally = Tally()
    try:
        file = RecordedFile(path)
    except RecordingFault as exc:
        return FileSummary(path, size, None, tally.index(), False, None, str(exc))
    fault: str | None = None
    try:
        if (index := file.index()) is not None:
            return FileSummary(path, size, file.header, index, True, None)
        for record in file.records():
            tally.note(record, topic_of(record.raw) if record.what is What.RECEIVED else "")
    except RecordingFault as exc:
        fault = str(exc)
    return FileSummary(path, size, file.header, tally.index(), False, file.cut_at, fault)


def find_files(places: Iterable[Path]) -> list[Path]:
    """List the files that are named, and those in folders that are, in order of name.

    Raises:
        RecordingFault: nothing is there.
    """
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(place.glob(f"*{SUFFIX}"))
            if not inside:
                raise RecordingFault(f"{place}: no file in it ends in {SUFFIX}")
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise RecordingFault(f"{place}: no such file or folder")
    return found


def read_records(
    paths: Sequence[Path],
    since: int | None = None,
    until: int | None = None,
    notes: list[str] | None = None,
) -> Iterator[Record]:
    """Read the records of several files, in order of time.

    Args:
        paths: as `find_files` lists them.
        since: Unix µs, as in `RecordedFile.records`.
        until: the same.
        notes: takes a sentence for each file that was cut, or that holds nothing beside others.

    Raises:
        RecordingFault: a file is damaged, or all are empty; or they name more connections or topics
            than a gateway has, which would fill the memory of who keeps a state for each.
    """
    notes = [] if notes is None else notes
    names: set[str] = set()
    files: list[tuple[int, RecordedFile]] = []
    for path in paths:
        if len(paths) > 1 and not path.stat().st_size:
            notes.append(f"{path}: it is empty")
            continue
        file = RecordedFile(path)
        files.append((file.header.begun_at, file))
    files.sort(key=lambda each: each[0])
    if not files:
        raise RecordingFault("all files are empty")
    for _, file in files:
        span = file.span()
        if span is not None and _is_needed(span, since, until):
            for record in file.records(since, until):
                names.update(_named(record))
                if len(names) > _MOST_NAMES:
                    raise RecordingFault(
                        f"{file.path}: it names more than {_MOST_NAMES:,} connections and topics,"
                        " which no gateway had"
                    )
                yield record
        if file.cut_at is not None:
            notes.append(f"{file.path}: it ends inside a block at byte {file.cut_at}; read so far")


def _named(record: Record) -> Collection[str]:
    """Name what whoever replays a record keeps a state of."""
    if record.what is What.SENT:
        request = read_request(record.raw)
        return () if request is None else request.args
    if record.what in {What.OPENED, What.CARRIED}:
        return (record.connection, *record.topics)
    return ()


def _is_needed(span: tuple[int, int], since: int | None, until: int | None) -> bool:
    """Say whether a file has something of a span of time; its own beginning tells what stood."""
    return (since is None or span[1] >= since) and (until is None or span[0] <= until)
