"""Closed candles of REST between two that the stream told, and what is missing of them.

Pure: what was told and a page of REST in, facts of the stream's own form out.
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


def candles_between(topic: Topic, span: tuple[int, int], answer: Answer) -> Missed:
    """Choose the candles that closed untold.

    Args:
        topic: the stream.
        span: from which start on, and before which, ms.
        answer: candles of REST, as it gave them, with the one that begins where the span ends.

    Raises:
        msgspec.DecodeError: the answer lacks what is needed.
    """
    begin, end = span
    rows = sorted(_decode_page(answer.result).rows)
    facts = [
        _fact(topic, row, after.start - 1, answer)
        for row, after in pairwise(rows)
        if begin <= row.start < end
    ]
    lacking = []
    if not rows or rows[0].start > begin:
        oldest = min(rows[0].start, end) if rows else end
        lacking.append(
            f"REST reaches back to {show_moment(oldest)} only; "
            f"candles since {show_moment(begin)} are missing"
        )
    is_behind = not rows or rows[-1].start < end
    if is_behind and rows:
        lacking.append(
            f"REST knew of none after {show_moment(rows[-1].start)} yet; "
            f"candles before {show_moment(end)} are missing"
        )
    return Missed(facts, len(facts), "; ".join(lacking), is_behind=is_behind)


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
