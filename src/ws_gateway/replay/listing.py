"""`ws-gateway replay --list`: what recordings hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from frame_recording import FileSummary, RecordingFault, find_files, summarise
from ws_gateway.errors import ConfigError

_MOST_TOPICS = 20
_MOST_SHOWN = 300


def listed(
    places: list[Path], since: int | None, until: int | None, *, as_json: bool
) -> Iterator[str]:
    """Describe files, a line or more each, or one JSON object a line.

    Raises:
        ConfigError: nothing is there, or nothing of that span.
    """
    try:
        paths = find_files(places)
    except RecordingFault as exc:
        raise ConfigError("FILE", str(exc), "name files or folders of a recording") from exc
    spans: list[tuple[int, int]] = []
    has_fitting = False
    for path in paths:
        one = summarise(path)
        if one.index.last:
            spans.append((one.index.first, one.index.last))
        is_early = until is not None and one.index.first > until
        if is_early or (since is not None and one.index.last < since and one.index.last):
            continue
        has_fitting = True
        if as_json:
            yield msgspec.json.encode(_object(one)).decode()
        else:
            yield from _lines(one)
    if not has_fitting:
        raise nothing_fits(spans)


def nothing_fits(spans: Sequence[tuple[int, int]]) -> ConfigError:
    """Say from when to when there is something, if `--from` and `--until` leave nothing."""
    held = "nothing at all"
    if spans:
        held = f"{_shown(min(spans)[0])} to {_shown(max(last for _, last in spans))}"
    return ConfigError(
        "--from, --until", f"leave nothing of what is recorded: {held}", "name a part of that"
    )


def recorded_spans(places: list[Path]) -> list[tuple[int, int]]:
    """Return first and last time of each file that holds something, Unix µs."""
    held = [summarise(path).index for path in find_files(places)]
    return [(one.first, one.last) for one in held if one.last]


def _lines(one: FileSummary) -> Iterator[str]:
    index = one.index
    span = f"{_shown(index.first)} to {_shown(index.last)}" if index.last else "nothing"
    private = ", with private frames" if one.header and one.header.is_private else ""
    yield f"{one.path}  {one.size:,} bytes  {span}  {index.frames:,} frames{private}"
    if one.fault is not None:
        yield f"  cannot be read: {one.fault}"
    elif one.cut_at is not None:
        yield f"  ends inside a block at byte {one.cut_at}: its writer was killed, or still writes"
    elif not one.is_closed:
        yield "  has no index: its writer was killed, or still writes"
    if index.holes:
        yield f"  {index.missing:,} frames are missing, in {index.holes} holes"
    for name, connection in sorted(index.connections.items()):
        whose = f", account {connection.account}" if connection.account else ""
        yield f"  {_plain(f'{name} {connection.path}{whose}')}  {connection.frames:,} received"
        counted = sorted(connection.topics.items(), key=lambda each: -each[1])
        for topic, count in counted[:_MOST_TOPICS]:
            yield f"    {count:>10,}  {_plain(topic) or '(answers)'}"
        if len(counted) > _MOST_TOPICS:
            yield f"    … and {len(counted) - _MOST_TOPICS} more topics"


def _object(one: FileSummary) -> dict[str, Any]:
    return {
        "file": str(one.path),
        "size": one.size,
        "header": one.header,
        "is_closed": one.is_closed,
        "cut_at": one.cut_at,
        "fault": one.fault,
        "index": one.index,
    }


def _plain(text: str) -> str:
    """Take out what a terminal would obey: the file may be anybody's."""
    return "".join(each if each.isprintable() else "?" for each in text[:_MOST_SHOWN])


def _shown(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, tz=UTC).isoformat(timespec="milliseconds")
