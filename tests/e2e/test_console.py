"""The console in a real browser: faults are shown truthfully within seconds, and keys suffice."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from rabbitmq_node import PrivateNode, find_server
from support.backlog_stage import slow_consumer
from support.browser import CONTRAST, Page, browsing
from support.programs import API_KEY, Gateway, Venue, until
from support.site import KEYS, Site
from ws_gateway.storage.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(180)]

SHOWN_SECONDS = 5.0
"""How soon a fault is on the page."""

SHOTS = Path(__file__).resolve().parents[2] / ".dev" / "shots"
"""Where pictures of the page are left for people to look at."""


def in_time(seconds: float) -> bool:
    """Say whether something was shown in time; a crowded machine gets more of it."""
    crowd = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    print(f"shown after {seconds:.1f} s, load {crowd:.1f} per core")  # noqa: T201 - to look at
    return seconds <= SHOWN_SECONDS * crowd


async def fault(venue: Venue, name: str, **parameters: Any) -> None:
    """Let the simulator misbehave."""
    url = venue.url.replace("ws:", "http:")
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        answer = await http.post(f"/sim/faults/{name}", json=parameters)
        assert answer.status_code == 200, answer.text


@asynccontextmanager
async def looking(site: Site, gateway: Gateway) -> AsyncIterator[Page]:
    """Have the page open with the administrator's key, until it shows something."""
    url = str(gateway.http.base_url)
    async with browsing(site.folder) as page:
        await page.screen(1280, 900)
        await page.go(f"{url}/console")
        await page.until("document.activeElement.id === 'key-input'")
        await page.write(API_KEY)
        await page.press("Enter")
        await page.until("document.body.dataset.link === 'live'")
        yield page
        # Whatever happened: nothing was asked of anybody else, and no script failed.
        assert {asked.startswith((url, "data:")) for asked in page.requests} == {True}
        assert [one for one in page.errors if "Failed to load" not in one] == []


async def verdict(page: Page, word: str, *, seconds: float = 20) -> float:
    """Wait until the page says how everything is; answers how long that took."""
    return await page.until(
        f"document.getElementById('verdict-word').innerText === {word!r}",
        seconds=seconds,
        what=f"the verdict is {word}",
    )


async def shoot(page: Page, name: str) -> None:
    """Leave a picture of the whole page."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    await page.picture(SHOTS / f"{name}.png", whole=True)


# ── faults ────────────────────────────────────────────────────────────────────────────────────


async def test_a_silent_topic_and_a_socket_that_cannot_come_back_are_shown(site: Site) -> None:
    """The topic stands first with how long it is silent; the socket with why and until when."""
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.add("ticker", "ETHUSDT", category="linear")
        await gateway.add("orderbook", "BTCUSDT", category="spot")
        await gateway.until_ready()
        async with looking(site, gateway) as page:
            await verdict(page, "OK")
            await page.until("document.querySelectorAll('#topics tr').length === 3")
            await asyncio.sleep(4)  # what is usual has to be seen before a silence is unusual

            await fault(venue, "stall", topic="tickers.ETHUSDT")
            assert in_time(await verdict(page, "Watch"))
            assert "tickers.ETHUSDT" in await page.text("#verdict-line")
            assert "silent" in await page.text("#topics tr:first-child .state")
            assert "tickers.ETHUSDT" in await page.text("#topics tr:first-child th")
            assert await page.value("document.title.startsWith('▲')")
            await shoot(page, "topic-silent")

            await fault(venue, "refuse_handshake", path="/v5/public/linear")
            await fault(venue, "drop", path="/v5/public/linear")
            assert in_time(await verdict(page, "Degraded"))
            words = await page.text("#reasons")
            assert "data missing" in words
            assert "linear" in words
            assert "connection_not_streaming" in words
            assert "it tries again by itself" in words
            await page.until_text("#connections tr:first-child", "backing off")
            await page.until_text("#connections tr:first-child", "HTTP 403")
            await page.until_text("#connections tr:first-child", "next attempt in")
            await page.until_text("#connections tr:nth-child(2)", "streaming")
            await page.until_text("#markers li:first-child", "disconnect")
            await page.until_text("#errors", "venue.connection_lost")
            await shoot(page, "socket-refused")


async def test_a_page_just_opened_does_not_show_a_long_flow_as_if_it_had_just_begun(
    site: Site,
) -> None:
    """What was before the page watched is dotted, and no line rises out of a zero nobody saw."""
    points = "document.querySelector('#topics .spark polyline').getAttribute('points')"
    async with site.venue(rate=50) as venue, site.gateway(venue.url) as gateway:
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.until_ready()
        async with looking(site, gateway) as page:
            await page.until("document.querySelectorAll('#topics tr').length === 1")
            await page.until(f"({points} || '').split(' ').length >= 3")
            heights = [float(one.split(",")[1]) for one in (await page.value(points)).split()]
            assert heights[0] < 20, "the line begins on the baseline"
            label = "document.querySelector('#topics .spark').getAttribute('aria-label')"
            assert "not watched before" in await page.value(label)
            dotted = "document.querySelector('#topics .spark .unwatched').getAttribute('d')"
            assert (await page.value(dotted)).startswith("M0 ")


async def test_every_word_of_a_state_stands_in_one_piece_at_1280_pixels(site: Site) -> None:
    """It said "connectin" and below it "g"."""
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.until_ready()
        async with looking(site, gateway) as page:
            await verdict(page, "OK")
            for word in ("connecting", "logging in", "subscribing", "streaming"):
                fits = (
                    "(() => { const one = document.querySelector('#vitals .value .state');"
                    f" one.lastChild.textContent = {word!r};"
                    " const tile = one.closest('.vital').getBoundingClientRect();"
                    " const range = document.createRange();"
                    " range.selectNodeContents(one.lastChild);"
                    " const boxes = [...range.getClientRects()];"
                    " return boxes.length === 1 && boxes[0].right <= tile.right; })()"
                )
                assert await page.value(fits), word


@pytest.mark.xdist_group("dev_stack")
async def test_a_killed_broker_is_shown_and_so_is_its_return(
    site: Site, own_broker: PrivateNode
) -> None:
    """Down, with what to do; and OK again without a hand on the page."""
    site = replace(site, amqp_url=own_broker.url)
    server = find_server()
    assert server is not None
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.until_ready()
        async with looking(site, gateway) as page:
            await verdict(page, "OK")
            await page.until_text(".queues tr", "nobody reads")
            stopping = asyncio.create_task(asyncio.to_thread(own_broker.stop))
            assert in_time(await verdict(page, "Down"))
            words = await page.text("#reasons")
            assert "broker_lost" in words
            assert "Bring RabbitMQ back" in words
            assert "ready" not in await page.text("#vitals")
            await page.until_text(".queues", "not known")
            await shoot(page, "broker-down")
            await stopping
            await asyncio.to_thread(own_broker.start, server)
            await verdict(page, "OK", seconds=40)


async def test_a_slow_consumer_is_shown_with_its_backlog_and_its_service(site: Site) -> None:
    """As soon as the gateway knows it, with whom to look after."""
    queue = f"{site.prefix}.sloth.orderbook"
    async with site.venue(rate=50) as venue, site.gateway(venue.url) as gateway:
        wish = {"category": "linear", "delivery": "dedicated", "requesting_service": "sloth"}
        await gateway.add("orderbook", "BTCUSDT", **wish)
        async with slow_consumer(site.amqp_url, queue, 0.2), looking(site, gateway) as page:
            await page.until_text("#queues tr", queue)

            async def alerted() -> bool:
                return bool(gateway.logged("delivery.backlog_alert"))

            await until(alerted, seconds=40, what="the alert")
            assert in_time(await page.until_text("#queues tr:first-child", "slow consumer"))
            assert queue in await page.text("#queues tr:first-child")
            words = await page.text("#reasons")
            assert "service sloth" in words
            assert "no data are missing" in await page.text("#verdict-line")
            await shoot(page, "slow-consumer")
            depth = "document.querySelector('#queues tr').children[2].innerText.replace(',', '')"
            await page.until(f"Number({depth}) > 100")


@pytest.fixture
async def own_postgres() -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL of the test's own; the folder's name is short for the socket's sake."""
    with tempfile.TemporaryDirectory(prefix="wsg-", ignore_cleanup_errors=True) as folder:
        own = EmbeddedPostgres(Path(folder))
        yield own
        await own.stop()


async def test_a_lost_database_and_a_refused_login_are_shown_side_by_side(
    site: Site, own_postgres: EmbeddedPostgres
) -> None:
    """Each with its remedy; public data flow on, and the page says that too."""
    site = replace(site, database_url=await own_postgres.start())
    venue_keys: dict[str, Any] = {"api_key": "sim-key", "api_secret": "sim-secret"}
    async with (
        site.venue(**venue_keys) as venue,
        site.gateway(venue.url, **{**KEYS, "WSG_BYBIT_API_SECRET": "wrong"}) as gateway,
    ):
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.until_ready()
        async with looking(site, gateway) as page:
            await verdict(page, "OK")
            await gateway.add("execution")
            began = time.monotonic()
            await gateway.until_not_ready("login_refused")
            await page.until_text("#reasons", "login_refused")
            assert in_time(time.monotonic() - began)
            assert "check WSG_BYBIT_API_SECRET" in await page.text("#reasons")
            await page.until_text("#private-state", "login refused")
            await page.until_text("#topics tr", "active")

            began = time.monotonic()
            await own_postgres.stop()
            await page.until_text("#reasons", "database_lost")
            assert in_time(time.monotonic() - began)
            assert "Bring PostgreSQL back" in await page.text("#reasons")
            assert "changes are answered 503 meanwhile" in await page.text("#reasons")
            assert "lost" in await page.text("#vitals")
            await shoot(page, "database-lost-login-refused")
            await page.until_text("#topics tr", "active")
            await page.value("document.getElementById('subscribe-open').click()")
            await page.value("document.getElementById('f-symbol').value = 'ETHUSDT'")
            await page.value("document.querySelector('#subscribe-form [type=submit]').click()")
            await page.until_text("#subscribe-problem", "database")
            await gateway.kill()  # without a database a stop by SIGTERM takes its time


async def test_a_gateway_that_vanishes_is_never_shown_as_well(site: Site, free_port: int) -> None:
    """What is old is grey and says how old; the page finds the next gateway by itself."""
    port = {"WSG_HTTP_PORT": str(free_port)}
    async with site.venue() as venue, site.gateway(venue.url, **port) as gateway:
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.until_ready()
        async with looking(site, gateway) as page:
            await verdict(page, "OK")
            await page.value("document.body.dataset.before = getComputedStyle(topics).filter")
            os.kill(gateway.process.pid, 19)  # SIGSTOP: the socket lives, and says nothing
            assert in_time(await verdict(page, "Not known"))
            assert await page.value("document.body.dataset.link") == "lost"
            grey = "getComputedStyle(topics.closest('.panel')).filter.includes('grayscale')"
            assert await page.value(grey)
            await page.until_text("#link", "Not connected since")
            await gateway.kill()
            await page.until_text("#verdict-line", "cannot be reached")
            await shoot(page, "gateway-gone")
            assert await page.value("document.getElementById('verdict').dataset.status") == (
                "unknown"
            )
            assert await page.value("document.title.startsWith('?')")
            async with site.gateway(venue.url, **port) as again:
                await verdict(page, "OK", seconds=30)
                assert await page.value("document.body.dataset.link") == "live"
                assert "Live" in await page.text("#link")
                assert again.process.pid != gateway.process.pid


# ── hands and eyes ────────────────────────────────────────────────────────────────────────────


async def test_everything_can_be_done_with_the_keyboard_alone(site: Site) -> None:
    """Key, a wish that is refused with what is allowed, one that is taken, and taking it back."""
    async with (
        site.venue() as venue,
        site.gateway(venue.url) as gateway,
        browsing(site.folder) as page,
    ):
        await page.go(f"{gateway.http.base_url}/console")
        await page.until("document.activeElement.id === 'key-input'")
        assert "keys create" in await page.text("#key")
        await page.write("no-such-key")
        await page.press("Enter")
        await page.until_text("#key-problem", "is no key of this gateway")
        await page.write(API_KEY)
        await page.press("Enter")
        await page.until("document.body.dataset.link === 'live'")

        await page.tab_to("it.id === 'subscribe-open'")
        await page.press("Enter")
        await page.until("document.activeElement.id === 'f-channel'")
        await _fill(page, symbol="BTCUSDT", depth="7")
        await page.press("Enter")
        await page.until_text("#subscribe-problem", "has no order book of depth 7")
        words = await page.text("#subscribe-problem")
        assert "Field: depth" in words
        assert "Found: 7" in words
        await page.tab_to("it.matches('.choice') && it.innerText === '200'")
        await page.press("Enter")
        await page.until("document.activeElement.id === 'f-depth'")
        await page.press("Enter")
        await page.until_text("#subscribe-done", "orderbook.200.BTCUSDT", seconds=20)
        assert "is active" in await page.text("#subscribe-done")
        await page.press("Escape")
        assert "orderbook.200.BTCUSDT" in await gateway.subscriptions()

        await page.until_text("#topics", "orderbook.200.BTCUSDT")
        await page.tab_to("it.innerText === 'orderbook.200.BTCUSDT'")
        await page.press("Enter")
        await page.until_text("#topic-services", "console")
        await page.tab_to("it.innerText === 'Unsubscribe'")
        await page.press("Enter")
        assert "orderbook.200.BTCUSDT" in await gateway.subscriptions()  # the first may slip
        await page.until("document.activeElement.innerText.startsWith('Yes, unsubscribe')")
        await page.press("Enter")
        await page.until_text("#topic-done", "does not want orderbook.200.BTCUSDT any more")
        assert await gateway.subscriptions() == {}
        await page.press("Escape")


async def test_a_key_that_may_only_look_is_told_so_and_nothing_of_another_is_left(
    site: Site,
) -> None:
    """The form says which scope is missing; a key that is forgotten takes its words with it."""
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        made = await gateway.http.post(
            "/api/v1/keys", json={"name": "eyes", "scopes": ["subscriptions:read"]}
        )
        eyes = made.json()["key"]
        async with looking(site, gateway) as page:
            await page.value("document.getElementById('f-symbol').value = 'ETHUSDT'")
            await page.tab_to("it.id === 'forget'")
            await page.press("Enter")
            await page.until("document.activeElement.id === 'key-input'")
            assert await page.value("sessionStorage.length") == 0
            assert await page.value("document.getElementById('f-symbol').value") == ""
            await page.write(eyes)
            await page.press("Enter")
            await page.until("document.body.dataset.link === 'live'")
            await page.tab_to("it.id === 'subscribe-open'")
            await page.press("Enter")
            await _fill(page, symbol="BTCUSDT", depth="50")
            await page.press("Enter")
            await page.until_text("#subscribe-problem", "has no scope subscriptions:write")


async def _fill(page: Page, *, symbol: str, depth: str) -> None:
    await page.tab_to("it.id === 'f-symbol'")
    await page.write(symbol)
    await page.press("Tab")
    await page.until("document.activeElement.id === 'f-category'")
    for _ in range(2):
        await page.press("ArrowDown")
    assert await page.value("document.getElementById('f-category').value") == "linear"
    await page.press("Tab")
    await page.write(depth)


async def test_it_is_readable_on_a_phone_in_the_dark_and_in_the_light(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    """No sideways scrolling, enough contrast everywhere, and every state has a shape and a word."""
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.add("trades", "BTCUSDT", category="spot")
        await gateway.add("ticker", "BTC-27DEC26-100000-C-USDT", category="option")
        await fault(venue, "refuse_handshake", path="/v5/public/spot")
        await fault(venue, "drop", path="/v5/public/spot")
        async with looking(site, gateway) as page:
            await page.until_text("#reasons", "connection_not_streaming")
            await page.until_text("#queues", site.prefix)
            for width, is_phone in ((360, True), (390, True), (768, False), (1280, False)):
                await page.screen(width, 800, is_phone=is_phone)
                for scheme in ("light", "dark"):
                    await page.colours(scheme)
                    await page.until(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
                    wide = await page.value("document.documentElement.scrollWidth")
                    assert wide <= width, f"{width} px wide, and {wide} px are needed"
                    seen = await page.value(CONTRAST)
                    assert seen["looked"] > 50
                    assert seen["poor"] == [], (width, scheme)
                    await shoot(page, f"{width}-{scheme}")
            bare = (
                "[...document.querySelectorAll('[data-kind].state')].filter((one) =>"
                " !one.querySelector('svg use') || !one.innerText.trim()).length"
            )
            assert await page.value(bare) == 0
            await page.value("document.getElementById('subscribe-open').click()")
            await page.screen(360, 640, is_phone=True)
            for scheme in ("light", "dark"):
                await page.colours(scheme)
                await page.until(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
                assert (await page.value(CONTRAST))["poor"] == []
            assert await page.value("document.documentElement.scrollWidth") <= 360
            record_property("contrast_looked_at", seen["looked"])
