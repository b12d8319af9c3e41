"""The instruments list: what it names, and what it does while REST is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest
from structlog.testing import capture_logs

from ws_gateway.domain.category import Listing
from ws_gateway.domain.topic import Category, Channel
from ws_gateway.errors import VenueLost
from ws_gateway.venue.instruments import Instruments
from ws_gateway.venue.rest import Instrument, RestRefused


class Lists:
    """A venue's lists.

    Attributes:
        away: categories whose list cannot be had.
        asked: what was asked for, in order.
    """

    def __init__(self) -> None:
        self.rows = {
            (Category.SPOT, None): ["BTCUSDT"],
            (Category.LINEAR, None): ["BTCUSDT", "1000PEPEUSDT"],
            (Category.OPTION, "BTC"): ["BTC-25JUN27-90000-C-USDT"],
            (Category.OPTION, "XRP"): ["XRP-30OCT26-0.4-P-USDT"],
        }
        self.away: set[Category] = set()
        self.asked: list[tuple[Category, str | None]] = []
        self.instruments_of = Instruments(
            self,
            categories=(Category.OPTION, Category.LINEAR, Category.SPOT),
            option_base_coins=("BTC", "NOPE", "XRP"),
            rng=Random(1),
            refresh_seconds=0.01,
            retry_base_seconds=0.001,
        )

    async def instruments(
        self, category: Category, base_coin: str | None = None
    ) -> list[Instrument]:
        """Return a list."""
        self.asked.append((category, base_coin))
        if category in self.away:
            raise VenueLost("rest", "away")
        if (category, base_coin) not in self.rows:
            raise RestRefused(10001, "params error: baseCoin")
        coin = base_coin or ""
        return [Instrument(symbol, coin) for symbol in self.rows[category, base_coin]]


@asynccontextmanager
async def reading(lists: Lists) -> AsyncIterator[Instruments]:
    """Read in the background."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(lists.instruments_of.run())
        yield lists.instruments_of
        task.cancel()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a fact that has no event of its own."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.002)


async def test_each_list_names_its_symbols_and_options_their_coins() -> None:
    """What several lists name is said of all; trades of options go by base coin."""
    lists = Lists()
    before = lists.instruments_of.listing(Channel.TICKER, "BTCUSDT")
    assert before.unread == {Category.OPTION, Category.LINEAR, Category.SPOT}
    assert "not been read yet" in before.why_unread
    async with reading(lists) as found:
        await until(lambda: found.is_complete)
        assert found.listing(Channel.TICKER, "BTCUSDT") == Listing((Category.SPOT, Category.LINEAR))
        assert found.listing(Channel.KLINE, "1000PEPEUSDT").categories == (Category.LINEAR,)
        assert found.listing(Channel.TRADES, "XRP").categories == (Category.OPTION,)
        assert found.listing(Channel.TICKER, "XRP").categories == ()
        option = "XRP-30OCT26-0.4-P-USDT"
        assert found.listing(Channel.TICKER, option).categories == (Category.OPTION,)
        assert found.listing(Channel.TRADES, option).categories == ()
        assert not found.listing(Channel.TICKER, "NEWUSDT").is_known


async def test_capitals_are_pointed_out_where_they_alone_differ() -> None:
    """`btcusdt` is not listed; `BTCUSDT` is named beside it."""
    lists = Lists()
    async with reading(lists) as found:
        await until(lambda: found.is_complete)
        assert found.listing(Channel.TICKER, "btcusdt") == Listing(other_case="BTCUSDT")


async def test_a_list_that_cannot_be_had_is_asked_for_alone_and_said_once() -> None:
    """One list away neither hides the others nor asks for them again, and comes back by itself."""
    lists = Lists()
    lists.away = {Category.LINEAR}
    with capture_logs() as logs:
        async with reading(lists) as found:
            await until(lambda: lists.asked.count((Category.LINEAR, None)) > 2)
            listing = found.listing(Channel.TICKER, "BTCUSDT")
            assert listing.categories == (Category.SPOT,)
            assert listing.unread == {Category.LINEAR}
            assert "away" in listing.why_unread
            assert lists.asked.count((Category.SPOT, None)) == 1
            lists.away = set()
            await until(lambda: found.is_complete)
    events = [entry["event"] for entry in logs if entry.get("category") == "linear"]
    assert events == ["venue.instruments_unread", "venue.instruments_read"]
    refused = [entry["coin"] for entry in logs if entry["event"] == "venue.option_coin_refused"]
    assert refused == ["NOPE"]


async def test_the_last_good_list_stays_while_rest_is_away() -> None:
    """A refresh that fails takes nothing away; one that succeeds brings what is new."""
    lists = Lists()
    async with reading(lists) as found:
        await until(lambda: found.is_complete)
        lists.away = set(Category)
        asked = len(lists.asked)
        await until(lambda: len(lists.asked) > asked + 3)
        assert found.listing(Channel.KLINE, "1000PEPEUSDT") == Listing((Category.LINEAR,))
        lists.rows[Category.LINEAR, None].append("NEWUSDT")
        lists.away = set()
        await until(lambda: found.listing(Channel.TICKER, "NEWUSDT").is_known)


async def test_a_symbol_that_is_nearly_listed_is_taken_for_a_typing_error() -> None:
    """Told by the lists that count for the wish: trades of options by base coin."""
    async with reading(Lists()) as found:
        await until(lambda: found.is_complete)
        both = (Category.LINEAR, Category.SPOT)
        assert await found.misspelt(Channel.TICKER, "BTCUSTD", both) == ["BTCUSDT"]
        assert await found.misspelt(Channel.TICKER, "1000PEPEUSD", both) == ["1000PEPEUSDT"]
        assert await found.misspelt(Channel.TICKER, "1000PEPEUSD", (Category.SPOT,)) == []
        option = (Category.OPTION,)
        assert await found.misspelt(Channel.TICKER, "BTC-25JUN27-90001-C-USDT", option)
        assert await found.misspelt(Channel.TRADES, "BTC-25JUN27-90001-C-USDT", option) == []


@pytest.mark.parametrize("symbol", ["BTCUSDT", "NEWUSDT"])
async def test_a_symbol_that_is_listed_or_like_none_is_no_typing_error(symbol: str) -> None:
    """Who is not nearly another is not refused: it may be newer than the list."""
    async with reading(Lists()) as found:
        await until(lambda: found.is_complete)
        assert await found.misspelt(Channel.TICKER, symbol, (Category.SPOT,)) == []


async def test_a_symbol_that_was_listed_meanwhile_is_no_typing_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before a symbol is called misspelt, a list that was not read just now is read again."""
    monkeypatch.setattr("ws_gateway.venue.instruments._FRESH_SECONDS", 0.0)
    lists = Lists()
    async with reading(lists) as found:
        await until(lambda: found.is_complete)
    lists.rows[Category.SPOT, None].append("BTCUSDC")
    assert await found.misspelt(Channel.TICKER, "BTCUSDC", (Category.SPOT,)) == []
    assert found.listing(Channel.TICKER, "BTCUSDC").is_known


async def test_without_a_list_nothing_is_called_misspelt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be looked up is asked of the venue, as ever."""
    monkeypatch.setattr("ws_gateway.venue.instruments._FRESH_SECONDS", 0.0)
    lists = Lists()
    assert await lists.instruments_of.misspelt(Channel.TICKER, "BTCUSTD", (Category.SPOT,)) == []
    async with reading(lists) as found:
        await until(lambda: found.is_complete)
    lists.away = {Category.SPOT}
    assert await found.misspelt(Channel.TICKER, "BTCUSTD", (Category.SPOT,)) == []
