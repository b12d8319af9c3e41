"""`ws-gateway record`: raw frames straight from Bybit to files, without broker and database."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import SystemRandom

from ws_gateway.composition.credentials import credentials_of
from ws_gateway.composition.recording import recorder_into
from ws_gateway.config import Settings
from ws_gateway.domain.event import Event
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Topic, parse_topic
from ws_gateway.errors import ConfigError, Rejected
from ws_gateway.pipeline.runner import Runner
from ws_gateway.recording.recorder import Recorder
from ws_gateway.runtime.clock import clock_us
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.identity import TraceIds, new_epoch
from ws_gateway.venue.context import SessionContext
from ws_gateway.venue.feed import BybitFeed, Endpoints
from ws_gateway.venue.succession import Replacing

_PRIVATE = ("order", "execution", "position", "wallet", "greeks")
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What to record.

    Attributes:
        topics: `CATEGORY:TOPIC`, private ones and that of the system status without a category.
        folder: where the files go.
        with_private: record the accounts' topics.
        seconds: end after so long; None does not.
        accounts: names of those that are recorded; all without.
    """

    topics: list[str]
    folder: Path
    with_private: bool
    seconds: float | None
    accounts: Sequence[str] = ()


async def run_record(settings: Settings, options: RecordOptions, stop: asyncio.Event) -> None:
    """Record until `stop` is set or the time is over.

    Raises:
        ConfigError: a topic does not exist, a key is missing, the folder cannot be used, or at the
            end it took no more.
    """
    topics = _topics(settings, options)
    recorder = recorder_into(options.folder, settings, with_private=options.with_private)
    recorder.start()
    try:
        feed = _feed(settings, recorder)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(feed.run(), name="feed")
            feed.want(topics)
            try:
                async with asyncio.timeout(options.seconds):
                    await stop.wait()
            except TimeoutError:
                pass  # which was wanted
            feed.stop()
            await asyncio.wait({running}, timeout=_STOP_SECONDS)
            running.cancel()
    finally:
        await asyncio.to_thread(recorder.close)
    tally = recorder.tally
    missed = tally.missed + tally.unwritten
    sys.stdout.write(f"{tally.written} frames in {options.folder}, {missed} missing\n")
    if tally.error is not None:
        raise ConfigError(
            "--into",
            f"names {str(options.folder)!r}, where recording stopped: {tally.error}",
            "free its volume, name another, or lower WSG_RECORD_KEEP_FREE_BYTES",
        )


def _topics(settings: Settings, options: RecordOptions) -> list[Topic]:
    names = [*options.topics, *(_PRIVATE if options.with_private else ())]
    accounts = _accounts(settings, options)
    topics = list(dict.fromkeys(one for name in names for one in _of_each(_topic(name), accounts)))
    if not topics:
        raise ConfigError("--topic", "names no topic", "name one, like linear:publicTrade.BTCUSDT")
    private = [topic.name for topic in topics if topic.is_private]
    if private and not options.with_private:
        raise ConfigError(
            "--topic",
            f"{private[0]!r} tells of the account",
            "add --private if it is to be in the recording",
        )
    if private and not settings.has_credentials:
        raise ConfigError("WSG_BYBIT_API_KEY", "is unset", "private topics need key and secret")
    return topics


def _accounts(settings: Settings, options: RecordOptions) -> list[str | None]:
    """Return the accounts that are recorded as topics name them: the first one by None."""
    if options.accounts and not options.with_private:
        raise ConfigError(
            "--account", "goes with --private alone", "add --private, or leave it out"
        )
    for name in options.accounts:
        if name not in settings.account_names:
            raise ConfigError(
                "--account",
                f"found {name!r}",
                f"name one of the settings: {', '.join(settings.account_names)}",
            )
    chosen = options.accounts or settings.account_names
    return [None if name == settings.account_name else name for name in chosen]


def _of_each(topic: Topic, accounts: Iterable[str | None]) -> Iterable[Topic]:
    if not topic.is_private:
        return (topic,)
    return (replace(topic, account=account) for account in accounts)


def _topic(text: str) -> Topic:
    category, colon, name = text.partition(":")
    try:
        if not colon:
            return parse_topic(text, None)
        return parse_topic(name, Category(category))
    except Rejected as exc:
        raise ConfigError(
            "--topic",
            f"found {text!r} ({exc})",
            "name a topic of Bybit, like orderbook.50.BTCUSDT"
            " or publicTrade.BTCUSDT" + (", behind its category and a colon" if not colon else ""),
        ) from exc
    except ValueError as exc:
        raise ConfigError(
            "--topic",
            f"found {text!r}, and {category!r} is no category",
            f"write CATEGORY:TOPIC, like linear:orderbook.50.BTCUSDT; CATEGORY is one of"
            f" {', '.join(Category)}",
        ) from exc


def _feed(settings: Settings, recorder: Recorder) -> BybitFeed:
    """Build the sockets, and the pipeline, which asks for snapshots as the gateway's does."""
    new_trace_id, counters = TraceIds(), Counters()
    nowhere = _Nowhere()
    runner = Runner(
        outlet=nowhere,
        resync=nowhere,
        counters=counters,
        epoch=new_epoch(clock_us() // 1000),
        clock_us=clock_us,
        new_trace_id=new_trace_id,
    )
    nowhere.feed = BybitFeed(
        Endpoints(settings.public_ws_url, settings.private_ws_url),
        SessionContext(
            environment=settings.bybit_ws_url or settings.bybit_environment.value,
            sink=runner,
            unreadable=nowhere,
            observer=nowhere,
            rng=SystemRandom(),
            clock_us=clock_us,
            new_trace_id=new_trace_id,
            recorder=recorder,
        ),
        credentials=credentials_of(settings),
        redundancy=settings.redundancy,
        replacing=Replacing(max_age=settings.connection_max_age_hours * 3600),
    )
    return nowhere.feed


class _Nowhere:
    """What stands behind the sockets where only their frames are wanted."""

    feed: BybitFeed

    def offer(self, event: Event) -> bool:  # noqa: ARG002 - nobody wants events here
        return True

    def has_room(self, topic: Topic) -> bool:  # noqa: ARG002
        return True

    def resync(self, topic: Topic) -> None:
        self.feed.resync(topic)

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        """A refusal is logged by the session."""

    def quarantine(
        self, *, reason: str, origin: str, detail: str, raw: bytes, trace_id: str
    ) -> None:
        """The frame is in the recording, whatever it is."""
