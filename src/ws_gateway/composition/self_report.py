"""Health, metrics and console, joined: what the gateway tells of itself."""

from __future__ import annotations

from dataclasses import dataclass

from ws_gateway.composition.certificates import certificates_of
from ws_gateway.composition.data_path import DataPath
from ws_gateway.composition.desk import Desk
from ws_gateway.composition.outside import places_of
from ws_gateway.composition.queue_care import QueueCare
from ws_gateway.config import Settings
from ws_gateway.control.api.certificate import Certificate
from ws_gateway.control.certificates import CertificateWatch
from ws_gateway.control.console.audience import Audience
from ws_gateway.control.console.pictures import Pictures, Sources
from ws_gateway.control.figures import Figures
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.metrics.metric import Meters
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.runtime.counters import RecordingTally
from ws_gateway.runtime.telemetry import Telemetry
from ws_gateway.storage.subscriptions import PostgresSubscriptions


@dataclass(frozen=True, slots=True)
class SelfReport:
    """Health, metrics and console, joined.

    Attributes:
        figures: the counters as they are now.
        reporter: how the gateway is, and why.
        meters: what metrics are read from besides that.
        audience: who looks at the console.
        certificates: when they end.
    """

    figures: Figures
    reporter: HealthReporter
    meters: Meters
    audience: Audience
    certificates: CertificateWatch


def build_self_report(
    settings: Settings,
    *,
    store: PostgresSubscriptions,
    path: DataPath,
    desk: Desk,
    care: QueueCare,
    reconciler: Reconciler,
    telemetry: Telemetry,
    shown: Certificate | None,
) -> SelfReport:
    """Join what tells how the gateway is; nothing looks until it is asked or run."""
    figures = Figures(path.counters, lambda: path.publisher.in_flight, lambda: path.spool.observed)
    certificates = CertificateWatch(certificates_of(settings, shown))
    meters = Meters(
        counters=path.counters,
        tally=path.tally,
        hops=path.times.latency,
        deliveries=path.times.whole,
        topics=reconciler.times,
        clock=desk.clock,
        spool_max_bytes=settings.spool_max_bytes,
        accounts=path.accounts,
        filling=path.filling,
        recording=path.recorder.tally if path.recorder else RecordingTally(),
        certificates=certificates.ends,
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
        recording=None if path.recorder is None else path.recorder.tally,
        places=places_of(settings),
    )
    sources = Sources(
        health=reporter,
        topics=reconciler,
        streams=path.runner,
        markers=path.runner.marks,
        troubles=telemetry.troubles,
        meters=meters,
        has_key=settings.has_credentials,
    )
    return SelfReport(figures, reporter, meters, Audience(Pictures(sources)), certificates)
