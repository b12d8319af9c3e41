"""Venue, pipeline and delivery, joined: what moves events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

import structlog

from ws_gateway.account.front import PrivateFronts
from ws_gateway.composition.account import Account
from ws_gateway.composition.desk import Desk
from ws_gateway.composition.recording import build_recorder
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
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Channel, Topic, build_topic
from ws_gateway.pipeline.backfill import Backfill
from ws_gateway.pipeline.runner import Runner
from ws_gateway.ports.feed import TopicObserver
from ws_gateway.recording.recorder import Recorder
from ws_gateway.runtime.clock import clock_us
from ws_gateway.runtime.counters import AccountTally, BackfillTally, Counters, VenueTally
from ws_gateway.runtime.identity import TraceIds, new_epoch
from ws_gateway.runtime.spool_log import SpoolLog
from ws_gateway.runtime.telemetry import Telemetry
from ws_gateway.storage.statements import Statements
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.context import SessionContext
from ws_gateway.venue.credentials import CredentialFiles
from ws_gateway.venue.feed import BybitFeed, Endpoints
from ws_gateway.venue.frame_lines import AskedBy
from ws_gateway.venue.market_past import MarketPast
from ws_gateway.venue.succession import Replacing

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DataPath:
    """Venue, pipeline and delivery, joined: what moves events.

    Attributes:
        tally: what connecting to the venue met.
        times: how long events take from hop to hop.
        credential_files: what renews the feed's credentials, per account.
        asked_by: which request asked for a topic.
        accounts: balances, positions and reconciliation of private facts, the first one first.
        account_tally: what operators count of all of them.
        backfill: fills gaps of trades and candles; None where that is switched off.
        filling: what became of such gaps.
        recorder: takes raw frames; None if nothing is recorded.
    """

    feed: BybitFeed
    publisher: Publisher
    spool: Spool
    counters: Counters
    tally: VenueTally
    times: HopTimes
    runner: Runner
    epoch: str
    credential_files: tuple[CredentialFiles, ...]
    asked_by: AskedBy
    accounts: tuple[Account, ...]
    account_tally: AccountTally
    backfill: Backfill | None
    filling: BackfillTally
    recorder: Recorder | None

    def is_followed(self, account: str) -> bool:
        """Say whether changes of an account's balances are heard: its `balance` is active."""
        return any(
            self.feed.state(build_topic(Channel.BALANCE, account=one.key))
            is SubscriptionState.ACTIVE
            for one in self.accounts
            if one.name == account
        )


def build_data_path(
    settings: Settings,
    observer: TopicObserver,
    desk: Desk,
    telemetry: Telemetry,
    statements: Statements,
) -> DataPath:
    """Join venue → pipeline → delivery; nothing connects until the parts are run."""
    counters, tally = Counters(), VenueTally()
    new_trace_id = TraceIds()
    epoch = new_epoch(clock_us() // 1000)
    rng = SystemRandom()
    times = HopTimes(lambda: desk.clock.offset_ms)
    out = _build_outlet(settings, counters, times, rng, new_trace_id)
    publisher = out.publisher
    credentials = credentials_of(settings)
    _say_what_is_served(settings)
    resync, asked_by = _LateResync(), AskedBy()
    runner = Runner(
        outlet=publisher,
        resync=resync,
        counters=counters,
        epoch=epoch,
        clock_us=clock_us,
        new_trace_id=new_trace_id,
    )
    publisher.report_losses_to(runner)
    unreadable = Quarantine(publisher, counters=counters, clock_us=clock_us)
    account_tally = AccountTally()
    accounts = tuple(
        Account(
            settings,
            statements,
            desk,
            each,
            sink=runner,
            receipts=Receipts(out.outbox, out.spool),
            observer=observer,
            unreadable=Quarantine(publisher, counters=counters, clock_us=clock_us, is_private=True),
            counters=counters,
            new_trace_id=new_trace_id,
            tally=account_tally,
        )
        for each in credentials or (None,)
    )
    fronts = PrivateFronts({each.key: each.front for each in accounts})
    runner.report_losses_to(fronts)
    filling = BackfillTally()
    backfill = None
    if settings.backfill:
        past = MarketPast(desk.rest, clock_us=clock_us, new_trace_id=new_trace_id)
        backfill = Backfill(runner, past, tally=filling)
    recorder = build_recorder(
        settings, lambda: out.spool.size_bytes + sum(one.writer.spool_bytes for one in accounts)
    )
    feed = BybitFeed(
        Endpoints(settings.public_ws_url, settings.private_ws_url),
        SessionContext(
            # Not to be taken for the real thing by whoever reads /health.
            environment=settings.bybit_ws_url or settings.bybit_environment.value,
            sink=backfill or runner,
            unreadable=unreadable,
            observer=fronts,
            rng=rng,
            clock_us=clock_us,
            new_trace_id=new_trace_id,
            doctor=desk.inquiry,
            notices=desk.maintenance,
            tally=tally,
            sampling=telemetry.sampling,
            asked_by=asked_by,
            private_sink=fronts,
            recorder=recorder,
        ),
        credentials=credentials,
        redundancy=settings.redundancy,
        replacing=Replacing(max_age=settings.connection_max_age_hours * 3600),
    )
    resync.feed = feed

    def renew(fresh: Credentials) -> None:
        telemetry.secrets.add(fresh.key, fresh.secret)
        feed.renew_credentials(fresh)
        next(one for one in accounts if one.key == fresh.account).renew_credentials(fresh)

    return DataPath(
        feed,
        publisher,
        out.spool,
        counters,
        tally,
        times,
        runner,
        epoch,
        _credential_files(settings, credentials, renew),
        asked_by,
        accounts,
        account_tally,
        backfill,
        filling,
        recorder,
    )


@dataclass(frozen=True, slots=True)
class _Outlet:
    """What delivers: in memory, on disk, to the broker."""

    outbox: Outbox
    spool: Spool
    publisher: Publisher


def _build_outlet(
    settings: Settings,
    counters: Counters,
    times: HopTimes,
    rng: SystemRandom,
    new_trace_id: TraceIds,
) -> _Outlet:
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
        account=settings.account_name,
        clock_us=clock_us,
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
        clock_us=clock_us,
        spool=spool,
        times=times,
    )
    return _Outlet(outbox, spool, publisher)


class _LateResync:
    """Closes the ring pipeline → venue: the feed exists only after the runner it feeds."""

    feed: BybitFeed

    def resync(self, topic: Topic) -> None:
        self.feed.resync(topic)


def credentials_of(settings: Settings) -> tuple[Credentials, ...]:
    """Return a pair per account, the first one first."""
    if settings.bybit_api_key is None or settings.bybit_api_secret is None:
        return ()
    first = Credentials(
        settings.bybit_api_key.get_secret_value(), settings.bybit_api_secret.get_secret_value()
    )
    further = (Credentials(one.key, one.secret, one.name) for one in settings.further_accounts)
    return (first, *further)


def _say_what_is_served(settings: Settings) -> None:
    if not settings.has_credentials:
        log.info("gateway.public_only", why="WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET are unset")
    elif not settings.serves_public:
        log.info("gateway.private_only", why="WSG_CONNECTION_STRATEGY is single, and a key is set")


def _credential_files(
    settings: Settings, credentials: Sequence[Credentials], renew: Callable[[Credentials], None]
) -> tuple[CredentialFiles, ...]:
    files: dict[str | None, tuple[Path | None, Path | None]] = {
        None: (settings.file_of("bybit_api_key"), settings.file_of("bybit_api_secret")),
        **{one.name: (one.key_file, one.secret_file) for one in settings.further_accounts},
    }
    return tuple(
        CredentialFiles(
            key_file=files[each.account][0],
            secret_file=files[each.account][1],
            current=each,
            renew=renew,
        )
        for each in credentials
    )
