"""What stands outside: reached at the start, or the start is given up by a stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import Any, TypeVar

import structlog

from ws_gateway.config import Settings
from ws_gateway.control.health import Places
from ws_gateway.delivery.link import prove_broker
from ws_gateway.errors import BrokerLost, ConfigError
from ws_gateway.storage.changes import LedgerChanges
from ws_gateway.storage.database import migrate, open_pool, place_of
from ws_gateway.storage.embedded import EmbeddedPostgres, embedded_folder
from ws_gateway.storage.subscriptions import PostgresSubscriptions

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

GOODBYE_SECONDS = 1.0
"""How long the broker, and then the database, may take to say goodbye; the rest is the drain's."""


class _StoppedEarly(Exception):
    """The stop came before the start was complete."""


async def or_stop(step: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    """Await a step of the start, or give it up: one may wait for minutes on another's lock."""
    doing, stopping = asyncio.ensure_future(step), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise _StoppedEarly
        return await doing
    finally:
        stopping.cancel()
        doing.cancel()
        await asyncio.wait({doing, stopping})


@contextlib.contextmanager
def unstarted_if_stopped() -> Iterator[None]:
    """Take a start that was given up by a stop for an orderly end."""
    try:
        yield
    except _StoppedEarly:
        log.info("gateway.stopped_before_start")


@asynccontextmanager
async def database(
    settings: Settings, stop: asyncio.Event
) -> AsyncIterator[tuple[PostgresSubscriptions, LedgerChanges]]:
    """Migrate the database and open it."""
    async with database_url(settings) as url:
        await or_stop(migrate(url), stop)
        pool = await or_stop(open_pool(url), stop)
        try:
            yield PostgresSubscriptions(pool), LedgerChanges(url, rng=SystemRandom())
        finally:
            try:
                await asyncio.wait_for(pool.close(), GOODBYE_SECONDS)
            except TimeoutError:
                pool.terminate()


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """Name the configured PostgreSQL, or run the embedded one meanwhile."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    embedded = EmbeddedPostgres(settings.data_dir)
    try:
        url = await embedded.start()
        keeping = asyncio.create_task(embedded.keep(), name="embedded database")
        try:
            yield url
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
    finally:
        await embedded.stop()


def places_of(settings: Settings) -> Places:
    """Say where database and broker are, without who logs in."""
    if settings.database_url is not None:
        database = place_of(settings.database_url.get_secret_value())
    else:
        folder = embedded_folder(settings.data_dir)
        database = f"the embedded PostgreSQL in {folder}, which the gateway starts again by itself"
    return Places(database, f"RabbitMQ at {_host_of(settings.amqp_url.get_secret_value())}")


async def require_broker(settings: Settings) -> None:
    """Log in at the broker once.

    Raises:
        ConfigError: it refuses, or is not there.
    """
    url = settings.amqp_url.get_secret_value()
    try:
        await prove_broker(url)
    except BrokerLost as exc:
        raise ConfigError(
            "WSG_AMQP_URL",
            f"RabbitMQ at {_host_of(url)} cannot be used ({exc})",
            "start RabbitMQ there, or correct host, port, user and virtual host",
        ) from exc


def _host_of(url: str) -> str:
    return url.partition("://")[2].rpartition("@")[2]
