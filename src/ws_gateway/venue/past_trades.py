"""Trades of REST between two that the stream told: which, in what order, and what is missing.

Pure: what was told and a page of REST in, facts of the stream's own form out.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import msgspec

from ws_gateway.domain.event import Kind, Observation, Source
from ws_gateway.domain.topic import Category, Topic
from ws_gateway.ports.event_path import Missed
from ws_gateway.venue.fingerprint import bounded_id
from ws_gateway.venue.messages import Count
from ws_gateway.venue.past import Answer, show_moment


class _Told(msgspec.Struct, gc=False):
    i: str
    T: Count
    seq: Count = 0


class _Row(msgspec.Struct, gc=False, kw_only=True):
    i: str = msgspec.field(name="execId")
    symbol: str
    price: str
    size: str
    side: str
    time: int
    seq: int = 0
    is_block: bool | msgspec.UnsetType = msgspec.field(name="isBlockTrade", default=msgspec.UNSET)
    is_rpi: bool | msgspec.UnsetType = msgspec.field(name="isRPITrade", default=msgspec.UNSET)
    mP: str | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 - the venue's word
    iP: str | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 - the venue's word
    mIv: str | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 - the venue's word
    iv: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def moment(self) -> tuple[int, int]:
        """Return what orders trades: match time, ms, and cross sequence."""
        return self.time, self.seq


class _Page(msgspec.Struct):
    rows: list[_Row] = msgspec.field(name="list")


_decode_told = msgspec.json.Decoder(list[_Told]).decode
# Numbers are strings in REST and none in the stream.
_decode_page = msgspec.json.Decoder(_Page, strict=False).decode


def trades_between(
    last: Observation, first: Observation, answer: Answer, *, others: Iterable[Observation] = ()
) -> Missed:
    """Choose the trades after one frame and before another.

    Args:
        last: frame told before the gap.
        first: frame that came after it.
        answer: newest trades of REST, as it gave them.
        others: frames from before the last and behind the first. What they tell is not missed,
            though REST may have it between the two: trades of several symbols at one moment have
            no common order.

    Raises:
        msgspec.DecodeError: frame or answer lacks what is needed.
    """
    told, live = _decode_told(last.payload), _decode_told(first.payload)
    rows = _decode_page(answer.result).rows
    rows.reverse()
    rows.sort(key=_moment)
    ids = [row.i for row in rows]
    before, after = told[-1], live[0]
    begin = ids.index(before.i) + 1 if before.i in ids else _older(rows, before)
    end = ids.index(after.i) if after.i in ids else _older(rows, after)
    around = chain.from_iterable(_decode_told(each.payload) for each in others)
    known = {each.i for each in (*told, *live, *around)}
    missed = [row for row in rows[begin:end] if row.i not in known]
    lacking = []
    if begin == 0:
        oldest = min(rows[0].time, after.T) if rows else after.T
        lacking.append(
            f"REST reaches back to {show_moment(oldest)} only; "
            f"trades since {show_moment(before.T)} are missing"
        )
    is_behind = after.i not in ids and (not rows or rows[-1].time < after.T)
    if is_behind:
        newest = max(rows[-1].time, before.T) if rows else before.T
        lacking.append(
            f"REST knew of nothing after {show_moment(newest)} yet; "
            f"trades up to {show_moment(after.T)} may be missing"
        )
    facts = [_fact(last.topic, match, answer) for match in _matches(missed)]
    return Missed(facts, len(missed), "; ".join(lacking), is_behind=is_behind)


def _moment(row: _Row) -> tuple[int, int]:
    return row.moment


def _older(rows: list[_Row], than: _Told) -> int:
    """Count the rows that matched earlier; those of the same match are known by their ids."""
    return sum(row.moment < (than.T, than.seq) for row in rows)


def _matches(rows: list[_Row]) -> list[list[_Row]]:
    """Bring together what matched at once, as the stream most often tells it."""
    groups: list[list[_Row]] = []
    for row in rows:
        if groups and row.seq and groups[-1][-1].moment == row.moment:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _fact(topic: Topic, rows: list[_Row], answer: Answer) -> Observation:
    identity = rows[0].i
    if len(rows) > 1:
        identity = f"{identity}:{rows[-1].i}:{len(rows)}"
    return Observation(
        topic,
        Kind.UPDATE,
        bounded_id(f"{topic.key}:{identity}"),
        topic.category,
        topic.symbol,
        rows[-1].time,
        None,
        answer.received_at,
        answer.trace_id,
        None,
        msgspec.json.encode([_payload(topic, row) for row in rows]),
        Source.BACKFILL,
    )


def _payload(topic: Topic, row: _Row) -> dict[str, Any]:
    """Name a row's fields as the stream does; the tick direction is not known to REST."""
    told = {
        "T": row.time,
        "s": row.symbol,
        "S": row.side,
        "v": row.size,
        "p": row.price,
        "i": row.i,
        "BT": row.is_block,
        "RPI": msgspec.UNSET if topic.category is Category.OPTION else row.is_rpi,
        "seq": row.seq or msgspec.UNSET,
        "mP": row.mP,
        "iP": row.iP,
        "mIv": row.mIv,
        "iv": row.iv,
    }
    return {key: value for key, value in told.items() if value is not msgspec.UNSET}
