"""Trades and candles that the stream missed, read over REST."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from urllib.parse import quote

import msgspec

from ws_gateway.domain.event import Observation
from ws_gateway.domain.topic import Category, Channel, Topic
from ws_gateway.errors import Rejected, VenueLost
from ws_gateway.ports.event_path import Missed
from ws_gateway.venue.past import Answer
from ws_gateway.venue.past_candles import Candles, span_between
from ws_gateway.venue.past_trades import trades_between
from ws_gateway.venue.rest import BybitRest, RestAway

_MOST_TRADES = {Category.SPOT: 60}
_LARGEST_PAGE = 1_000

_MOST_PAGES = 5
"""Of candles, for one gap: telling more than 5,000 at once would hold up everybody else."""

_READINGS = 3
_PAUSE_SECONDS = 0.2
"""REST may lag behind the stream: it is read again until it knows the first live fact."""


class MarketPast:
    """Reads what came between two frames of a stream.

    Of trades REST tells the newest page alone; candles are read page by page.
    """

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
        self,
        last: Observation,
        first: Observation,
        until: float | None = None,
        *,
        others: Callable[[], Sequence[Observation]] = tuple,
    ) -> Missed:
        """Read what came between two frames.

        Args:
            last: frame told before the gap.
            first: frame that came after it.
            until: when to be content with the pages of candles there are, the event loop's
                clock, s; the first page is waited for.
            others: answers which frames else were told around the gap, by then: of trades what
                they tell is not missed.

        Raises:
            VenueLost: REST did not answer, or not so that one could read it.
            Rejected: it refused.
        """
        is_trades = last.topic.channel is Channel.TRADES
        try:
            if is_trades:
                return await self._trades(last, first, others)
            span = span_between(last, first)
            return (
                Missed([], 0, "") if span is None else await self._candles(last.topic, span, until)
            )
        except msgspec.MsgspecError as exc:
            raise RestAway(f"trades or candles that cannot be read ({exc})") from exc

    async def _trades(
        self, last: Observation, first: Observation, others: Callable[[], Sequence[Observation]]
    ) -> Missed:
        for attempt in range(_READINGS):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS)
            answer = await self._ask(*_trades_of(last.topic))
            missed = trades_between(last, first, answer, others=others())
            if not missed.is_behind:
                break
        return missed

    async def _candles(self, topic: Topic, span: tuple[int, int], until: float | None) -> Missed:
        for attempt in range(_READINGS):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS)
            candles = Candles(topic, span)
            candles.add(await self._ask("/v5/market/kline", _candles_of(topic, span)))
            if not candles.is_behind:
                break
        try:
            async with asyncio.timeout_at(until):
                return await self._older(candles, topic, span[0], until)
        except TimeoutError:
            return candles.missed("there was no time for more", "slow")

    async def _older(
        self, candles: Candles, topic: Topic, begin: int, until: float | None
    ) -> Missed:
        """Read older pages for as long as there are any; what is in hand is not given up."""
        pages = 1
        while (end := candles.next_end) is not None:
            if pages >= _MOST_PAGES:
                return candles.missed(f"that is {pages} pages")
            try:
                candles.add(await self._ask("/v5/market/kline", _candles_of(topic, (begin, end))))
            except VenueLost as exc:
                pause = exc.retry_after_seconds
                if pause is None or until is None or _now() + pause >= until:
                    is_spent = exc.reason == "budget"
                    return candles.missed(exc.detail, "turn" if is_spent else "rest")
                await asyncio.sleep(pause)
            except (Rejected, msgspec.MsgspecError) as exc:
                return candles.missed(str(exc), "rest")
            else:
                pages += 1
        return candles.missed()

    async def _ask(self, path: str, query: str) -> Answer:
        result = await self._rest.market_past(path, query)
        return Answer(result, self._clock_us(), self._new_trace_id())


def _now() -> float:
    return asyncio.get_running_loop().time()


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
