"""What Bybit says: REST, clock, a public socket, and every account's key."""

from __future__ import annotations

import time

from ws_gateway.config import Settings
from ws_gateway.doctor.finding import Finding, failed, ok, skipped, warning
from ws_gateway.doctor.keys import check_keys
from ws_gateway.doctor.talk import talk, way_to
from ws_gateway.domain.topic import Category
from ws_gateway.errors import Rejected, VenueLost
from ws_gateway.runtime.clock import clock_us
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.rest import BybitRest

SKEW_WARNING_MS = 500
"""A clock that is off by more is a machine that keeps no time; logins are mended by themselves."""


async def check_exchange(settings: Settings) -> list[Finding]:
    """Ask Bybit everything the gateway will need of it."""
    async with BybitRest(settings.rest_url) as rest:
        clock = VenueClock(rest, clock_us=clock_us)
        findings = await _check_rest(settings, clock)
        is_away = any(one.verdict == "failed" for one in findings)
        findings.append(await _check_public(settings))
        return [*findings, *await check_keys(settings, None if is_away else rest, clock)]


async def _check_rest(settings: Settings, clock: VenueClock) -> list[Finding]:
    began = time.monotonic()
    try:
        offset = await clock.measure()
    except (VenueLost, Rejected) as exc:
        return [
            failed(
                "rest",
                str(exc),
                "let this machine reach it, or correct WSG_BYBIT_ENVIRONMENT or WSG_BYBIT_REST_URL",
            ),
            skipped("clock", "REST is away"),
        ]
    took = (time.monotonic() - began) * 1000
    found = [ok("rest", f"{settings.rest_url} answers within {took:.0f} ms")]
    said = f"this machine is {abs(offset)} ms {'behind' if offset > 0 else 'ahead of'} Bybit's"
    said += f" (± {clock.uncertainty_ms} ms)"
    if abs(offset) - clock.uncertainty_ms > SKEW_WARNING_MS:
        return [*found, warning("clock", said, "let this machine keep its time (NTP)")]
    return [*found, ok("clock", said)]


async def _check_public(settings: Settings) -> Finding:
    if not settings.serves_public:
        return skipped("websocket", "WSG_CONNECTION_STRATEGY is single, and a key is set")
    category = next(iter(settings.enabled_categories), Category.LINEAR)
    url = f"{settings.public_ws_url}/v5/public/{category}"
    answer = await talk(url, b'{"op":"ping","req_id":"doctor"}')
    if isinstance(answer, str):
        return failed("websocket", answer, way_to(url))
    return ok("websocket", f"{url} answers within {answer[1]:.0f} ms")
