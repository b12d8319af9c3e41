"""Trades and candles that the stream missed, read over REST."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from urllib.parse import quote

import msgspec

from ws_gateway.domain.event import Observation
from ws_gateway.domain.topic import Category, Channel, Topic
from ws_gateway.ports.event_path import Missed
from ws_gateway.venue.past import Answer
from ws_gateway.venue.past_candles import candles_between, span_between
from ws_gateway.venue.past_trades import trades_between
from ws_gateway.venue.rest import BybitRest, RestAway

_MOST_TRADES = {Category.SPOT: 60}
_LARGEST_PAGE = 1_000

_READINGS = 3
_PAUSE_SECONDS = 0.2
"""REST may lag behind the stream: it is read again until it knows the first live fact."""


class MarketPast:
    """Reads what came between two frames of a stream; one page each, the newest there is."""

    def __init__(
        self, rest: BybitRest, *, clock_us: Callable[[], int], new_trace_id: Callable[[], str]
    ) -> None:
        self._rest = rest
        self._clock_us = clock_us
        self._new_trace_id = new_trace_id

    def follows(self, last: Observation, first: Observation) -> bool:
        """Say whether nothing can be missing between two frames, without asking anybody."""
        if last.topic.channel is not Channel.KLINE:
            return False
        try:
            return span_between(last, first) is None
        except msgspec.DecodeError:
            return False  # `between` says what is wrong with them

    async def between(
        self, last: Observation, live: Sequence[Observation], lately: Sequence[Observation] = ()
    ) -> Missed:
        """Read what came between the last frame told and the first of those that came since.

        Raises:
            VenueLost: REST did not answer, or not so that one could read it.
            Rejected: it refused.
        """
        for attempt in range(_READINGS):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS)
            missed = await self._read(last, live, lately)
            if not missed.is_behind:
                break
        return missed

    async def _read(
        self, last: Observation, live: Sequence[Observation], lately: Sequence[Observation]
    ) -> Missed:
        topic = last.topic
        try:
            if topic.channel is Channel.TRADES:
                answer = await self._ask(*_trades_of(topic))
                return trades_between(last, live[0], answer, others=(*lately, *live[1:]))
            span = span_between(last, live[0])
            if span is None:
                return Missed([], 0, "")
            answer = await self._ask("/v5/market/kline", _candles_of(topic, span))
            return candles_between(topic, span, answer)
        except msgspec.MsgspecError as exc:
            raise RestAway(f"trades or candles that cannot be read ({exc})") from exc

    async def _ask(self, path: str, query: str) -> Answer:
        result = await self._rest.market_past(path, query)
        return Answer(result, self._clock_us(), self._new_trace_id())


def _trades_of(topic: Topic) -> tuple[str, str]:
    name, category = quote(topic.symbol or "", safe=""), topic.category
    if category is Category.SPREAD:
        return "/v5/spread/recent-trade", f"symbol={name}&limit={_LARGEST_PAGE}"
    whose = "baseCoin" if category is Category.OPTION else "symbol"
    limit = _LARGEST_PAGE if category is None else _MOST_TRADES.get(category, _LARGEST_PAGE)
    return "/v5/market/recent-trade", f"category={category}&{whose}={name}&limit={limit}"


def _candles_of(topic: Topic, span: tuple[int, int]) -> str:
    begin, end = span
    name = quote(topic.symbol or "", safe="")
    return (
        f"category={topic.category}&symbol={name}&interval={topic.parameter}"
        f"&start={begin}&end={end}&limit={_LARGEST_PAGE}"
    )
