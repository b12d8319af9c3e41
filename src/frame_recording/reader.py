"""Reads recordings: one file, or all of a folder in order of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from frame_recording.block import BlockHead, BlockKind, Cut, RecordingFault, read_head, read_lines
from frame_recording.records import Header, Index, Record, Tally, What, topic_of

SUFFIX = ".frames.zst"

_read_records = msgspec.json.Decoder(Record).decode_lines
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
        for _, lines in self._blocks(lambda head: head.kind is BlockKind.HEADER):
            if lines is None:
                break
            try:
                return _read_header(lines)
            except msgspec.DecodeError as exc:
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

        for offset, lines in self._blocks(is_wanted):
            if lines is None:
                continue
            try:
                records = _read_records(lines)
            except msgspec.DecodeError as exc:
                raise self._fault(offset, f"a line is damaged: {exc}") from exc
            for record in records:
                if until is not None and record.at > until:
                    continue
                if since is not None and record.at < since and record.what is What.RECEIVED:
                    continue
                yield record

    def span(self) -> tuple[int, int] | None:
        """Say from when to when its records are, Unix µs; None if it has none."""
        heads = [head for head in self._heads() if head.kind is BlockKind.RECORDS]
        if not heads:
            return None
        return min(head.first for head in heads), max(head.last for head in heads)

    def index(self) -> Index | None:
        """Return what the file says of itself; None if it was not closed."""
        for _, lines in self._blocks(lambda head: head.kind is BlockKind.INDEX):
            if lines is not None:
                try:
                    return _read_index(lines)
                except msgspec.DecodeError as exc:
                    raise self._fault(0, f"its index is damaged: {exc}") from exc
        return None

    def _heads(self) -> Iterator[BlockHead]:
        found: list[BlockHead] = []

        def note(head: BlockHead) -> bool:
            found.append(head)
            return False

        for _ in self._blocks(note):
            yield found[-1]

    def _blocks(self, is_wanted: Callable[[BlockHead], bool]) -> Iterator[tuple[int, bytes | None]]:
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
                yield offset, lines
                offset = behind

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as exc:
            raise RecordingFault(f"{self.path}: {exc.strerror or exc}") from exc

    def _fault(self, offset: int, why: str) -> RecordingFault:
        return RecordingFault(f"{self.path}, byte {offset}: {why}")


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
        RecordingFault: a file is damaged, or all are empty.
    """
    notes = [] if notes is None else notes
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
            yield from file.records(since, until)
        if file.cut_at is not None:
            notes.append(f"{file.path}: it ends inside a block at byte {file.cut_at}; read so far")


def _is_needed(span: tuple[int, int], since: int | None, until: int | None) -> bool:
    """Say whether a file has something of a span of time; its own beginning tells what stood."""
    return (since is None or span[1] >= since) and (until is None or span[0] <= until)
