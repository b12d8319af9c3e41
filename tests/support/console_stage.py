"""The console open in a browser, before a gateway whose surroundings fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from support.browser import Page, browsing
from support.programs import API_KEY, Gateway, Venue, crowd
from support.site import Site

SHOWN_SECONDS = 5.0
"""How soon a fault is on the page."""

SHOTS = Path(__file__).resolve().parents[2] / ".dev" / "shots"
"""Where pictures of the page are left for people to look at."""


def in_time(seconds: float) -> bool:
    """Say whether something was shown in time; a crowded machine gets more of it."""
    print(f"shown after {seconds:.1f} s, load {crowd():.1f} per core")  # noqa: T201 - to look at
    return seconds <= SHOWN_SECONDS * crowd()


async def fault(venue: Venue, name: str, **parameters: Any) -> None:
    """Let the simulator misbehave."""
    answer = await _venue(venue, "POST", name, parameters)
    assert answer.status_code == 200, answer.text


async def well(venue: Venue, name: str) -> None:
    """Let it behave again."""
    answer = await _venue(venue, "DELETE", name)
    assert answer.status_code == 200, answer.text


async def _venue(
    venue: Venue, method: str, name: str, body: dict[str, Any] | None = None
) -> httpx.Response:
    url = venue.url.replace("ws:", "http:")
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        return await http.request(method, f"/sim/faults/{name}", json=body)


@asynccontextmanager
async def looking(
    site: Site, gateway: Gateway, url: str = "", *, clock_ahead_ms: int = 0
) -> AsyncIterator[Page]:
    """Have the page open with the administrator's key, until it shows something.

    Args:
        site: where the browser keeps its things.
        gateway: whose console it is.
        url: the way to it, if it is not its own.
        clock_ahead_ms: how wrong the browser's clock is.
    """
    url = url or str(gateway.http.base_url)
    async with browsing(site.folder) as page:
        if clock_ahead_ms:
            await page.before_scripts(
                f"const right = Date.now; Date.now = () => right() + ({clock_ahead_ms});"
            )
        await page.screen(1280, 900)
        await page.go(f"{url}/console")
        await enter(page, API_KEY)
        yield page
        # Whatever happened: nothing was asked of anybody else, and no script failed.
        assert {asked.startswith((url, "data:")) for asked in page.requests} == {True}
        assert [one for one in page.errors if "Failed to load" not in one] == []


async def enter(page: Page, key: str) -> None:
    """Type the key, and wait for the first picture."""
    await page.until("document.activeElement.id === 'key-input'")
    await page.write(key)
    await page.press("Enter")
    await page.until("document.body.dataset.link === 'live'")


async def verdict(page: Page, word: str, *, seconds: float = 60) -> float:
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


async def shoot_everywhere(page: Page, name: str) -> None:
    """Leave pictures of the whole page: wide and as on a phone, light and dark."""
    for width, is_phone in ((1280, False), (390, True)):
        await page.screen(width, 900, is_phone=is_phone)
        for scheme in ("light", "dark"):
            await page.colours(scheme)
            await page.until(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
            await shoot(page, f"{name}-{width}-{scheme}")
    await page.screen(1280, 900)
    await page.colours("light")
