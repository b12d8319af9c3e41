"""How samples are read from what there is; whatever has a fixed set of labels is told whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache

from ws_gateway.control.metrics.metric import Sample, Sight
from ws_gateway.domain.event import GapReason
from ws_gateway.domain.topic import Endpoint, EventClass, event_class_of_key
from ws_gateway.ports.delivery import AlertCode, BrokerState, LaneStatus, QueueStatus
from ws_gateway.ports.feed import ConnectionStatus, SessionState
from ws_gateway.runtime.breaker import BreakerState
from ws_gateway.runtime.counters import AccountTally
from ws_gateway.runtime.histogram import Histograms

Reader = Callable[[Sight], Iterable[Sample]]

SUPPRESSED = ("duplicate", "outdated", "unchanged")
SHED = (
    "awaiting_snapshot",
    "conflated",
    "no_room",
    "refused_by_broker",
    "spool_damaged",
    "spool_overflow",
    "venue_hole",
)
NO_FAILURE = frozenset({"conflated", "venue_hole"})
"""Reasons that are not held against delivery; the rules of Prometheus leave out the same."""

REJECTED = ("unroutable",)
REFUSED = (
    "balance_inconsistent",
    "balance_malformed",
    "balance_refused",
    "balance_sign",
    "position_invalid",
)
RECONCILED = ("order", "execution", "position", "balance")
READINGS = ("done", "failed")
BACKFILLED = ("trade", "kline")
UNFILLED = ("turn", "slow", "rest", "reach", "room", "stop", "dropped")
"""Reasons that are told from the start, as 0: a sum over what is missing would be missing."""

QUARANTINED = (
    "malformed",
    "missing_field",
    "not_kept",
    "too_large",
    "unexpected_reply",
    "unknown_topic",
)
LOGIN_FAULTS = (
    "clock_skew",
    "expired_key",
    "ip_not_allowed",
    "no_answer",
    "not_allowed",
    "not_diagnosed",
    "unknown",
    "wrong_environment",
    "wrong_key",
    "wrong_signature",
)
LOSSES = ("ack", "closed", "connect", "handshake", "login", "login_deadline", "pong", "refused")
"""Likewise: a counter that begins at 1 has not risen, and an alert on its rise would miss it."""

GAPS = tuple(reason.value for reason in GapReason)

_class_of = lru_cache(maxsize=65_536)(event_class_of_key)


def one(read: Callable[[Sight], float | None]) -> Reader:
    """Read a single value; None is not told."""

    def samples(sight: Sight) -> Iterator[Sample]:
        value = read(sight)
        if value is not None:
            yield (), value

    return samples


def by_reason(read: Callable[[Sight], Mapping[str, int]], known: Iterable[str] = ()) -> Reader:
    """Read counts by one word; those that are known are told from the start."""
    zeros = dict.fromkeys(known, 0)

    def samples(sight: Sight) -> Iterator[Sample]:
        for word, count in {**zeros, **read(sight)}.items():
            yield (word,), count

    return samples


def histograms(read: Callable[[Sight], Histograms]) -> Reader:
    """Read the histograms of one measure."""
    return lambda sight: read(sight).items()


def per_account(read: Callable[[AccountTally], Mapping[str, int]], known: Iterable[str]) -> Reader:
    """Read counts of each account by one word; those that are known are told from the start."""
    zeros = dict.fromkeys(known, 0)

    def samples(sight: Sight) -> Iterator[Sample]:
        for desk in sight.meters.accounts:
            for word, count in {**zeros, **read(desk.tally)}.items():
                yield (desk.name, word), count

    return samples


def histograms_per_account(read: Callable[[AccountTally], Histograms]) -> Reader:
    """Read the histograms of one measure of each account."""
    return lambda sight: [
        ((desk.name, *labels), histogram)
        for desk in sight.meters.accounts
        for labels, histogram in read(desk.tally).items()
    ]


def login_failures(sight: Sight) -> Iterator[Sample]:
    """Tell what was wrong with logins, of each account from the start."""
    found = sight.meters.tally.login_failures
    for place, desk in enumerate(sight.meters.accounts):
        for fault in LOGIN_FAULTS:
            yield (desk.name, fault), found["" if place == 0 else desk.name, fault]


def balance_rows_lost(sight: Sight) -> Iterator[Sample]:
    """Count the rows that were dropped."""
    return (((desk.name,), desk.tally.lost) for desk in sight.meters.accounts)


def per_lane(read: Callable[[LaneStatus], float]) -> Reader:
    """Read a value of each lane."""
    return lambda sight: [((lane.lane.value,), read(lane)) for lane in sight.report.delivery.lanes]


def per_connection(read: Callable[[ConnectionStatus], float | None]) -> Reader:
    """Read a value of each connection that exists, where it is known."""
    return lambda sight: [
        (_place(each), value) for each in _connections(sight) if (value := read(each)) is not None
    ]


def per_queue(read: Callable[[QueueStatus], float | None]) -> Reader:
    """Read a value of each queue where it is known."""
    return lambda sight: [
        ((queue.name,), value) for queue in sight.queues if (value := read(queue)) is not None
    ]


def _connections(sight: Sight) -> Iterable[ConnectionStatus]:
    return sight.report.connections


def _place(connection: ConnectionStatus) -> tuple[str, str, str, str]:
    return connection.name, connection.category, connection.account or "", connection.shard


# ── what takes more than a line ───────────────────────────────────────────────────────────────


def success_ratio(sight: Sight) -> float | None:
    """Say which share of what came to an end was delivered; a conflated value was, by a newer.

    A delta without a book is no failure of ours where the venue left the hole before it.
    """
    counters = sight.report.counters
    failed = sum(count for why, count in counters["shed"].items() if why not in NO_FAILURE)
    failed += sum(counters["rejected"].values())
    ended = counters["confirmed"] + failed
    return counters["confirmed"] / ended if ended else None


def latency_quantiles(sight: Sight) -> Iterator[Sample]:
    """Tell what `/health` tells."""
    for quantile, name in (("0.5", "latency_p50_us"), ("0.99", "latency_p99_us")):
        value = sight.report.counters[name]
        if value is not None:
            yield (quantile,), value / 1e6


def routed(sight: Sight) -> Iterator[Sample]:
    """Sum what was routed by event class; quarantined frames are a class here."""
    sums: Counter[str] = Counter(dict.fromkeys((each.value for each in EventClass), 0))
    for key, count in sight.meters.counters.routed.items():
        sums[_class_of(key)] += count
    for event_class, count in sums.items():
        yield (event_class,), count


def broker_states(sight: Sight) -> Iterator[Sample]:
    """Tell each state, and which it is."""
    for state in BrokerState:
        yield (state.value,), state is sight.report.delivery.state


def broker_connections(sight: Sight) -> Iterator[Sample]:
    """Tell of each connection that publishes whether it is ready."""
    for one in sight.report.delivery.connections:
        yield (one.carries.value,), one.state is BrokerState.READY


def broker_silences(sight: Sight) -> Iterator[Sample]:
    """Say of each connection that publishes how long it has been without an answer."""
    for one in sight.report.delivery.connections:
        yield (one.carries.value,), one.silent_seconds


def breaker_states(sight: Sight) -> Iterator[Sample]:
    """Tell each state of each endpoint's breaker, and which it is."""
    found = {(each.category, each.account or ""): each.breaker for each in _connections(sight)}
    for place, breaker in found.items():
        for state in BreakerState:
            yield (*place, state.value), state is breaker


def connection_states(sight: Sight) -> Iterator[Sample]:
    """Tell each state of each connection, and which it is."""
    for each in _connections(sight):
        for state in SessionState:
            yield (*_place(each), state.value), state is each.connection_status


def connection_environments(sight: Sight) -> Iterator[Sample]:
    """Say to which environment each connection is."""
    for each in _connections(sight):
        yield (*_place(each), each.environment), 1.0


def connection_errors(sight: Sight) -> Iterator[Sample]:
    """Tell of which kind the error is that stands of a connection; its text has no bound."""
    for each in _connections(sight):
        if each.last_error is not None:
            yield (*_place(each), each.last_loss or "waiting"), 1.0


def moment(at: datetime | None) -> float | None:
    """Return a moment as Unix time."""
    return None if at is None else at.timestamp()


def is_streaming(connection: ConnectionStatus) -> bool:
    """Say whether a connection is up and everything asked of it is answered."""
    return connection.connection_status is SessionState.STREAMING


def subscriptions(sight: Sight) -> Iterator[Sample]:
    """Count the wanted topics by endpoint and state."""
    wanted = sight.report.subscriptions.wanted
    counts = {(endpoint.value, state.value): count for (endpoint, state), count in wanted.items()}
    # An endpoint's usual states stay there at 0, so that a graph of them has no holes.
    for endpoint in {endpoint for endpoint, _ in counts}:
        for state in ("requested", "pending", "active", "stalled", "rejected"):
            counts.setdefault((endpoint, state), 0)
    return iter(counts.items())


def maintenance(sight: Sight) -> Iterator[Sample]:
    """Say of each endpoint whether announced maintenance goes on."""
    ongoing = [one for one in sight.report.maintenance if one.state == "ongoing"]
    for endpoint in Endpoint:
        yield (endpoint.value,), any(endpoint in one.endpoints for one in ongoing)


def staleness(sight: Sight) -> Iterator[Sample]:
    """Tell the longest silence by endpoint and channel."""
    for (endpoint, channel), seconds in sight.silences.items():
        yield (endpoint.value, channel.value), max(0.0, seconds)


def alerts(sight: Sight) -> Iterator[Sample]:
    """Say of each queue and alert whether it stands; `service` names who should read the queue."""
    for queue in sight.queues:
        standing = {alert.code for alert in queue.alerts}
        for code in AlertCode:
            yield (queue.name, code.value, ",".join(queue.services)), code in standing


def balance_rows_waiting(sight: Sight) -> Iterator[Sample]:
    """Count what is not in the database yet, by where it is."""
    for desk in sight.meters.accounts:
        figures = desk.figures()
        yield (desk.name, "memory"), figures.rows_in_memory
        yield (desk.name, "disk"), figures.rows_on_disk


def balance_spool_bytes(sight: Sight) -> Iterator[Sample]:
    """Say what balance rows take on disk."""
    return (((desk.name,), desk.figures().spool_bytes) for desk in sight.meters.accounts)


def watermark_ages(sight: Sight) -> Iterator[Sample]:
    """Say how old the time is up to which facts are known to be delivered."""
    for desk in sight.meters.accounts:
        for event_class, seconds in desk.figures().watermark_ages.items():
            yield (desk.name, event_class.value), seconds


def reasons(sight: Sight) -> Iterator[Sample]:
    """Tell what `/health` gives as reasons; several of one kind are told once."""
    found = {
        (
            reason.code,
            reason.subject,
            str(reason.is_blocking).lower(),
            str(reason.is_announced).lower(),
        ): 1.0
        for reason in sight.report.reasons
    }
    return iter(found.items())


def certificate_ends(sight: Sight) -> Iterator[Sample]:
    """Say when each certificate ends, Unix time."""
    for name, moment in sight.meters.certificates().items():
        yield (name,), moment.timestamp()


def clock_measured_at(sight: Sight) -> float | None:
    """Say when the offset was measured, Unix time."""
    clock = sight.meters.clock
    if clock is None or clock.measured_at is None:
        return None
    return clock.measured_at.timestamp()


def clock_offset(sight: Sight) -> float | None:
    """Say how far the venue's clock is ahead, once it was measured."""
    clock = sight.meters.clock
    return None if clock is None or clock.measured_at is None else clock.offset_ms / 1000


def clock_uncertainty(sight: Sight) -> float | None:
    """Say how wrong that may be."""
    clock = sight.meters.clock
    return None if clock is None or clock.measured_at is None else clock.uncertainty_ms / 1000
