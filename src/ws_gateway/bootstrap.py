"""Composition root: joins the sides that `composition` builds, and owns the order of life.

Start: database, broker proof, sockets, tasks. Stop, under one deadline: intake, drain, confirms,
connections, database.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, TypeVar

import structlog

from ws_gateway import __version__
from ws_gateway.composition.data_path import DataPath, build_data_path
from ws_gateway.composition.desk import Desk, build_desk
from ws_gateway.composition.queue_care import QueueCare, build_queue_care
from ws_gateway.config import Settings
from ws_gateway.contract.asyncapi import Site
from ws_gateway.contract.files import render
from ws_gateway.control.api.app import create_app
from ws_gateway.control.api.certificate import Certificate
from ws_gateway.control.api.edge import OpenRequests
from ws_gateway.control.api.server import HttpServer, listening
from ws_gateway.control.balances import BalanceService
from ws_gateway.control.console.audience import Audience
from ws_gateway.control.console.pictures import Pictures, Sources
from ws_gateway.control.figures import Figures
from ws_gateway.control.guard import Guard, Limits
from ws_gateway.control.health import HealthReporter, Places
from ws_gateway.control.keyring import KeyRing
from ws_gateway.control.keys import KeyService
from ws_gateway.control.metrics.metric import Meters
from ws_gateway.control.metrics.scrape import Scrape
from ws_gateway.control.operations import Operations
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.service import SubscriptionService
from ws_gateway.delivery.link import prove_broker
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import BrokerLost, ConfigError
from ws_gateway.runtime.counters import RecordingTally
from ws_gateway.runtime.loop_lag import LoopLag
from ws_gateway.runtime.telemetry import Telemetry
from ws_gateway.storage.audit import PostgresAudit
from ws_gateway.storage.changes import LedgerChanges
from ws_gateway.storage.database import migrate, open_pool, place_of
from ws_gateway.storage.embedded import EmbeddedPostgres, embedded_folder
from ws_gateway.storage.keys import PostgresKeys
from ws_gateway.storage.subscriptions import PostgresSubscriptions

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

STOP_SECONDS = 8.0
"""From the signal to the end, whoever is away: an orchestrator grants 10 s."""

GRACE_SECONDS = 1.0
"""How long requests and statements at work may go on."""

INTAKE_SECONDS = 3.0
"""How long the intake may take to end, the grace included."""

GOODBYE_SECONDS = 1.0
"""How long the broker, and then the database, may take to say goodbye; the rest is the drain's."""


SPOOL_SECONDS = 0.5
"""How long the spool may take to end what it is at, and then to write what is held."""


class _LateObserver:
    """Closes the ring venue → control: the reconciler exists only after the feed it steers."""

    reconciler: Reconciler

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        self.reconciler.topic_changed(topic, state, error)


async def serve(settings: Settings, stop: asyncio.Event, telemetry: Telemetry) -> None:
    """Run the gateway until `stop` is set, then drain and leave; a stop ends the start too.

    Args:
        settings: what to serve, and with whom.
        stop: ends it.
        telemetry: of the process, for what changes it at run time.

    Raises:
        ConfigError: something outside refused at start; a person must act.
        ExceptionGroup: a defect of ours ended a room, and with it the gateway.
    """
    shown = _certificate(settings)
    with listening(settings.http_host, settings.http_port) as listener, _unstarted_if_stopped():
        async with _database(settings, stop) as (store, changes):
            await _or_stop(_require_broker(settings), stop)
            observer = _LateObserver()
            desk = build_desk(settings)
            path = build_data_path(settings, observer, desk, telemetry, store.statements)
            care = build_queue_care(settings, store, path)
            policy = Policy.of(settings)
            reconciler = observer.reconciler = Reconciler(store, path.feed, policy, care.steward)
            figures = Figures(
                path.counters, lambda: path.publisher.in_flight, lambda: path.spool.observed
            )
            ring = KeyRing(PostgresKeys(store.statements))
            trail = PostgresAudit(store.statements)
            await _or_stop(_read_keys(ring, settings), stop)
            requests = OpenRequests()
            meters = Meters(
                counters=path.counters,
                tally=path.tally,
                hops=path.times.latency,
                deliveries=path.times.whole,
                topics=reconciler.times,
                clock=desk.clock,
                spool_max_bytes=settings.spool_max_bytes,
                account=path.account_tally,
                accounts=path.accounts,
                filling=path.filling,
                recording=path.recorder.tally if path.recorder else RecordingTally(),
            )
            reporter = HealthReporter(
                store=store,
                feed=path.feed,
                delivery=path.publisher,
                reconciler=reconciler,
                counters=figures.now,
                epoch=path.epoch,
                notices=desk.maintenance,
                backlog=care.monitor,
                accounts=path.accounts,
                places=_places(settings),
            )
            sources = Sources(
                health=reporter,
                topics=reconciler,
                streams=path.runner,
                markers=path.runner.marks,
                troubles=telemetry.troubles,
                meters=meters,
                has_key=policy.has_credentials,
            )
            audience = Audience(Pictures(sources))
            app = create_app(
                subscriptions=SubscriptionService(
                    store,
                    reconciler,
                    policy,
                    desk.instruments,
                    care.steward,
                    streams=path.runner,
                    quota=settings.quota_subscriptions,
                    asked_by=path.asked_by,
                    queue_prefix=settings.amqp_prefix,
                ),
                health=reporter,
                scrape=Scrape(reporter, meters),
                operations=Operations(reporter, trail, telemetry.levels),
                keys=KeyService(PostgresKeys(store.statements), ring),
                guard=Guard(settings.api_key, ring, _limits(settings)),
                audience=audience,
                requests=requests,
                contract=render(_site(settings)),
                balances=BalanceService(path.accounts, trail, path.is_followed),
            )
            server = HttpServer(
                app, settings.http_trusted_proxies, None if shown is None else shown.context
            )
            control = _Control(
                store,
                changes,
                reconciler,
                ring,
                care,
                meters.loop,
                audience,
                requests,
                server,
                shown,
            )
            try:
                is_drained = await _run_rooms(path, desk, control, listener, stop)
            finally:
                await desk.close()
                if path.recorder is not None:
                    await asyncio.to_thread(path.recorder.close)
            if is_drained:
                log.info("gateway.stopped", **figures.now())
            else:
                lost = path.publisher.in_flight
                log.error("gateway.stopped_with_loss", lost=lost, **figures.now())


def _certificate(settings: Settings) -> Certificate | None:
    if settings.http_certificate_file is None or settings.http_key_file is None:
        return None
    return Certificate(settings.http_certificate_file, settings.http_key_file)


async def _read_keys(ring: KeyRing, settings: Settings) -> None:
    """Know the keys before the first request; say if nobody can get in."""
    await ring.read()
    if settings.api_key is None and ring.is_known_empty:
        why = "WSG_API_KEY is unset and there is no other key, so all is refused"
        log.warning("gateway.api_closed", why=why)


def _limits(settings: Settings) -> Limits:
    return Limits(
        requests_per_second=settings.requests_per_second,
        requests_burst=settings.requests_burst,
        failures_per_minute=settings.wrong_keys_per_minute,
    )


def _site(settings: Settings) -> Site:
    """Return where the contract is true: the broker's host, without who logs in."""
    scheme, _, rest = settings.amqp_url.get_secret_value().partition("://")
    host = rest.rpartition("@")[2].partition("/")[0].partition("?")[0]
    return Site(settings.amqp_prefix, settings.queue_type, host, scheme)


@dataclass(frozen=True, slots=True)
class _Control:
    """The side door, joined: what may have to be told not to wait any longer."""

    store: PostgresSubscriptions
    changes: LedgerChanges
    reconciler: Reconciler
    ring: KeyRing
    care: QueueCare
    loop: LoopLag
    audience: Audience
    requests: OpenRequests
    http: HttpServer
    shown: Certificate | None

    def url_of(self, listener: socket.socket) -> str:
        """Say where the HTTP API is."""
        scheme = "http" if self.shown is None else "https"
        return "{}://{}:{}".format(scheme, *listener.getsockname()[:2])

    def stop(self) -> None:
        """Begin nothing new."""
        self.reconciler.stop()
        self.ring.stop()
        self.audience.end()
        self.http.stop()

    def give_up(self) -> None:
        """Wait for no answer any more; who waits for ours is told so."""
        self.store.abandon()
        self.requests.end()


async def _run_rooms(
    path: DataPath,
    desk: Desk,
    control: _Control,
    listener: socket.socket,
    stop: asyncio.Event,
) -> bool:
    """Own the rooms' tasks: the death of any ends all; a stop goes through its stages.

    Answers whether everything that was taken is confirmed, or on disk for the next process.
    """
    if path.recorder is not None:
        path.recorder.start()
    await path.spool.open()
    for account in path.accounts:
        await account.restore()
    async with asyncio.TaskGroup() as rooms:
        spooling = rooms.create_task(path.spool.run(), name="spool")
        storing = [
            (one, rooms.create_task(one.writer.run(), name=f"balances of {one.name}"))
            for one in path.accounts
        ]
        publishing = rooms.create_task(path.publisher.run(), name="publisher")
        feeding = rooms.create_task(path.feed.run(), name="feed")
        reconciling = rooms.create_task(control.reconciler.run(), name="reconciler")
        keying = rooms.create_task(control.ring.run(), name="keys")
        serving = rooms.create_task(control.http.serve(sockets=[listener]), name="http")
        aside = _begin_aside(rooms, path, desk, control)
        log.info(
            "gateway.started",
            version=__version__,
            epoch=path.epoch,
            url=control.url_of(listener),
        )
        try:
            await stop.wait()
        except asyncio.CancelledError:  # a room died
            control.give_up()
            raise
        ends_at = asyncio.get_running_loop().time() + STOP_SECONDS
        log.info("gateway.stopping", held=path.publisher.status().buffered_events)
        path.feed.stop()
        control.stop()
        if path.backfill is not None:
            path.backfill.stop()
        for task in aside:
            task.cancel()
        await _end_intake(control, feeding, reconciling, keying, serving)
        await asyncio.gather(*(account.end(task) for account, task in storing))
        left = ends_at - 2 * GOODBYE_SECONDS - asyncio.get_running_loop().time()
        drained = await path.publisher.drain(left)
        await path.publisher.close(GOODBYE_SECONDS)
        publishing.cancel()
        path.spool.stop()
        await asyncio.wait({spooling}, timeout=SPOOL_SECONDS)
        spooling.cancel()
        with contextlib.suppress(TimeoutError):  # a disk that hangs
            async with asyncio.timeout(SPOOL_SECONDS):
                await path.spool.close()
    return drained or not path.publisher.status().buffered_events


def _begin_aside(
    rooms: asyncio.TaskGroup, path: DataPath, desk: Desk, control: _Control
) -> list[asyncio.Task[None]]:
    """Begin what holds nothing that could be lost."""
    aside = [
        rooms.create_task(desk.instruments.run(), name="instruments"),
        rooms.create_task(desk.maintenance.run(), name="maintenance"),
        rooms.create_task(desk.clock.run(), name="clock"),
        rooms.create_task(control.loop.run(), name="loop lag"),
        rooms.create_task(control.care.run(), name="queues"),
        rooms.create_task(control.changes.run(control.reconciler), name="changes"),
        # One table for all accounts, so one of them looks after it.
        rooms.create_task(path.accounts[0].retention.run(), name="retention"),
    ]
    for one in path.accounts:
        aside += [
            rooms.create_task(one.reconciliation.run(), name=f"reconciliation of {one.name}"),
            rooms.create_task(one.marks.run(), name=f"marks of {one.name}"),
        ]
    aside += [rooms.create_task(one.run(), name="credentials") for one in path.credential_files]
    if path.backfill is not None:
        aside.append(rooms.create_task(path.backfill.run(), name="backfill"))
    if control.shown is not None:
        aside.append(rooms.create_task(control.shown.run(), name="certificate"))
    return aside


async def _end_intake(control: _Control, *tasks: asyncio.Task[None]) -> None:
    """Let tasks end by themselves for a while, then without what they wait for, then at all."""
    _, late = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
    if late:
        control.give_up()
        _, late = await asyncio.wait(late, timeout=INTAKE_SECONDS - GRACE_SECONDS)
    for task in late:
        task.cancel()


# ── what stands outside ───────────────────────────────────────────────────────────────────────


class _StoppedEarly(Exception):
    """The stop came before the start was complete."""


async def _or_stop(step: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
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
def _unstarted_if_stopped() -> Iterator[None]:
    try:
        yield
    except _StoppedEarly:
        log.info("gateway.stopped_before_start")


@asynccontextmanager
async def _database(
    settings: Settings, stop: asyncio.Event
) -> AsyncIterator[tuple[PostgresSubscriptions, LedgerChanges]]:
    async with database_url(settings) as url:
        await _or_stop(migrate(url), stop)
        pool = await _or_stop(open_pool(url), stop)
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


def _places(settings: Settings) -> Places:
    """Say where database and broker are, without who logs in."""
    if settings.database_url is not None:
        database = place_of(settings.database_url.get_secret_value())
    else:
        folder = embedded_folder(settings.data_dir)
        database = f"the embedded PostgreSQL in {folder}, which the gateway starts again by itself"
    return Places(database, f"RabbitMQ at {_host_of(settings.amqp_url.get_secret_value())}")


async def _require_broker(settings: Settings) -> None:
    url = settings.amqp_url.get_secret_value()
    try:
        await prove_broker(url)
    except BrokerLost as exc:
        raise ConfigError(
            "WSG_AMQP_URL",
            f"RabbitMQ at {_host_of(url)} refuses ({exc})",
            "start RabbitMQ there, or correct host, port, user and virtual host",
        ) from exc


def _host_of(url: str) -> str:
    return url.partition("://")[2].rpartition("@")[2]
