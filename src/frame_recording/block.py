"""How bytes lie in a file: blocks of compressed lines, each behind a head that tells of it.

A block is two Zstandard frames: a skippable one that holds the head, and one that holds JSON lines.
So `zstd -dc FILE` prints every line, while a reader that wants a certain time jumps from head to
head without decompressing anything. Blocks stand alone: what was written before a crash is whole.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import BinaryIO

import zstandard

VERSION = 1
"""Of the format; a reader refuses what a newer one wrote."""

_MAGIC = 0x184D2A5A  # one of the sixteen of a skippable frame (RFC 8878, 3.1.2)
_TAG = b"WSGR"
_OUTER = Struct("<II")
_HEAD = Struct("<4sBBHIIIqq")
_CHECK = Struct("<I")
HEAD_BYTES = _OUTER.size + _HEAD.size + _CHECK.size
MAX_FRAME_BYTES = 16 * 1024 * 1024
"""Most bytes of a frame that is kept; of a longer one stands there only that it is missing."""
MAX_LINE_BYTES = 24 * 1024 * 1024
"""Most bytes of one line: such a frame in base64."""
MAX_LINES_BYTES = 32 * 1024 * 1024
"""Most bytes of lines in one block."""
MAX_INDEX_BYTES = 4 * 1024 * 1024
"""Most bytes of an index; a file that would have a larger one is closed without."""
MAX_TIME = 253_402_300_799_000_000
"""Latest time a record may have, Unix µs: the last second of the year 9999."""


class RecordingFault(Exception):
    """A file cannot be read as a recording; the text names it and says why."""


class BlockKind(IntEnum):
    """What the lines of a block are."""

    HEADER = 0
    """One `Header`; every file begins with it."""
    RECORDS = 1
    """`Record`s, in the order they were taken."""
    INDEX = 2
    """One `Index`; a file that was closed ends with it."""


# A reader takes no more memory than this, whatever a file says of itself.
_MOST = {
    BlockKind.HEADER: 64 * 1024,
    BlockKind.RECORDS: MAX_LINES_BYTES,
    BlockKind.INDEX: MAX_INDEX_BYTES,
}


@dataclass(frozen=True, slots=True)
class BlockHead:
    """What is known of a block without decompressing it.

    Attributes:
        size: bytes of the compressed lines.
        lines_size: bytes of the lines.
        count: lines.
        first, last: earliest and latest time among its records, Unix µs.
        check: CRC-32 of the head before it and of the compressed lines.
    """

    kind: BlockKind
    size: int
    lines_size: int
    count: int
    first: int
    last: int
    check: int


class Cut(Exception):
    """The file ends inside a block: whoever wrote it was killed."""


def build_block(kind: BlockKind, lines: bytes, count: int, first: int, last: int) -> bytes:
    """Build a whole block.

    Args:
        kind: of the lines.
        lines: JSON, a line break after each.
        count: how many.
        first: earliest time among them, Unix µs.
        last: latest.
    """
    packed = zstandard.ZstdCompressor(level=3).compress(lines)
    head = _HEAD.pack(_TAG, VERSION, kind, 0, len(packed), len(lines), count, first, last)
    check = _CHECK.pack(zlib.crc32(packed, zlib.crc32(head)))
    return b"".join((_OUTER.pack(_MAGIC, len(head) + len(check)), head, check, packed))


def read_head(file: BinaryIO) -> BlockHead | None:
    """Read the head that begins here; None at the end of the file.

    Raises:
        Cut: the file ends within the head.
        RecordingFault: these bytes are no head, or of a newer version.
    """
    raw = file.read(HEAD_BYTES)
    if not raw:
        return None
    if len(raw) < HEAD_BYTES:
        # A file of another kind may be that short too.
        if raw[: _OUTER.size] != _outer()[: len(raw)]:
            raise RecordingFault("these bytes are no part of a recording")
        raise Cut
    if not any(raw):
        raise Cut  # room that was made and never filled, as after a loss of power
    if raw[: _OUTER.size] != _outer():
        raise RecordingFault("these bytes are no part of a recording")
    fields = _HEAD.unpack_from(raw, _OUTER.size)
    tag, version, kind, _, size, lines_size, count, first, last = fields
    if tag != _TAG:
        raise RecordingFault("these bytes are no part of a recording")
    if version != VERSION:
        raise RecordingFault(
            f"it is of format {version}, and this version reads format {VERSION};"
            " read it with the version that wrote it, or a later one"
        )
    if kind not in set(BlockKind) or not 0 <= first <= last <= MAX_TIME:
        raise RecordingFault("the head of a block is damaged")
    most = _MOST[BlockKind(kind)]
    # What does not compress at all grows by a little.
    if lines_size > most or size > most + most // 128 + 1024:
        raise RecordingFault(
            f"a block claims {lines_size:,} bytes of lines in {size:,}, and none has more than"
            f" {most:,}; the file is damaged, or was made to fill the memory of who reads it"
        )
    (check,) = _CHECK.unpack_from(raw, _OUTER.size + _HEAD.size)
    return BlockHead(BlockKind(kind), size, lines_size, count, first, last, check)


def read_lines(file: BinaryIO, head: BlockHead) -> bytes:
    """Read the lines behind a head.

    Raises:
        Cut: the file ends within them.
        RecordingFault: they are not what was written.
    """
    packed = file.read(head.size)
    if len(packed) < head.size:
        raise Cut
    known = _HEAD.pack(
        _TAG, VERSION, head.kind, 0, head.size, head.lines_size, head.count, head.first, head.last
    )
    if zlib.crc32(packed, zlib.crc32(known)) != head.check:
        raise RecordingFault("a block is damaged: its checksum does not fit")
    try:
        lines = _unpacked(packed, head.lines_size)
    except zstandard.ZstdError as exc:
        raise RecordingFault(f"a block is damaged: {exc}") from exc
    if len(lines) != head.lines_size:
        raise RecordingFault(f"a block has not the {head.lines_size:,} bytes of lines it claims")
    return lines


def _unpacked(packed: bytes, size: int) -> bytes:
    """Decompress, a byte more than expected at most.

    `decompress` would believe the size that the compressed bytes claim, whatever limit it is given.
    """
    unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_LINES_BYTES)
    with unpacker.stream_reader(packed) as reader:
        return reader.read(size + 1)


def _outer() -> bytes:
    return _OUTER.pack(_MAGIC, _HEAD.size + _CHECK.size)
