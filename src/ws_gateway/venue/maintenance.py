"""What the venue announces of itself: maintenance (Bybit v5 docs, System Status)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Protocol

import structlog

from ws_gateway.domain.topic import Endpoint
from ws_gateway.errors import Rejected, VenueLost
from ws_gateway.ports.feed import MaintenanceNotice
from ws_gateway.runtime.backoff import full_jitter
from ws_gateway.venue_hosts import BybitEnvironment

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

OVERTIME = timedelta(minutes=15)
"""How long past its announced end maintenance is believed to go on while nobody says so."""

_SCHEDULED, _ONGOING = "scheduled", "ongoing"
_STATES = frozenset({_SCHEDULED, _ONGOING, "completed", "canceled"})
_PRODUCTION, _DEMO = 1, 2
_PRIVATE_STREAM, _MARKET_DATA = 4, 5
_ENDPOINTS_OF = {
    1: frozenset({Endpoint.LINEAR, Endpoint.INVERSE}),
    2: frozenset({Endpoint.SPOT}),
    3: frozenset({Endpoint.OPTION}),
    4: frozenset({Endpoint.SPREAD}),
}
_EVERY_PRODUCT = frozenset(_ENDPOINTS_OF)
_RETRY_BASE_SECONDS = 5.0
_RETRY_CAP_SECONDS = 120.0
_MOST_WORDS = 200
_MOST_NOTICES = 200


def read_notice(row: object, environment: BybitEnvironment) -> MaintenanceNotice | None:
    """Read one row, of REST or of the stream; None if it says nothing or is of elsewhere.

    Numbers may come as texts: the documentation says so and its samples do not. Without products
    all are meant. What is over is read too, so that it can end what went on.
    """
    if not isinstance(row, Mapping):
        return None
    state, name = row.get("state"), row.get("id")
    if not isinstance(state, str) or state not in _STATES or not isinstance(name, str):
        return None
    services = _numbers(row.get("serviceTypes"))
    products = _numbers(row.get("product")) or _EVERY_PRODUCT
    has_public, has_private = _reach(_number(row.get("env")), environment)
    if not has_public and not has_private:
        return None
    endpoints: set[Endpoint] = set()
    if has_public and _MARKET_DATA in services:
        endpoints.update(*(_ENDPOINTS_OF.get(product, ()) for product in products))
    if has_private and _PRIVATE_STREAM in services:
        endpoints.add(Endpoint.PRIVATE)
    return MaintenanceNotice(
        id=name[:_MOST_WORDS],
        title=str(row.get("title") or "")[:_MOST_WORDS],
        state=state,
        begins_at=_time(row.get("begin")),
        ends_at=_time(row.get("end")),
        endpoints=frozenset(endpoints),
    )


def _reach(env: int | None, environment: BybitEnvironment) -> tuple[bool, bool]:
    """Say whether notices of an `env` concern our public and our private data."""
    if env is None:
        return True, True
    if environment is BybitEnvironment.DEMO:  # its public data is mainnet's
        return env == _PRODUCTION, env == _DEMO
    return env == _PRODUCTION, env == _PRODUCTION


def _numbers(value: object) -> frozenset[int]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return frozenset()
    found = (_number(each) for each in value)
    return frozenset(each for each in found if each is not None)


def _number(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    is_text = isinstance(value, str) and value.isascii() and value.isdigit()
    return int(str(value)) if is_text and len(str(value)) < 20 else None  # noqa: PLR2004 - 64 bits


def _time(value: object) -> datetime | None:
    number = _number(value)
    if not number:
        return None
    try:
        return datetime.fromtimestamp(number / 1000, tz=UTC)
    except (OverflowError, OSError, ValueError):
        return None


class StatusSource(Protocol):
    """Who knows the venue's notices; `BybitRest`."""

    async def system_status(self) -> list[Any]:
        """Return the rows as they came. Raises `VenueLost` or `Rejected`."""


class Maintenance:
    """What is announced or going on, as far as it is known; implements `VenueNotices`.

    Asks REST now and again, and may be told by the stream through `absorb`.

    Args:
        source: where notices are read.
        environment: whose notices concern us.
        clock_us: Unix time, µs.
        rng: source of chance, so that a test can own it.
        poll_seconds: between two readings.
        retry_base_seconds: width of the first delay after a failure.
    """

    def __init__(
        self,
        source: StatusSource,
        *,
        environment: BybitEnvironment,
        clock_us: Callable[[], int],
        rng: Random,
        poll_seconds: float = 60.0,
        retry_base_seconds: float = _RETRY_BASE_SECONDS,
    ) -> None:
        self._source = source
        self._environment = environment
        self._clock_us = clock_us
        self._rng = rng
        self._poll_seconds = poll_seconds
        self._retry_base_seconds = retry_base_seconds
        self._notices: dict[str, MaintenanceNotice] = {}
        self._told_ongoing: dict[str, MaintenanceNotice] = {}
        self._is_away = False

    def notices(self) -> Sequence[MaintenanceNotice]:
        """Return what is announced or going on, soonest first."""
        now = self._now()
        current = (self._as_of(each, now) for each in self._notices.values())
        return sorted((each for each in current if each is not None), key=_begin)

    def is_ongoing(self, endpoint: Endpoint) -> bool:
        """Say whether maintenance takes data from an endpoint right now."""
        if not self._notices:
            return False
        return any(each.state == _ONGOING and endpoint in each.endpoints for each in self.notices())

    def absorb(self, rows: Iterable[object]) -> None:
        """Take note of rows of the stream, which tells only what changes."""
        for row in rows:
            notice = read_notice(row, self._environment)
            if notice is None:
                continue
            if notice.state in (_SCHEDULED, _ONGOING):
                if notice.id in self._notices or len(self._notices) < _MOST_NOTICES:
                    self._notices[notice.id] = notice
            else:
                self._notices.pop(notice.id, None)
        self._tell()

    async def run(self) -> None:
        """Ask now and again, until cancelled."""
        delays = self._fresh_delays()
        while True:
            try:
                rows = await self._source.system_status()
            except (VenueLost, Rejected) as exc:
                asked = exc.retry_after_seconds if isinstance(exc, VenueLost) else None
                pause = max(asked or 0.0, next(delays), min(1.0, self._poll_seconds))
                self._lose(exc)
            else:
                delays = self._fresh_delays()
                pause = self._poll_seconds
                self._is_away = False
                self._notices.clear()  # REST tells everything there is
                self.absorb(rows)
            await asyncio.sleep(pause)

    def _lose(self, exc: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("venue.system_status_unread", why=str(exc))
        self._tell()

    def _as_of(self, notice: MaintenanceNotice, now: datetime) -> MaintenanceNotice | None:
        """Judge a notice by the clock as far as the venue itself cannot be asked."""
        if not self._is_away:
            return notice
        begins_at, ends_at = notice.begins_at, notice.ends_at
        if ends_at is not None and now > ends_at + OVERTIME:
            return None
        if notice.state == _SCHEDULED and begins_at is not None and begins_at <= now:
            # REST is away as announced, and will not say that it has begun.
            return MaintenanceNotice(
                notice.id, notice.title, _ONGOING, begins_at, ends_at, notice.endpoints
            )
        return notice

    def _tell(self) -> None:
        """Log what began and what ended, once each."""
        ongoing = {each.id: each for each in self.notices() if each.state == _ONGOING}
        for name, notice in ongoing.items():
            if name not in self._told_ongoing:
                log.warning(
                    "venue.maintenance_begun",
                    title=notice.title,
                    endpoints=sorted(notice.endpoints),
                    ends_at=notice.ends_at.isoformat() if notice.ends_at else None,
                )
        for name, notice in self._told_ongoing.items():
            if name not in ongoing:
                log.info("venue.maintenance_ended", title=notice.title)
        self._told_ongoing = ongoing

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock_us() / 1e6, tz=UTC)

    def _fresh_delays(self) -> Iterator[float]:
        return full_jitter(
            base_seconds=self._retry_base_seconds,
            cap_seconds=_RETRY_CAP_SECONDS,
            rng=self._rng,
            first_at_once=False,
        )


def _begin(notice: MaintenanceNotice) -> datetime:
    return notice.begins_at or datetime.min.replace(tzinfo=UTC)
