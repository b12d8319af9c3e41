"""Venue, pipeline and delivery, joined: what moves events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import SystemRandom

import structlog

from ws_gateway.account.front import PrivateFronts
from ws_gateway.composition.account import Account
from ws_gateway.composition.credentials import credential_files, credentials_of
from ws_gateway.composition.desk import Desk
from ws_gateway.composition.downstream import Downstream, build_downstream
from ws_gateway.composition.recording import build_recorder
from ws_gateway.config import Settings
from ws_gateway.delivery.hop_times import HopTimes
from ws_gateway.delivery.publisher import Publisher
from ws_gateway.delivery.spool import Spool
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Channel, build_topic
from ws_gateway.pipeline.backfill import Backfill
from ws_gateway.pipeline.runner import Runner
from ws_gateway.ports.feed import TopicObserver
from ws_gateway.recording.recorder import Recorder
from ws_gateway.runtime.clock import clock_us
from ws_gateway.runtime.counters import BackfillTally, Counters, VenueTally
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
    down = build_downstream(settings, HopTimes(lambda: desk.clock.offset_ms))
    credentials = credentials_of(settings)
    _say_what_is_served(settings)
    accounts = _build_accounts(
        settings, credentials, observer=observer, desk=desk, statements=statements, down=down
    )
    fronts = PrivateFronts({each.key: each.front for each in accounts})
    down.runner.report_losses_to(fronts)
    filling = BackfillTally()
    backfill = _build_backfill(desk, down, filling) if settings.backfill else None
    recorder = build_recorder(
        settings, lambda: down.spool.size_bytes + sum(one.writer.spool_bytes for one in accounts)
    )
    context = SessionContext(
        # Not to be taken for the real thing by whoever reads /health.
        environment=settings.bybit_ws_url or settings.bybit_environment.value,
        sink=backfill or down.runner,
        unreadable=down.quarantine(),
        observer=fronts,
        rng=SystemRandom(),
        clock_us=clock_us,
        new_trace_id=down.new_trace_id,
        doctor=desk.inquiry,
        notices=desk.maintenance,
        sampling=telemetry.sampling,
        private_sink=fronts,
        recorder=recorder,
    )
    feed = down.resync.feed = _build_feed(settings, context, credentials)

    def renew(fresh: Credentials) -> None:
        telemetry.secrets.add(fresh.key, fresh.secret)
        feed.renew_credentials(fresh)
        next(one for one in accounts if one.key == fresh.account).renew_credentials(fresh)

    return DataPath(
        feed=feed,
        publisher=down.publisher,
        spool=down.spool,
        counters=down.counters,
        tally=context.tally,
        times=down.times,
        runner=down.runner,
        epoch=down.epoch,
        credential_files=credential_files(settings, credentials, renew),
        asked_by=context.asked_by,
        accounts=accounts,
        backfill=backfill,
        filling=filling,
        recorder=recorder,
    )


def _build_accounts(
    settings: Settings,
    credentials: Sequence[Credentials],
    *,
    observer: TopicObserver,
    desk: Desk,
    statements: Statements,
    down: Downstream,
) -> tuple[Account, ...]:
    """Join an account per pair, the first one even without."""
    return tuple(
        Account(
            settings,
            statements,
            desk,
            each,
            sink=down.runner,
            receipts=down.receipts(),
            observer=observer,
            unreadable=down.quarantine(is_private=True),
            counters=down.counters,
            new_trace_id=down.new_trace_id,
        )
        for each in credentials or (None,)
    )


def _build_backfill(desk: Desk, down: Downstream, tally: BackfillTally) -> Backfill:
    past = MarketPast(desk.rest, clock_us=clock_us, new_trace_id=down.new_trace_id)
    return Backfill(down.runner, past, tally=tally)


def _build_feed(
    settings: Settings, context: SessionContext, credentials: tuple[Credentials, ...]
) -> BybitFeed:
    return BybitFeed(
        Endpoints(settings.public_ws_url, settings.private_ws_url),
        context,
        credentials=credentials,
        redundancy=settings.redundancy,
        replacing=Replacing(max_age=settings.connection_max_age_hours * 3600),
    )


def _say_what_is_served(settings: Settings) -> None:
    if not settings.has_credentials:
        log.info("gateway.public_only", why="WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET are unset")
    elif not settings.serves_public:
        log.info("gateway.private_only", why="WSG_CONNECTION_STRATEGY is single, and a key is set")
