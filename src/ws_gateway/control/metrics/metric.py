"""What a metric is, and what it is read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ws_gateway.control.health import Report
from ws_gateway.control.request_times import RequestTimes
from ws_gateway.control.topic_times import TopicTimes
from ws_gateway.domain.topic import Channel, Endpoint
from ws_gateway.ports.account import AccountDesk
from ws_gateway.ports.delivery import QueueStatus
from ws_gateway.ports.feed import ClockComparison
from ws_gateway.runtime.counters import (
    AccountTally,
    BackfillTally,
    Counters,
    RecordingTally,
    VenueTally,
)
from ws_gateway.runtime.histogram import QUICK_SECONDS, Histogram, Histograms
from ws_gateway.runtime.loop_lag import LoopLag

PREFIX = "ws_gateway_"


@dataclass(frozen=True, slots=True)
class Meters:
    """What is measured for operators alone, and so is not in the `Report`.

    Attributes:
        counters: what became of events.
        tally: what connecting to the venue met.
        hops: latency by hop and event class.
        deliveries: time from our socket to the confirm, by event class.
        topics: how long topics took to become active.
        requests: how long our REST took.
        loop: how late the event loop is.
        clock: the venue's beside ours; None if nobody measures it.
        spool_max_bytes: bound of the spool.
        account: what became of private facts beside the events.
        accounts: those that are configured.
        filling: what became of gaps in trades and candles.
        recording: what came of the frames that were to be recorded.
        certificates: answers when each certificate ends, by name, as far as it is known.
    """

    counters: Counters = field(default_factory=Counters)
    tally: VenueTally = field(default_factory=VenueTally)
    hops: Histograms = field(default_factory=lambda: Histograms(QUICK_SECONDS))
    deliveries: Histograms = field(default_factory=lambda: Histograms(QUICK_SECONDS))
    topics: TopicTimes = field(default_factory=TopicTimes)
    requests: RequestTimes = field(default_factory=RequestTimes)
    loop: LoopLag = field(default_factory=LoopLag)
    clock: ClockComparison | None = None
    spool_max_bytes: int = 0
    account: AccountTally = field(default_factory=AccountTally)
    accounts: Sequence[AccountDesk] = ()
    filling: BackfillTally = field(default_factory=BackfillTally)
    recording: RecordingTally = field(default_factory=RecordingTally)
    certificates: Callable[[], Mapping[str, datetime]] = dict


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything a scrape is read from, all of one instant.

    Attributes:
        report: what `/health` shows.
        queues: what `/api/v1/queues` shows.
        silences: longest silence of a flowing topic, in seconds.
        meters: the rest.
    """

    report: Report
    queues: Sequence[QueueStatus]
    silences: Mapping[tuple[Endpoint, Channel], float]
    meters: Meters


class Type(StrEnum):
    """How a metric's values relate over time."""

    COUNTER = "counter"
    """Only rises; from 0 at each start."""
    GAUGE = "gauge"
    """Is what it is now."""
    HISTOGRAM = "histogram"
    """Counts values by size."""


Value = float | Histogram
Sample = tuple[tuple[str, ...], Value]
"""Values of the labels, in their order, and what was read."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: how it is named, what it says, and where it is read.

    Attributes:
        name: without prefix; ends in its unit, and `_total` if it is a counter.
        help: one sentence.
        read: answers its samples; none while nothing is known.
        labels: what tells samples apart; each has a bounded set of values.
    """

    name: str
    type: Type
    help: str
    read: Callable[[Sight], Iterable[Sample]]
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """Name it as it is scraped."""
        return PREFIX + self.name
