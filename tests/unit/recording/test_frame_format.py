"""The file format: what goes in comes out, and what is broken is said to be."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frame_recording import Header, Record, RecordedFile, RecordingFault, What, summarise
from frame_recording.block import HEAD_BYTES, BlockKind, build_block
from frame_recording.records import frame_record
from ws_gateway.recording.files import line_of

_HEADER = Header(software="test", environment="test", begun_at=5)
_records = st.lists(
    st.builds(
        frame_record,
        st.integers(0, 2**62),
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
