"""The file format: what goes in comes out, and what is broken is said to be."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frame_recording import (
    Header,
    Record,
    RecordedFile,
    RecordingFault,
    What,
    read_records,
    summarise,
)
from frame_recording.block import (
    HEAD_BYTES,
    MAX_INDEX_BYTES,
    MAX_LINE_BYTES,
    MAX_LINES_BYTES,
    BlockKind,
    build_block,
)
from frame_recording.records import frame_record
from ws_gateway.recording.files import line_of

_HEADER = Header(software="test", environment="test", begun_at=5)
_records = st.lists(
    st.builds(
        frame_record,
        st.integers(0, 2**57),
        st.sampled_from([What.RECEIVED, What.SENT]),
        st.text(max_size=20),
        st.binary(max_size=200) | st.text(max_size=200).map(str.encode),
    ),
    min_size=1,
    max_size=20,
)
_calm = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def header_block(header: Header = _HEADER) -> bytes:
    """Build the first block of a file."""
    return build_block(BlockKind.HEADER, msgspec.json.encode(header) + b"\n", 1, 5, 5)


def block(records: list[Record]) -> bytes:
    """Build a block of records."""
    times = [one.at for one in records]
    lines = b"".join(map(line_of, records))
    return build_block(BlockKind.RECORDS, lines, len(records), min(times), max(times))


def frames(count: int, at: int = 1000) -> list[Record]:
    """Make some records."""
    return [
        frame_record(at + n, What.RECEIVED, "linear", b'{"topic":"t","n":%d}' % n)
        for n in range(count)
    ]


@_calm
@given(batches=st.lists(_records, max_size=4))
def test_what_was_written_is_read_byte_for_byte(
    tmp_path: Path, batches: list[list[Record]]
) -> None:
    """Whatever bytes a frame has, UTF-8 or not, line breaks and all."""
    path = tmp_path / "a.frames.zst"
    path.write_bytes(header_block() + b"".join(map(block, batches)))
    file = RecordedFile(path)
    found = list(file.records())
    assert found == [one for batch in batches for one in batch]
    assert [one.raw for one in found] == [one.raw for batch in batches for one in batch]
    assert file.cut_at is None


@_calm
@given(batches=st.lists(_records, min_size=1, max_size=3), data=st.data())
def test_a_file_that_was_cut_anywhere_is_read_up_to_the_last_whole_block(
    tmp_path: Path, batches: list[list[Record]], data: st.DataObject
) -> None:
    """What comes is a beginning of what was written, and the cut is told."""
    blocks = [header_block(), *map(block, batches)]
    whole = b"".join(blocks)
    cut = data.draw(st.integers(len(blocks[0]), len(whole) - 1))
    path = tmp_path / "a.frames.zst"
    path.write_bytes(whole[:cut])
    file = RecordedFile(path)
    found = list(file.records())
    edges = [len(b"".join(blocks[: n + 1])) for n in range(len(blocks))]
    kept = max(n for n, edge in enumerate(edges) if edge <= cut)
    assert found == [one for batch in batches[:kept] for one in batch]
    assert file.cut_at == (None if cut in edges else edges[kept])


@_calm
@given(batch=_records, data=st.data())
def test_with_a_changed_byte_nothing_is_read_that_was_not_written(
    tmp_path: Path, batch: list[Record], data: st.DataObject
) -> None:
    """It is a fault that names the file, or the file ends there, or the bit had no meaning."""
    raw = bytearray(header_block() + block(batch))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "a.frames.zst"
    path.write_bytes(raw)
    try:
        file = RecordedFile(path)
        found = list(file.records())
    except RecordingFault as exc:
        assert str(path) in str(exc)  # noqa: PT017 - either outcome is fine
    else:
        # Zstandard has bits in its own head that change nothing of what is in the block.
        assert found == batch or (found == [] and file.cut_at is not None)


def test_a_file_of_a_later_format_names_both_formats(tmp_path: Path) -> None:
    """The number is in every head, so it is found before anything else is tried."""
    raw = bytearray(header_block())
    raw[12] = 2
    path = tmp_path / "a.frames.zst"
    path.write_bytes(raw)
    with pytest.raises(RecordingFault, match="format 2, and this version reads format 1"):
        RecordedFile(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"hello", "no part of a recording"),
        (b"x" * 500, "no part of a recording"),
        (zstandard.compress(b'{"a":1}\n' * 50), "no part of a recording"),
        (header_block()[: HEAD_BYTES + 3], "it is empty"),
        (block(frames(3)), "it is empty"),
    ],
    ids=["empty", "short text", "text", "another zst", "cut header", "no header"],
)
def test_what_is_no_recording_is_refused_in_words(
    tmp_path: Path, content: bytes, words: str
) -> None:
    """The sentence names the file; the list shows it beside the others."""
    path = tmp_path / "a.frames.zst"
    path.write_bytes(content)
    with pytest.raises(RecordingFault, match=words) as caught:
        RecordedFile(path)
    assert str(path) in str(caught.value)
    assert summarise(path).fault == str(caught.value)


def test_records_before_damage_are_read_before_it_is_told(tmp_path: Path) -> None:
    """A block stands alone."""
    good, bad = block(frames(3)), bytearray(block(frames(3, 2000)))
    bad[-1] ^= 1
    path = tmp_path / "a.frames.zst"
    path.write_bytes(header_block() + good + bad)
    found: list[Record] = []
    with pytest.raises(RecordingFault, match="checksum"):
        found.extend(RecordedFile(path).records())
    assert found == frames(3)
    summary = summarise(path)
    assert summary.index.frames == 3
    assert summary.fault


def test_a_span_of_time_keeps_what_the_connections_carried(tmp_path: Path) -> None:
    """Frames before it are left out, requests before it are not."""
    early = [
        Record(1000, What.OPENED, "linear", path="/v5/public/linear"),
        frame_record(1001, What.SENT, "linear", b'{"op":"subscribe","args":["t"]}'),
        *frames(5, 1002),
    ]
    path = tmp_path / "a.frames.zst"
    path.write_bytes(
        header_block() + block(early) + block(frames(5, 2000)) + block(frames(5, 3000))
    )
    found = list(RecordedFile(path).records(since=2000, until=2999))
    assert [one.what for one in found[:2]] == [What.OPENED, What.SENT]
    assert found[2:] == frames(5, 2000)


def test_the_lines_can_be_read_without_this_program(tmp_path: Path) -> None:
    """A file is Zstandard frames one after the other, as `zstd -dc` reads them."""
    path = tmp_path / "a.frames.zst"
    path.write_bytes(header_block() + block(frames(2)))
    with path.open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    assert text.splitlines()[1:] == [line_of(one).strip() for one in frames(2)]


_READ = """
import resource, sys
from pathlib import Path
from frame_recording import RecordingFault, read_records, summarise

path = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print("records", sum(1 for _ in read_records([path])))
except RecordingFault as exc:
    print("fault", exc)
print("list", summarise(path).fault)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
_MOST_MIB = 160
"""A block, packed and unpacked, a line of it as text, and its records a piece at a time."""


def _bomb(lines_size: int, unpacked: int, claims: int) -> bytes:
    """Build a block whose bytes unpack to far more than its head says."""
    packer = zstandard.ZstdCompressor(level=1).compressobj(size=claims)
    piece = b"\n" * 2**20
    packed = b"".join([packer.compress(piece) for _ in range(unpacked // len(piece))])
    packed += packer.flush()
    whole = bytearray(build_block(BlockKind.RECORDS, b"\n" * lines_size, 1, 5, 5))
    return _with_packed(whole, packed, lines_size)


def _with_packed(whole: bytearray, packed: bytes, lines_size: int) -> bytes:
    head = bytearray(whole[8 : HEAD_BYTES - 4])
    head[8:16] = len(packed).to_bytes(4, "little") + lines_size.to_bytes(4, "little")
    check = zlib.crc32(packed, zlib.crc32(head)).to_bytes(4, "little")
    return bytes(whole[:8] + head + check + packed)


def _sent_once(count: int) -> bytes:
    lines = b'{"at":5,"what":"sent"}\n' * count
    return build_block(BlockKind.RECORDS, lines, count, 5, 5)


def _one_line(size: int) -> bytes:
    lines = b'{"at":5,"what":"received","text":"%b"}\n' % (b"x" * size)
    return build_block(BlockKind.RECORDS, lines, 1, 5, 5)


def _topics(size: int) -> bytes:
    names = b",".join([b'"ab"'] * (size // 5))
    lines = b'{"at":5,"what":"carried","topics":[%b]}\n' % names
    return build_block(BlockKind.RECORDS, lines, 1, 5, 5)


def _index(size: int) -> bytes:
    names = b",".join(b'"%06d":{}' % n for n in range(size // 12))
    begin = b'{"first":1,"last":2,"frames":3,"holes":0,"missing":0,"connections":{'
    return build_block(BlockKind.INDEX, begin + names + b"}}\n", 1, 5, 5)


def _names(count: int) -> bytes:
    lines = b"".join(
        b'{"at":5,"what":"opened","connection":"c%d","path":"/v5/public/linear"}\n' % n
        for n in range(count)
    )
    return build_block(BlockKind.RECORDS, lines, count, 5, 5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: _bomb(10, 2**30, 2**30), "has not the 10 bytes of lines it claims"),
        (lambda: _bomb(10, 2**30, -1), "has not the 10 bytes of lines it claims"),
        (
            lambda: _with_packed(bytearray(_sent_once(1)), b"x" * 50, 400 * 2**20),
            "a block claims 419,430,400 bytes of lines in 50, and none has more than 33,554,432",
        ),
        (lambda: _sent_once(MAX_LINES_BYTES // 23), "records 1458888"),
        (lambda: _one_line(MAX_LINE_BYTES - 100), "records 1"),
        (lambda: _one_line(MAX_LINE_BYTES), "and none has more than 25,165,824"),
        (lambda: _topics(MAX_LINE_BYTES - 100), "tells of no frame"),
        (lambda: _index(MAX_INDEX_BYTES), "and none has more than 4,194,304"),
        (lambda: _names(100_002), "more than 100,000 connections and topics"),
    ],
    ids=["bomb", "bomb without a size", "size", "records", "long", "line", "topics", "index",
         "names"],
)  # fmt: skip
def test_a_file_made_to_fill_memory_is_read_within_bounds_or_refused_in_words(
    tmp_path: Path, make: Callable[[], bytes], words: str
) -> None:
    """Measured in a process of its own, for a list of the file as well."""
    path = tmp_path / "a.frames.zst"
    path.write_bytes(header_block() + make())
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(path)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    *told, grown = done.stdout.splitlines()
    assert any(words in one for one in told), told
    assert int(grown) < _MOST_MIB


def test_a_list_of_countless_names_keeps_some_of_them(tmp_path: Path) -> None:
    """The rest is counted together, and nothing is missing from the sum."""
    path = tmp_path / "a.frames.zst"
    frames_ = [
        frame_record(5, What.RECEIVED, "linear", b'{"topic":"t%d"}' % n) for n in range(100_010)
    ]
    path.write_bytes(header_block() + block(frames_[:60_000]) + block(frames_[60_000:]))
    topics = summarise(path).index.connections["linear"].topics
    assert len(topics) == 100_000
    assert sum(topics.values()) == 100_010
    assert topics["(others)"] == 11


@pytest.mark.parametrize(
    ("at", "head", "words"),
    [
        (10**18, (10**18, 10**18), "the head of a block is damaged"),
        (-1, (-1, 5), "the head of a block is damaged"),
        (10**18, (5, 5), "a time its block does not claim"),
    ],
)
def test_a_time_that_does_not_exist_is_a_fault_and_no_traceback(
    tmp_path: Path, at: int, head: tuple[int, int], words: str
) -> None:
    """Of a record or of a head: no calendar has it."""
    path = tmp_path / "a.frames.zst"
    record = Record(at, What.RECEIVED, "linear", "{}")
    path.write_bytes(header_block() + build_block(BlockKind.RECORDS, line_of(record), 1, *head))
    with pytest.raises(RecordingFault, match=words):
        list(read_records([path]))
    assert words in str(summarise(path).fault)
