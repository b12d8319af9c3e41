"""The console in a real browser: readable everywhere, and keys suffice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.browser import CONTRAST, Page, browsing
from support.console_stage import fault, looking, shoot, verdict
from support.programs import API_KEY
from support.site import Site

pytestmark = pytest.mark.xdist_group("browser")


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


# ── hands and eyes ────────────────────────────────────────────────────────────────────────────


async def test_everything_can_be_done_with_the_keyboard_alone(site: Site) -> None:
    """Key, a wish that is refused with what is allowed, one that is taken, and taking it back."""
    async with (
        site.venue() as venue,
        site.gateway(venue.url) as gateway,
        browsing(site.folder) as page,
    ):
        # With a connection there, the page gets the answer that it waits for in a moment.
        await gateway.add("trades", "BTCUSDT", category="linear")
        await gateway.until_ready()
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
        await page.until_text("#subscribe-done", "orderbook.200.BTCUSDT")
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
        assert list(await gateway.subscriptions()) == ["publicTrade.BTCUSDT"]
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
    await page.until("document.getElementById('f-category').value === 'linear'")
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
