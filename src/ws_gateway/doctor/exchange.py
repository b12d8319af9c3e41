"""What Bybit says: REST, clock, a public socket, the key, and a login."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from datetime import UTC, datetime

from ws_gateway.config import Settings
from ws_gateway.doctor.finding import Finding, failed, ok, skipped, warning
from ws_gateway.domain.topic import Category
from ws_gateway.errors import Rejected, VenueLost
from ws_gateway.runtime.clock import clock_us
from ws_gateway.venue.auth import Credentials, signature
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.connection import open_socket
from ws_gateway.venue.rest import BybitRest, KeyInformation

SKEW_WARNING_MS = 500
"""A clock that is off by more is a machine that keeps no time; logins are mended by themselves."""

EXPIRY_WARNING_DAYS = 14

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
_LOGIN_VALIDITY_MS = 10_000


async def check_exchange(settings: Settings) -> list[Finding]:
    """Ask Bybit everything the gateway will need of it."""
    async with BybitRest(settings.rest_url) as rest:
        clock = VenueClock(rest, clock_us=clock_us)
        findings = await _check_rest(settings, clock)
        is_away = any(one.verdict == "failed" for one in findings)
        findings.append(await _check_public(settings))
        credentials = _credentials(settings)
        if credentials is None:
            why = "WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET are unset: public data only"
            return [*findings, skipped("key", why), skipped("login", why)]
        for account, each in [(None, credentials), *_further(settings)]:
            found = [
                skipped("key", "REST is away") if is_away else await _check_key(rest, each, clock),
                await _check_login(settings, each, clock),
            ]
            findings += found if account is None else [_of(account, one) for one in found]
        return findings


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
    answer = await _talk(url, b'{"op":"ping","req_id":"doctor"}')
    if isinstance(answer, str):
        return failed("websocket", answer, "let this machine reach it (outgoing, port 443)")
    return ok("websocket", f"{url} answers within {answer[1]:.0f} ms")


async def _check_key(rest: BybitRest, credentials: Credentials, clock: VenueClock) -> Finding:
    try:
        known = await rest.key_information(credentials, clock.now_ms())
    except (VenueLost, Rejected) as exc:
        return failed(
            "key",
            f"key {credentials.shown}: {exc}",
            "check key and secret, their environment, and the addresses the key is bound to",
        )
    return judge_key(known, credentials.shown, datetime.now(UTC))


def judge_key(known: KeyInformation, shown: str, now: datetime) -> Finding:
    """Say what a key that Bybit knows is good for.

    Args:
        known: what Bybit says of it.
        shown: the key, as far as it may be shown.
        now: aware.
    """
    bound = ", ".join(known.ips) or "no address"
    may = ", ".join(name for name, rights in sorted(known.permissions.items()) if rights)
    said = (
        f"key {shown} is known ({'read-only' if known.read_only else 'may trade'}; "
        f"{may or 'no permission'}); bound to {bound}; expires {known.expired_at or 'never'}"
    )
    with contextlib.suppress(ValueError):
        left = datetime.fromisoformat(known.expired_at) - now
        if left.days < EXPIRY_WARNING_DAYS:
            return warning("key", said, "renew it at Bybit; its files may be changed while we run")
    if not known.read_only:
        return warning("key", said, "a read-only key is enough, and cannot lose money")
    return ok("key", said)


async def _check_login(settings: Settings, credentials: Credentials, clock: VenueClock) -> Finding:
    url = f"{settings.private_ws_url}/v5/private"
    expires = clock.now_ms() + _LOGIN_VALIDITY_MS
    sign = signature(credentials.secret, expires)
    request = f'{{"req_id":"doctor","op":"auth","args":["{credentials.key}",{expires},"{sign}"]}}'
    answer = await _talk(url, request.encode())
    if isinstance(answer, str):
        return failed("login", answer, "let this machine reach it (outgoing, port 443)")
    words, took = answer
    if b'"success":true' in words.replace(b" ", b""):
        return ok("login", f"{url} takes the login within {took:.0f} ms")
    said = words.decode("utf-8", "replace")[:200]
    for secret in (credentials.secret, credentials.key, sign):
        said = said.replace(secret, "…")
    return failed("login", f"{url}: {said}", "see the key above; its secret may be wrong")


async def _talk(url: str, words: bytes) -> tuple[bytes, float] | str:
    """Say one thing on a new socket; answers the first answer and its ms, or what went wrong."""
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def take(message: bytes) -> None:
        if not answer.done():
            answer.set_result(message)

    began = time.monotonic()
    try:
        socket = await open_socket(
            url,
            take,
            connect_deadline_seconds=_CONNECT_SECONDS,
            handshake_deadline_seconds=_CONNECT_SECONDS,
        )
    except VenueLost as exc:
        return exc.detail
    try:
        socket.send(words)
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await answer, (time.monotonic() - began) * 1000
    except TimeoutError:
        return f"{url} gave no answer within {_ANSWER_SECONDS:.0f} s"
    finally:
        socket.close("examined")


def _of(account: str, finding: Finding) -> Finding:
    return replace(finding, found=f"account {account}: {finding.found}")


def _further(settings: Settings) -> list[tuple[str, Credentials]]:
    return [(one.name, Credentials(one.key, one.secret)) for one in settings.further_accounts]


def _credentials(settings: Settings) -> Credentials | None:
    if settings.bybit_api_key is None or settings.bybit_api_secret is None:
        return None
    return Credentials(
        settings.bybit_api_key.get_secret_value(), settings.bybit_api_secret.get_secret_value()
    )
