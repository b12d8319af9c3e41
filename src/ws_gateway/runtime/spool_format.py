"""How records lie in a file, so that a torn or damaged one is told from its neighbours.

A record is `magic · length · checksum · flags · data`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from struct import error as struct_error
from typing import NamedTuple

Position = tuple[int, int]
"""Number of a segment and the offset in it behind a record; positions rise in the log's order."""

_MAGIC = b"\xf5WS1"  # no byte of UTF-8 and none an AMQP frame begins with
_head = Struct(">4sIIB")
_mark = Struct(">QQI")
_OBSERVED, _LOSS = 1, 2
_LENGTH_MAX = 256 * 1024 * 1024


class Record(NamedTuple):
    """One record as it is written, or read.

    Attributes:
        data: the message, or for a loss whatever `Condense` made of it.
        is_observed: it carries an observation.
        is_loss: it stands for records that were dropped.
    """

    data: bytes
    is_observed: bool
    is_loss: bool = False


@dataclass(slots=True)
class Batch:
    """What was read.

    Attributes:
        records: with the position behind each.
        damaged: stretches that were skipped.
    """

    records: list[tuple[Position, Record]] = field(default_factory=list)
    damaged: int = 0


@dataclass(slots=True)
class Opened:
    """What an earlier process left.

    Attributes:
        observed: records with an observation that are still to be delivered.
        damaged: stretches that could not be read.
        newest: the last record there is.
        torn_at: when a file was written to last whose end could not be read, time of day, s; of
            several the first. None if all are whole to their ends.
        before_torn: the last record before that end, None without any.
        last_segment: number of the last file; what is written from now on is in a later one.
    """

    records: int = 0
    observed: int = 0
    damaged: int = 0
    newest: Record | None = None
    torn_at: float | None = None
    before_torn: Record | None = None
    last_segment: int = 0


@dataclass(slots=True)
class Segment:
    """A file of records.

    Attributes:
        size: up to where it holds records, bytes.
        observed: records with an observation that were not read yet.
        written_at: time of day, s.
        is_losses: it holds nothing else.
    """

    number: int
    path: Path
    size: int = 0
    observed: int = 0
    written_at: float = 0.0
    is_losses: bool = False


def encode_mark(position: Position) -> bytes:
    """Return how far the broker answered, as it is written."""
    body = Struct(">QQ").pack(*position)
    return body + Struct(">I").pack(zlib.crc32(body))


def read_mark(folder: Path) -> Position:
    """Return how far the broker answered for a folder's records; (0, 0) if nothing tells.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        data = (folder / "mark").read_bytes()
        number, offset, checksum = _mark.unpack(data)
    except (FileNotFoundError, struct_error):
        return 0, 0
    return (number, offset) if zlib.crc32(data[:16]) == checksum else (0, 0)


def encode(record: Record) -> bytes:
    """Return a record as it is written."""
    flags = _OBSERVED * record.is_observed + _LOSS * record.is_loss
    checksum = zlib.crc32(record.data, flags)
    return _head.pack(_MAGIC, len(record.data), checksum, flags) + record.data


def parse(
    data: bytes, number: int, start: int, max_records: int | None = None
) -> tuple[Batch, int]:
    """Read the records from an offset on; answers also the end of the last one that is whole.

    What is damaged between two whole ones is skipped and counted.
    """
    batch, offset, end = Batch(), start, start
    is_damaged = False
    while offset + _head.size <= len(data):
        if max_records is not None and len(batch.records) >= max_records:
            break
        magic, length, checksum, flags = _head.unpack_from(data, offset)
        behind = offset + _head.size + length
        content = data[offset + _head.size : behind]
        is_whole = magic == _MAGIC and length <= _LENGTH_MAX and behind <= len(data)
        if is_whole and zlib.crc32(content, flags) == checksum:
            batch.damaged += is_damaged
            is_damaged = False
            record = Record(content, bool(flags & _OBSERVED), bool(flags & _LOSS))
            batch.records.append(((number, behind), record))
            offset = end = behind
            continue
        is_damaged = True
        found = data.find(_MAGIC, offset + 1)
        if found < 0:
            break
        offset = found
    return batch, end
