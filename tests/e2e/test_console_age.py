"""The console in a real browser: nothing old is shown as the present, and no part as the whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.browser import browsing
from support.console_stage import SHOWN_SECONDS, enter, looking, shoot, verdict
from support.control_room import KEY, control_room
from support.memory_feed import connection
from support.programs import Gateway, crowd
from support.proxy import TcpProxy, address
from support.site import Site
from ws_gateway.ports.feed import SessionState

pytestmark = pytest.mark.xdist_group("browser")

HOUR_MS = 3_600_000
NOW = """(() => ({
  link: document.body.dataset.link, at: document.body.dataset.at,
  word: document.getElementById('verdict-word').innerText,
  line: document.getElementById('verdict-line').innerText,
}))()"""


@asynccontextmanager
async def _filling_way(gateway: Gateway) -> AsyncIterator[TcpProxy]:
    """Lead to the gateway through a buffer that fills: what comes is ever older, yet it comes."""
    async with TcpProxy(*address(str(gateway.http.base_url), 80)) as way:
        way.delay_growth = 0.6
        yield way


@pytest.mark.parametrize("clock_ahead_ms", [HOUR_MS, -HOUR_MS], ids=["fast clock", "slow clock"])
async def test_pictures_that_a_slow_way_brings_late_are_never_shown_as_the_present(
    site: Site, clock_ahead_ms: int
) -> None:
    """They came one after the other, each later than the one before, and each was green."""
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.until_ready()
        async with (
            _filling_way(gateway) as way,
            looking(
                site, gateway, f"http://127.0.0.1:{way.port}", clock_ahead_ms=clock_ahead_ms
            ) as page,
        ):
            await verdict(page, "OK")
            assert "Live" in await page.text("#link")
            oldest, lines, live_again = 0.0, set[str](), False
            deadline = time.monotonic() + 60
            while not live_again and time.monotonic() < deadline:
                seen = await page.value(NOW)
                age = (datetime.now(UTC) - datetime.fromisoformat(seen["at"])).total_seconds()
                if seen["link"] == "live":
                    oldest = max(oldest, age)
                    assert age <= SHOWN_SECONDS * crowd(), seen
                    live_again = bool(lines)
                else:
                    assert seen["word"] in {"Not known", "Not connected"}
                    lines.add(seen["line"])
                    if len(lines) == 1:
                        await shoot(page, "way-too-slow")
                await asyncio.sleep(0.1)
            assert lines, f"nothing was late; the oldest that was live was {oldest:.1f} s old"
            assert all(" old" in line for line in lines)
            assert live_again, "a new stream would have brought the present"


async def test_more_connections_than_are_shown_are_counted_all(
    database_url: str, tmp_path: Path
) -> None:
    """It said that 100 of 150 stream, when 148 did."""
    async with control_room(database_url) as api, browsing(tmp_path) as page:
        state = SessionState.STREAMING
        api.feed.statuses = [connection("linear", state, name=f"linear-{n}") for n in range(148)]
        await page.go(f"{api.url}/console")
        await enter(page, KEY)
        await page.until_text("#connections-count", "148 of 148 stream")
        words = "48 further connections not shown: all of them stream."
        assert await page.text("#connections-more") == words
        lost = [
            connection("spot", SessionState.BACKING_OFF, "closed: 1006", name=f"spot-{n}")
            for n in range(102)
        ]
        api.feed.statuses += lost
        await page.until_text("#connections-count", "148 of 250 stream")
        words = "150 further connections not shown: 2 of them do not stream."
        assert await page.text("#connections-more") == words
        assert "further reasons not shown" in await page.text("#reasons-more")
