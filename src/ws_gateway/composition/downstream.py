"""Pipeline and delivery, joined: what takes facts, and brings them to the broker."""

from __future__ import annotations

from dataclasses import dataclass
from random import SystemRandom

from ws_gateway.config import Settings
from ws_gateway.delivery.hop_times import HopTimes
from ws_gateway.delivery.line import PublisherSettings
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.delivery.publisher import Publisher
from ws_gateway.delivery.quarantine import Quarantine
from ws_gateway.delivery.receipt import Receipts
from ws_gateway.delivery.spool import Spool
from ws_gateway.delivery.spool_records import condense
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.topic import Topic
from ws_gateway.pipeline.runner import Runner
from ws_gateway.ports.event_path import Resync
from ws_gateway.runtime.clock import clock_us
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.epochs import next_epoch
from ws_gateway.runtime.identity import TraceIds
from ws_gateway.runtime.spool_log import SpoolLog


class LateResync:
    """Closes the ring pipeline → venue: the feed exists only after the runner it feeds."""

    feed: Resync

    def resync(self, topic: Topic) -> None:
        """Ask the feed for a fresh snapshot."""
        self.feed.resync(topic)


@dataclass(frozen=True, slots=True)
class Downstream:
    """Pipeline and delivery, joined: in memory, on disk, to the broker.

    Attributes:
        resync: is to be given the feed.
        times: how long events take from hop to hop.
    """

    runner: Runner
    outbox: Outbox
    spool: Spool
    publisher: Publisher
    resync: LateResync
    counters: Counters
    times: HopTimes
    epoch: str
    new_trace_id: TraceIds

    def quarantine(self, *, is_private: bool = False) -> Quarantine:
        """Make what takes bytes that cannot be read."""
        return Quarantine(
            self.publisher, counters=self.counters, clock_us=clock_us, is_private=is_private
        )

    def receipts(self) -> Receipts:
        """Make what says when everything that was taken is safe."""
        return Receipts(self.outbox, self.spool)


def build_downstream(settings: Settings, times: HopTimes) -> Downstream:
    """Join pipeline → delivery; nothing connects until the parts are run."""
    counters, new_trace_id = Counters(), TraceIds()
    epoch = next_epoch(
        settings.data_dir.expanduser().resolve() / f"epoch-{settings.amqp_prefix}",
        clock_us() // 1000,
    )
    outbox = Outbox(max_events=settings.buffer_max_events, max_bytes=settings.buffer_max_bytes)
    spool = _spool(settings, outbox, counters, new_trace_id)
    publisher = _publisher(settings, outbox, spool, counters, times)
    resync = LateResync()
    runner = Runner(
        outlet=publisher,
        resync=resync,
        counters=counters,
        epoch=epoch,
        clock_us=clock_us,
        new_trace_id=new_trace_id,
    )
    publisher.report_losses_to(runner)
    return Downstream(
        runner, outbox, spool, publisher, resync, counters, times, epoch, new_trace_id
    )


def _spool(settings: Settings, outbox: Outbox, counters: Counters, new_trace_id: TraceIds) -> Spool:
    return Spool(
        SpoolLog(
            settings.data_dir.expanduser().resolve() / f"spool-{settings.amqp_prefix}",
            max_bytes=settings.spool_max_bytes,
            max_age_seconds=settings.spool_max_age_hours * 3600,
            condense=condense,
        ),
        outbox,
        counters,
        exchange=Names(settings.amqp_prefix).exchange,
        account=settings.account_name,
        clock_us=clock_us,
        new_trace_id=new_trace_id,
    )


def _publisher(
    settings: Settings, outbox: Outbox, spool: Spool, counters: Counters, times: HopTimes
) -> Publisher:
    return Publisher(
        PublisherSettings(
            url=settings.amqp_url.get_secret_value(),
            names=Names(settings.amqp_prefix),
            queue_type=settings.queue_type,
            account=settings.account_name,
            window=settings.publish_window,
            deadline_seconds=settings.publish_deadline_seconds,
        ),
        outbox=outbox,
        counters=counters,
        rng=SystemRandom(),
        clock_us=clock_us,
        spool=spool,
        times=times,
    )
