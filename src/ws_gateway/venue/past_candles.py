"""Closed candles of REST between two that the stream told, and what is missing of them.

Pure: what was told and pages of REST in, facts of the stream's own form out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from ws_gateway.domain.event import Kind, Observation, Source
from ws_gateway.domain.topic import Topic
from ws_gateway.ports.event_path import Missed
from ws_gateway.venue.fingerprint import bounded_id
from ws_gateway.venue.messages import Count
from ws_gateway.venue.past import Answer, show_moment


class _Told(msgspec.Struct, gc=False):
    start: Count
    confirm: bool
    end: Count = 0


class _Row(NamedTuple):
    start: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    turnover: str


class _Page(msgspec.Struct):
    rows: list[_Row] = msgspec.field(name="list")


_LENGTHS = {"D": 86_400_000, "W": 604_800_000}

_decode_told = msgspec.json.Decoder(list[_Told]).decode
_decode_page = msgspec.json.Decoder(_Page, strict=False).decode


def span_between(last: Observation, first: Observation) -> tuple[int, int] | None:
    """Say from where on, and before where, candles closed untold, ms; None where none did.

    Raises:
        msgspec.DecodeError: a frame lacks what is needed.
    """
    told, live = _decode_told(last.payload)[-1], _decode_told(first.payload)[0]
    begin = told.end + 1 if told.confirm and told.end else told.start
    return (begin, live.start) if begin < live.start else None


class Candles:
    """What REST tells of the candles that closed untold, page by page, the newest first.

    Args:
        topic: the stream.
        span: from which start on, and before which, ms.
    """

    def __init__(self, topic: Topic, span: tuple[int, int]) -> None:
        self._topic = topic
        self._begin, self._end = span
        self._rows: dict[int, tuple[_Row, Answer]] = {}
        self._is_all = False  # the last page told nothing older

    def add(self, answer: Answer) -> None:
        """Take a page; of the newest one, with the candle that begins where the span ends.

        Raises:
            msgspec.DecodeError: the answer lacks what is needed.
        """
        before = min(self._rows, default=self._end + 1)
        for row in _decode_page(answer.result).rows:
            self._rows.setdefault(row.start, (row, answer))
        self._is_all = min(self._rows, default=before) >= before

    @property
    def is_behind(self) -> bool:
        """Say whether REST does not know yet the candle before which all of them closed."""
        return max(self._rows, default=self._begin) < self._end

    @property
    def next_end(self) -> int | None:
        """Say where the next older page ends, ms; None if there is none to be asked for."""
        oldest = min(self._rows, default=self._begin)
        return None if self._is_all or oldest <= self._begin else oldest - 1

    def missed(self, cut: str = "", reason: str = "reach") -> Missed:
        """Choose the candles that closed untold, and say what is missing of them.

        Args:
            cut: why no older page was asked for, although there may be one.
            reason: the same in a word, for who counts.
        """
        rows = [self._rows[start] for start in sorted(self._rows)]
        facts, holes = [], []
        for (row, answer), (after, _) in pairwise(rows):
            end = row.start + (_length(self._topic) or after.start - row.start)
            if self._begin <= row.start < self._end:
                facts.append(_fact(self._topic, row, end - 1, answer))
            if end < after.start and self._begin < after.start and end < self._end:
                holes.append(
                    f"REST has none from {show_moment(end)} until {show_moment(after.start)}"
                )
        lacking = holes[:1]
        if not rows or rows[0][0].start > self._begin:
            oldest = min(rows[0][0].start, self._end) if rows else self._end
            reached = f"was read back to {show_moment(oldest)} only, as {cut}"
            lacking.append(
                f"REST {reached if cut else f'reaches back to {show_moment(oldest)} only'}; "
                f"candles since {show_moment(self._begin)} are missing"
            )
        if rows and self.is_behind:
            lacking.append(
                f"REST knew of none after {show_moment(rows[-1][0].start)} yet; "
                f"candles before {show_moment(self._end)} are missing"
            )
        return Missed(
            facts, len(facts), "; ".join(lacking), is_behind=self.is_behind, reason=reason
        )


def _length(topic: Topic) -> int | None:
    """Return how long a candle is, ms; None for months, which differ."""
    interval = topic.parameter or ""
    return int(interval) * 60_000 if interval.isdecimal() else _LENGTHS.get(interval)


def _fact(topic: Topic, row: _Row, end: int, answer: Answer) -> Observation:
    return Observation(
        topic,
        Kind.UPDATE,
        bounded_id(f"{topic.key}:{row.start}:closed"),
        topic.category,
        topic.symbol,
        end,
        None,
        answer.received_at,
        answer.trace_id,
        None,
        msgspec.json.encode(_payload(topic, row, end)),
        Source.BACKFILL,
    )


def _payload(topic: Topic, row: _Row, end: int) -> Sequence[dict[str, str | int | bool | None]]:
    """Name a row's fields as the stream does; REST does not know the time of the last trade."""
    return [
        {
            "start": row.start,
            "end": end,
            "interval": topic.parameter,
            "open": row.open,
            "close": row.close,
            "high": row.high,
            "low": row.low,
            "volume": row.volume,
            "turnover": row.turnover,
            "confirm": True,
            "timestamp": end,
        }
    ]
