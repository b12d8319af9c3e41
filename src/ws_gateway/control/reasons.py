"""What keeps data from flowing, or could soon, and how bad that is; endpoints tell their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ws_gateway.control.topic_states import ReconcilerStatus
from ws_gateway.ports.account import AccountDesk
from ws_gateway.ports.delivery import (
    AlertCode,
    BrokerState,
    DeliveryStatus,
    QueueKind,
    QueueStatus,
)
from ws_gateway.runtime.counters import RecordingTally

BROKER_SILENT_SECONDS = 2.5
"""For how long the broker may owe an answer before that is told. It is given up only later
(`WSG_PUBLISH_DEADLINE_SECONDS`), because one that is busy must not be left."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that keeps data from flowing, or could soon.

    Attributes:
        code: stable word for programs.
        subject: what it is about: a connection, an endpoint, the broker, the database.
        is_blocking: data are missing; False where others still bring them.
        is_announced: the venue announced the maintenance that explains it.
    """

    code: str
    subject: str
    detail: str
    is_blocking: bool = True
    is_announced: bool = False


def database_reasons(
    error: str | None, subscriptions: ReconcilerStatus, place: str
) -> list[Reason]:
    """Tell of the database, which no event needs; only what is wanted has to be known once."""
    reasons = []
    if error := error or subscriptions.database_error:
        detail = f"{error} ({place}); data flow on, changes are answered 503 meanwhile"
        reasons.append(Reason("database_lost", "database", detail, is_blocking=False))
    if not subscriptions.is_restored:
        detail = "the stored subscriptions have not been read yet"
        reasons.append(Reason("not_restored", "subscriptions", detail))
    return reasons


def delivery_reasons(delivery: DeliveryStatus, place: str) -> list[Reason]:
    """Tell of the broker, of the shared queues, and of the disk; `place` is where the broker is."""
    reasons = [
        Reason("queue_problem", one.subject, one.detail, is_blocking=one.is_blocking)
        for one in delivery.problems
    ]
    reasons[:0] = _broker_reasons(delivery, place)
    if delivery.spool_error is not None:
        detail = f"private events are held in memory only: {delivery.spool_error}"
        reasons.append(Reason("spool_unavailable", "spool", detail, is_blocking=False))
    reasons += [
        Reason("spool_left_behind", "spool", left, is_blocking=False)
        for left in delivery.spools_left
    ]
    return reasons


def _broker_reasons(delivery: DeliveryStatus, place: str) -> Iterator[Reason]:
    """Tell what the connections suffer, which may be the same for all, or one's own."""
    ill = [one for one in delivery.connections if one.state is not BrokerState.READY]
    if len(ill) == len(delivery.connections) and delivery.state is not BrokerState.READY:
        because = f": {delivery.last_error}" if delivery.last_error else ""
        code = _broker_code(delivery.state)
        next_step = "" if code == "broker_blocked" else ", tried again every few seconds"
        waiting = f"{delivery.buffered_events} events wait{next_step}"
        yield Reason(code, "broker", f"broker is {delivery.state}{because} ({place}); {waiting}")
        return
    for one in ill:
        because = f": {one.last_error}" if one.last_error else ""
        detail = f"the connection for {one.carries} events is {one.state}{because} ({place})"
        yield Reason(_broker_code(one.state), "broker", detail)
    silent = [one for one in delivery.connections if one.silent_seconds >= BROKER_SILENT_SECONDS]
    if silent:
        whose = " and ".join(one.carries for one in silent)
        seconds = max(one.silent_seconds for one in silent)
        detail = f"{place} has answered nothing for {seconds:.0f} s about {whose} events"
        yield Reason("broker_silent", "broker", detail, is_blocking=False)


def _broker_code(state: BrokerState) -> str:
    return "broker_blocked" if state is BrokerState.BLOCKED else "broker_lost"


def _is_unreachable(delivery: DeliveryStatus) -> bool:
    """Say whether no event gets to the broker; what blocks one connection blocks all."""
    states = {one.state for one in delivery.connections} or {delivery.state}
    return BrokerState.BLOCKED in states or BrokerState.READY not in states


def refusal_reasons(delivery: DeliveryStatus, queues: Sequence[QueueStatus]) -> Iterator[Reason]:
    """Tell that a queue refuses, and which, where that is known; private events wait for it."""
    is_told = any(one.is_blocking for one in delivery.problems)  # what waits for no queue at all
    if not delivery.refused_per_second and (is_told or not delivery.held_private):
        return
    refusing = [
        one.name for one in queues if any(two.code is AlertCode.REFUSING for two in one.alerts)
    ]
    who = (
        f"full with reject-publish: {', '.join(refusing)}"
        if refusing
        else (
            "no queue that is known here is full with reject-publish; "
            "look for one that somebody else bound to the exchange"
        )
    )
    waiting = f"; {delivery.held_private} private events wait" if delivery.held_private else ""
    yield Reason(
        "broker_refuses",
        "broker",
        f"the broker refuses, {delivery.refused_per_second:.1f}/s ({who}){waiting}",
        is_blocking=delivery.held_private > 0,
    )


def queue_reasons(queues: Sequence[QueueStatus]) -> list[Reason]:
    """Tell of lagging consumers, which keep nothing from flowing: data wait for them for now.

    Problems of the shared queues are told by delivery itself.
    """
    found = []
    for queue in queues:
        if queue.kind is QueueKind.DEDICATED and queue.problem is not None:
            found.append(Reason("queue_problem", queue.name, queue.problem, is_blocking=False))
        whose = f"service {', '.join(queue.services)}: " if queue.services else ""
        found += [
            Reason(one.code.value, queue.name, whose + one.detail, is_blocking=False)
            for one in queue.alerts
        ]
    return found


def account_reasons(accounts: Sequence[AccountDesk]) -> list[Reason]:
    """Tell what happened to balances and positions; what flows is not kept back by it."""
    return [
        Reason(one.code, f"account {one.account}", one.detail, is_blocking=False)
        for account in accounts
        for one in account.problems()
    ]


def recording_reasons(recording: RecordingTally | None) -> Iterator[Reason]:
    """Tell that nothing is recorded, which costs nobody an event."""
    if recording is not None and recording.error is not None:
        detail = f"raw frames are not recorded: {recording.error}"
        yield Reason("recording_failing", "recording", detail, is_blocking=False)


def overall_status(reasons: list[Reason], delivery: DeliveryStatus, *, is_cut_off: bool) -> str:
    """Say `down` when no event can reach a consumer, `degraded` when some may not."""
    if not reasons:
        return "ok"
    return "down" if _is_unreachable(delivery) or is_cut_off else "degraded"
