"""The side door, joined: subscriptions, keys, balances, and the HTTP API over all of control."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import structlog

from ws_gateway.composition.data_path import DataPath
from ws_gateway.composition.desk import Desk
from ws_gateway.composition.queue_care import QueueCare, build_queue_care
from ws_gateway.composition.self_report import build_self_report
from ws_gateway.config import Settings
from ws_gateway.contract.asyncapi import Site
from ws_gateway.contract.files import render
from ws_gateway.control.api.app import create_app
from ws_gateway.control.api.certificate import Certificate
from ws_gateway.control.api.edge import OpenRequests
from ws_gateway.control.api.server import HttpServer
from ws_gateway.control.balances import BalanceService
from ws_gateway.control.certificates import CertificateWatch
from ws_gateway.control.console.audience import Audience
from ws_gateway.control.figures import Figures
from ws_gateway.control.guard import Guard, Limits
from ws_gateway.control.keyring import KeyRing
from ws_gateway.control.keys import KeyService
from ws_gateway.control.metrics.scrape import Scrape
from ws_gateway.control.operations import Operations
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.service import SubscriptionService
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.runtime.loop_lag import LoopLag
from ws_gateway.runtime.telemetry import Telemetry
from ws_gateway.storage.audit import PostgresAudit
from ws_gateway.storage.changes import LedgerChanges
from ws_gateway.storage.keys import PostgresKeys
from ws_gateway.storage.subscriptions import PostgresSubscriptions

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class LateObserver:
    """Closes the ring venue → control: the reconciler exists only after the feed it steers."""

    reconciler: Reconciler

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        """Hand on what became of a topic."""
        self.reconciler.topic_changed(topic, state, error)


@dataclass(frozen=True, slots=True)
class Control:
    """What serves wishes and tells the truth, and may have to be told not to wait any longer."""

    store: PostgresSubscriptions
    changes: LedgerChanges
    reconciler: Reconciler
    ring: KeyRing
    care: QueueCare
    loop: LoopLag
    audience: Audience
    requests: OpenRequests
    http: HttpServer
    figures: Figures
    shown: Certificate | None
    certificates: CertificateWatch

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


async def build_control(
    settings: Settings,
    *,
    store: PostgresSubscriptions,
    changes: LedgerChanges,
    path: DataPath,
    desk: Desk,
    telemetry: Telemetry,
    observer: LateObserver,
    shown: Certificate | None,
) -> Control:
    """Join what wishes and questions come in by; reads the keys, and nothing else runs yet."""
    ring, trail = KeyRing(PostgresKeys(store.statements)), PostgresAudit(store.statements)
    await _read_keys(ring, settings)
    care = build_queue_care(settings, store, path)
    reconciler = observer.reconciler = Reconciler(
        store, path.feed, Policy.of(settings), care.steward
    )
    report = build_self_report(
        settings,
        store=store,
        path=path,
        desk=desk,
        care=care,
        reconciler=reconciler,
        telemetry=telemetry,
        shown=shown,
    )
    requests = OpenRequests()
    app = create_app(
        subscriptions=_subscriptions(
            settings, store=store, path=path, desk=desk, care=care, reconciler=reconciler
        ),
        health=report.reporter,
        scrape=Scrape(report.reporter, report.meters),
        operations=Operations(report.reporter, trail, telemetry.levels),
        keys=KeyService(PostgresKeys(store.statements), ring),
        guard=Guard(settings.api_key, ring, _limits(settings)),
        audience=report.audience,
        requests=requests,
        contract=render(_site(settings)),
        balances=BalanceService(path.accounts, trail, path.is_followed),
    )
    server = HttpServer(
        app, settings.http_trusted_proxies, None if shown is None else shown.context
    )
    return Control(
        store=store,
        changes=changes,
        reconciler=reconciler,
        ring=ring,
        care=care,
        loop=report.meters.loop,
        audience=report.audience,
        requests=requests,
        http=server,
        figures=report.figures,
        shown=shown,
        certificates=report.certificates,
    )


def _subscriptions(
    settings: Settings,
    *,
    store: PostgresSubscriptions,
    path: DataPath,
    desk: Desk,
    care: QueueCare,
    reconciler: Reconciler,
) -> SubscriptionService:
    return SubscriptionService(
        store,
        reconciler,
        Policy.of(settings),
        desk.instruments,
        care.steward,
        streams=path.runner,
        quota=settings.quota_subscriptions,
        asked_by=path.asked_by,
        queue_prefix=settings.amqp_prefix,
    )


def certificate_of(settings: Settings) -> Certificate | None:
    """Read what the HTTP API shows; None if it speaks no TLS.

    Raises:
        ConfigError: the files are not a certificate and its key.
    """
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
