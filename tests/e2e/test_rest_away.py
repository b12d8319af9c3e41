"""Bybit's REST away: nothing waits for it."""

from __future__ import annotations

import time

from support.http_stage import HANG, answer, answering
from support.programs import crowd, until
from support.site import Site


async def test_rest_that_hangs_delays_neither_start_nor_stop(site: Site) -> None:
    """Data flows, the shape decides the category and says so, and the end comes at once."""
    async with (
        answering(HANG) as silent,
        site.venue() as venue,
        site.gateway(venue.url, WSG_BYBIT_REST_URL=silent.url) as gateway,
        site.consumer("orderbook") as consumer,
    ):
        stored = await gateway.add("orderbook", "BTCUSDT")
        assert stored["category"] == "linear"
        assert "the instruments list is not available" in stored["chosen_by"]
        await gateway.until_ready()
        await consumer.until_flows(("linear", "orderbook.50.BTCUSDT"))
        assert silent.targets
        began = time.monotonic()
        assert await gateway.terminate() == 0
        assert time.monotonic() - began < 6.0 * crowd()


async def test_rest_that_refuses_is_said_once_and_left_alone(site: Site) -> None:
    """A ban of the address is one line per list, and no call until it is over."""
    async with (
        answering(answer("access too frequent", 403)) as banned,
        site.venue() as venue,
        site.gateway(venue.url, WSG_BYBIT_REST_URL=banned.url) as gateway,
    ):

        async def all_said() -> bool:
            lists = gateway.logged("venue.instruments_unread")
            others = ("venue.system_status_unread", "venue.clock_not_measured")
            return len(lists) == 5 and all(gateway.logged(each) for each in others)

        await until(all_said, seconds=30, what="every list is said to be unread")
        await gateway.add("ticker", "BTCUSDT", category="linear")
        await gateway.until_ready()
        # Lists, status and time are asked for at once, so two may have been on their way.
        assert len(banned.targets) <= 3
        assert len(gateway.logged("venue.clock_not_measured")) == 1
        assert len(gateway.logged("venue.instruments_unread")) == 5
