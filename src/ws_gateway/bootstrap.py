"""Composition root: the only module that knows every concrete class, and the order of life.

Start: database, broker proof, sockets, tasks. Stop, under one deadline: intake, drain, confirms,
connections, database.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, TypeVar

import structlog

from ws_gateway import __version__
from ws_gateway.account_parts import Account
from ws_gateway.config import Settings
from ws_gateway.contract.asyncapi import Site
from ws_gateway.contract.files import render
from ws_gateway.control.api.app import create_app
from ws_gateway.control.api.edge import OpenRequests
from ws_gateway.control.api.server import HttpServer, listening
from ws_gateway.control.balances import BalanceService
from ws_gateway.control.figures import Figures
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.service import SubscriptionService
from ws_gateway.delivery.backlog import BacklogMonitor
from ws_gateway.delivery.dedicated import DedicatedKeeper
from ws_gateway.delivery.link import prove_broker
from ws_gateway.delivery.management import ManagementApi
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.delivery.publisher import Publisher, PublisherSettings
from ws_gateway.delivery.quarantine import Quarantine
from ws_gateway.delivery.receipt import Receipts
from ws_gateway.delivery.spool import Spool, condense
from ws_gateway.delivery.steward import QueueSteward
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.event import GapReason
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Channel, Topic
from ws_gateway.errors import BrokerLost, ConfigError
from ws_gateway.pipeline.runner import Runner
from ws_gateway.ports import TopicObserver
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.identity import TraceIds, new_epoch
from ws_gateway.runtime.spool_log import SpoolLog
from ws_gateway.storage.database import migrate, open_pool
from ws_gateway.storage.embedded import EmbeddedPostgres
from ws_gateway.storage.queues import PostgresQueues
from ws_gateway.storage.subscriptions import PostgresSubscriptions
from ws_gateway.venue.account_lists import AccountLists
from ws_gateway.venue.account_rest import AccountRest
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.context import SessionContext
from ws_gateway.venue.credentials import CredentialFiles, CredentialUser
from ws_gateway.venue.feed import BybitFeed, Endpoints
from ws_gateway.venue.instruments import Instruments
from ws_gateway.venue.login import LoginInquiry
from ws_gateway.venue.maintenance import Maintenance
from ws_gateway.venue.protocol import Timing
from ws_gateway.venue.rest import BybitRest
from ws_gateway.venue.succession import Replacing

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


@dataclass(frozen=True, slots=True)
class DataPath:
    """Venue, pipeline and delivery, joined: what moves events.

    Attributes:
        credential_files: what renews the feed's credentials; None without any.
    """

    feed: BybitFeed
    publisher: Publisher
    spool: Spool
    counters: Counters
    runner: Runner
    epoch: str
    credential_files: CredentialFiles | None
    account: Account


@dataclass(frozen=True, slots=True)
class Desk:
    """What is asked of the venue's REST, joined; none of it is waited for.

    Attributes:
        rest, elsewhere: of this environment, and of the others.
        clock: the venue's.
        inquiry: why a login was refused.
        instruments: what is listed, for the choice of categories.
        maintenance: what the venue announced.
    """

    rest: BybitRest
    elsewhere: Mapping[str, BybitRest]
    clock: VenueClock
    inquiry: LoginInquiry
    instruments: Instruments
    maintenance: Maintenance

    async def close(self) -> None:
        """Close the connections."""
        for each in (self.rest, *self.elsewhere.values()):
            await each.close()


def build_desk(settings: Settings) -> Desk:
    """Join what asks the venue's REST; nothing connects until the parts are run."""
    rng = SystemRandom()
    rest = BybitRest(settings.rest_url)
    elsewhere = {name: BybitRest(url) for name, url in settings.other_rest_urls.items()}
    clock = VenueClock(rest, clock_us=_clock_us)
    return Desk(
        rest,
        elsewhere,
        clock,
        LoginInquiry(
            rest,
            clock,
            validity_seconds=Timing().login_validity,
            elsewhere=elsewhere,
        ),
        Instruments(
            rest,
            categories=settings.enabled_categories if settings.serves_public else (),
            option_base_coins=settings.option_base_coins,
            rng=rng,
        ),
        Maintenance(rest, environment=settings.bybit_environment, clock_us=_clock_us, rng=rng),
    )


def build_data_path(
    settings: Settings, observer: TopicObserver, desk: Desk, store: PostgresSubscriptions
) -> DataPath:
    """Join venue → pipeline → delivery; nothing connects until the parts are run."""
    counters = Counters()
    rng = SystemRandom()
    new_trace_id = TraceIds()
    epoch = new_epoch(_clock_us() // 1000)
    outbox = Outbox(max_events=settings.buffer_max_events, max_bytes=settings.buffer_max_bytes)
    names = Names(settings.amqp_prefix)
    spool = Spool(
        SpoolLog(
            settings.data_dir.expanduser().resolve() / f"spool-{settings.amqp_prefix}",
            max_bytes=settings.spool_max_bytes,
            max_age_seconds=settings.spool_max_age_hours * 3600,
            condense=condense,
        ),
        outbox,
        counters,
        exchange=names.exchange,
        clock_us=_clock_us,
        new_trace_id=new_trace_id,
    )
    publisher = Publisher(
        PublisherSettings(
            url=settings.amqp_url.get_secret_value(),
            names=names,
            queue_type=settings.queue_type,
            account=settings.account_name,
            window=settings.publish_window,
            deadline_seconds=settings.publish_deadline_seconds,
        ),
        outbox=outbox,
        counters=counters,
        rng=rng,
        clock_us=_clock_us,
        spool=spool,
    )
    credentials = _credentials(settings)
    resync = _LateResync()
    runner = Runner(
        outlet=publisher,
        resync=resync,
        counters=counters,
        epoch=epoch,
        clock_us=_clock_us,
        new_trace_id=new_trace_id,
    )
    publisher.report_losses_to(runner)
    quarantine = Quarantine(
        publisher, counters=counters, clock_us=_clock_us, new_trace_id=new_trace_id
    )
    rest = AccountRest(
        desk.rest, desk.clock, credentials, clock_us=_clock_us, new_trace_id=new_trace_id
    )
    account = Account(
        settings,
        store,
        rest,
        AccountLists(rest, clock_us=_clock_us, new_trace_id=new_trace_id),
        sink=runner,
        receipts=Receipts(outbox, spool),
        observer=observer,
        unreadable=quarantine,
        counters=counters,
    )
    feed = BybitFeed(
        Endpoints(settings.public_ws_url, settings.private_ws_url),
        SessionContext(
            # Not to be taken for the real thing by whoever reads /health.
            environment=settings.bybit_ws_url or settings.bybit_environment.value,
            sink=runner,
            unreadable=quarantine,
            observer=account.front,
            rng=rng,
            clock_us=_clock_us,
            new_trace_id=new_trace_id,
            doctor=desk.inquiry,
            notices=desk.maintenance,
            private_sink=account.front,
        ),
        credentials=credentials,
        redundancy=settings.redundancy,
        replacing=Replacing(max_age=settings.connection_max_age_hours * 3600),
    )
    resync.feed = feed
    files = None
    if credentials is not None:
        files = _credential_files(settings, credentials, (feed, rest))
    return DataPath(feed, publisher, spool, counters, runner, epoch, files, account)


@dataclass(frozen=True, slots=True)
class QueueCare:
    """What looks after the queues, joined.

    Attributes:
        management: the broker's management API, None without its address.
    """

    steward: QueueSteward
    monitor: BacklogMonitor
    management: ManagementApi | None

    async def run(self) -> None:
        """Look after the queues until cancelled."""
        try:
            await self.steward.run()
        finally:
            if self.management is not None:
                await self.management.close()


def build_queue_care(settings: Settings, store: PostgresSubscriptions, path: DataPath) -> QueueCare:
    """Join what looks after the queues; nothing connects until it is run."""
    names = Names(settings.amqp_prefix)

    def begun(topics: Sequence[Topic]) -> None:
        """Let a queue that joins a flowing stream begin with a snapshot: deltas are of no use."""
        active = {
            topic
            for topic, state in path.feed.wanted().items()
            if state is SubscriptionState.ACTIVE
        }
        for topic in topics:
            if topic.channel in _TOLD_IN_DELTAS and topic in active:
                why = "asked for again, because a further queue begins here"
                path.runner.break_streams([topic], GapReason.RESUBSCRIBE, why)
                path.feed.resync(topic)

    url = settings.amqp_url.get_secret_value()
    keeper = DedicatedKeeper(PostgresQueues(store), names, settings.queue_type, begun)
    management = None
    if settings.rabbitmq_management_url is not None:
        management = ManagementApi(
            settings.rabbitmq_management_url.get_secret_value(), url, settings.amqp_prefix
        )
    monitor = BacklogMonitor(
        names, settings.queue_type, keeper, path.counters, management=management
    )
    return QueueCare(
        QueueSteward(url, names, keeper, monitor, rng=SystemRandom()), monitor, management
    )


_TOLD_IN_DELTAS = frozenset({Channel.ORDERBOOK, Channel.ORDERBOOK_RPI, Channel.TICKER})


class _LateResync:
    """Closes the ring pipeline → venue: the feed exists only after the runner it feeds."""

    feed: BybitFeed

    def resync(self, topic: Topic) -> None:
        self.feed.resync(topic)


class _LateObserver:
    """Closes the ring venue → control: the reconciler exists only after the feed it steers."""

    reconciler: Reconciler

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        self.reconciler.topic_changed(topic, state, error)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the gateway until `stop` is set, then drain and leave; a stop ends the start too.

    Raises:
        ConfigError: something outside refused at start; a person must act.
        ExceptionGroup: a defect of ours ended a room, and with it the gateway.
    """
    with listening(settings.http_host, settings.http_port) as listener, _unstarted_if_stopped():
        async with _database(settings, stop) as store:
            await _or_stop(_require_broker(settings), stop)
            observer = _LateObserver()
            desk = build_desk(settings)
            path = build_data_path(settings, observer, desk, store)
            care = build_queue_care(settings, store, path)
            policy = Policy.of(settings)
            reconciler = observer.reconciler = Reconciler(store, path.feed, policy)
            figures = Figures(
                path.counters, lambda: path.publisher.in_flight, lambda: path.spool.observed
            )
            if settings.api_key is None:
                log.warning("gateway.api_closed", why="WSG_API_KEY is unset, so all is refused")
            requests = OpenRequests()
            app = create_app(
                subscriptions=SubscriptionService(
                    store, reconciler, policy, desk.instruments, care.steward
                ),
                health=HealthReporter(
                    store=store,
                    feed=path.feed,
                    delivery=path.publisher,
                    reconciler=reconciler,
                    counters=figures.now,
                    epoch=path.epoch,
                    notices=desk.maintenance,
                    backlog=care.monitor,
                    accounts=[path.account],
                ),
                api_key=settings.api_key.get_secret_value() if settings.api_key else None,
                requests=requests,
                contract=render(_site(settings)),
                balances=BalanceService([path.account]),
            )
            control = _Control(store, reconciler, care, requests, HttpServer(app))
            try:
                is_drained = await _run_rooms(path, desk, control, listener, stop)
            finally:
                await desk.close()
            if is_drained:
                log.info("gateway.stopped", **figures.now())
            else:
                lost = path.publisher.in_flight
                log.error("gateway.stopped_with_loss", lost=lost, **figures.now())


def _site(settings: Settings) -> Site:
    """Return where the contract is true: the broker's host, without who logs in."""
    scheme, _, rest = settings.amqp_url.get_secret_value().partition("://")
    host = rest.rpartition("@")[2].partition("/")[0].partition("?")[0]
    return Site(settings.amqp_prefix, settings.queue_type, host, scheme)


@dataclass(frozen=True, slots=True)
class _Control:
    """The side door, joined: what may have to be told not to wait any longer."""

    store: PostgresSubscriptions
    reconciler: Reconciler
    care: QueueCare
    requests: OpenRequests
    http: HttpServer

    def stop(self) -> None:
        """Begin nothing new."""
        self.reconciler.stop()
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
    await path.spool.open()
    await path.account.restore()
    async with asyncio.TaskGroup() as rooms:
        spooling = rooms.create_task(path.spool.run(), name="spool")
        storing = rooms.create_task(path.account.writer.run(), name="balances")
        publishing = rooms.create_task(path.publisher.run(), name="publisher")
        feeding = rooms.create_task(path.feed.run(), name="feed")
        reconciling = rooms.create_task(control.reconciler.run(), name="reconciler")
        serving = rooms.create_task(control.http.serve(sockets=[listener]), name="http")
        aside = [
            rooms.create_task(desk.instruments.run(), name="instruments"),
            rooms.create_task(desk.maintenance.run(), name="maintenance"),
            rooms.create_task(control.care.run(), name="queues"),
            rooms.create_task(path.account.retention.run(), name="retention"),
            rooms.create_task(path.account.reconciliation.run(), name="reconciliation"),
            rooms.create_task(path.account.marks.run(), name="marks"),
        ]
        if path.credential_files is not None:
            aside.append(rooms.create_task(path.credential_files.run(), name="credentials"))
        log.info(
            "gateway.started",
            version=__version__,
            epoch=path.epoch,
            url="http://{}:{}".format(*listener.getsockname()[:2]),
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
        for task in aside:  # they hold nothing that could be lost
            task.cancel()
        await _end_intake(control, feeding, reconciling, serving)
        await path.account.end(storing)
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
) -> AsyncIterator[PostgresSubscriptions]:
    async with database_url(settings) as url:
        await _or_stop(migrate(url), stop)
        pool = await _or_stop(open_pool(url), stop)
        try:
            yield PostgresSubscriptions(pool)
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
        yield await embedded.start()
    finally:
        await embedded.stop()


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


def _credentials(settings: Settings) -> Credentials | None:
    if settings.bybit_api_key is None or settings.bybit_api_secret is None:
        log.info("gateway.public_only", why="WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET are unset")
        return None
    if not settings.serves_public:
        log.info("gateway.private_only", why="WSG_CONNECTION_STRATEGY is single, and a key is set")
    return Credentials(
        settings.bybit_api_key.get_secret_value(), settings.bybit_api_secret.get_secret_value()
    )


def _credential_files(
    settings: Settings, credentials: Credentials, users: Sequence[CredentialUser]
) -> CredentialFiles:
    def renew(renewed: Credentials) -> None:
        for user in users:
            user.renew_credentials(renewed)

    return CredentialFiles(
        key_file=settings.file_of("bybit_api_key"),
        secret_file=settings.file_of("bybit_api_secret"),
        current=credentials,
        renew=renew,
    )


def _clock_us() -> int:
    return time.time_ns() // 1000
