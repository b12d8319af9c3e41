"""What /health, /livez and /readyz say, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from support.memory_feed import connection
from support.memory_gateway import Gateway
from ws_gateway.control.health import PING_AGE_SECONDS
from ws_gateway.control.reasons import refusal_reasons
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, build_topic
from ws_gateway.ports.delivery import (
    AlertCode,
    BrokerState,
    Carries,
    DeliveryStatus,
    QueueAlert,
    QueueKind,
    QueueProblem,
    QueueStatus,
)
from ws_gateway.ports.feed import SessionState

LINEAR = build_topic(Channel.TICKER, category=Category.LINEAR, symbol="BTCUSDT")
ORDER = build_topic(Channel.ORDER)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """Build a gateway whose linear ticker flows."""
    built = Gateway()
    async with built.http:
        await built.want(LINEAR, state=State.ACTIVE)
        built.feed.statuses = [connection("linear")]
        yield built


async def test_all_well_is_ready_and_ok(gateway: Gateway) -> None:
    """With everything in its place there is no reason against it, and no key is needed."""
    assert await gateway.reasons() == []
    answer = await gateway.http.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok"
    assert body["database"] == {"status": "ok", "last_error": None}
    assert body["broker"]["status"] == "ready"
    assert body["broker"]["buffered_events"] == 3
    assert body["subscriptions"] == {"active": 1}
    assert (body["delivery"]["received"], body["delivery"]["confirmed"]) == (7, 4)
    assert body["epoch"] == "01TEST"
    assert body["maintenance"] == []
    assert body["connections"] == [
        {
            "websocket_state": {
                "name": "linear",
                "connection_status": "streaming",
                "environment": "testnet",
                "category": "linear",
                "account": None,
                "connection_duration_seconds": 1.5,
                "last_heartbeat_at": None,
                "reconnection_count": 2,
                "last_error": None,
                "active_subscriptions": 1,
                "breaker": "closed",
                "wanted_subscriptions": 1,
                "last_event_at": None,
                "retry_at": None,
            }
        }
    ]


async def test_nothing_wanted_is_ready() -> None:
    """A gateway nobody asked anything of is ready for the first wish."""
    gateway = Gateway()
    async with gateway.http:
        await gateway.want()
        assert await gateway.reasons() == []


async def test_before_the_ledger_was_read_it_is_not_ready() -> None:
    """A start is not green before it knows what is wanted."""
    gateway = Gateway()
    async with gateway.http:
        assert await gateway.reasons() == [("not_restored", "subscriptions")]


async def test_a_lost_database_is_a_reason(gateway: Gateway) -> None:
    """It is degraded, and ready: what is subscribed goes on flowing, and reads are served."""
    gateway.store.is_away = True
    assert await gateway.reasons() == []
    body = (await gateway.http.get("/health")).json()
    assert body["status"] == "degraded"
    (reason,) = body["reasons"]
    assert (reason["code"], reason["is_blocking"]) == ("database_lost", False)
    assert "(PostgreSQL); data flow on" in reason["detail"]
    assert body["database"]["status"] == "lost"


async def test_many_probes_ask_the_database_once_a_second(gateway: Gateway) -> None:
    """The probes need no key, so they must not be a way to load the database."""
    assert (await gateway.health())["reasons"] == []
    gateway.store.is_away = True
    assert (await gateway.health())["reasons"] == []
    gateway.now += PING_AGE_SECONDS
    assert [one["code"] for one in (await gateway.health())["reasons"]] == ["database_lost"]


async def test_a_database_that_is_lost_before_the_ledger_was_read_is_not_ready() -> None:
    """What is wanted is not known then, so no data are no proof."""
    gateway = Gateway()
    gateway.store.is_away = True
    async with gateway.http:
        assert await gateway.reasons() == [("not_restored", "subscriptions")]
        codes = [one["code"] for one in (await gateway.health())["reasons"]]
        assert codes == ["database_lost", "not_restored"]


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (BrokerState.BLOCKED, "broker_blocked"),
        (BrokerState.BACKING_OFF, "broker_lost"),
        (BrokerState.CONNECTING, "broker_lost"),
    ],
)
async def test_a_broker_that_takes_nothing_is_a_reason(
    gateway: Gateway, state: BrokerState, code: str
) -> None:
    """Away or blocked: no event reaches a consumer, so the gateway is down."""
    gateway.delivery.state = state
    gateway.delivery.last_error = "memory alarm"
    assert await gateway.reasons() == [(code, "broker")]
    body = (await gateway.http.get("/health")).json()
    assert body["status"] == "down"
    detail = body["reasons"][0]["detail"]
    assert "memory alarm (RabbitMQ); " in detail
    assert "events wait" in detail


@pytest.mark.parametrize("lost", list(Carries))
async def test_one_broker_connection_that_is_lost_is_named_and_degrades(
    gateway: Gateway, lost: Carries
) -> None:
    """The other goes on delivering, so the gateway is not down; green it is not either."""
    gateway.delivery.lost = lost
    gateway.delivery.state = BrokerState.BACKING_OFF
    gateway.delivery.last_error = "it was reset"
    body = (await gateway.http.get("/health")).json()
    (reason,) = body["reasons"]
    assert (reason["code"], reason["is_blocking"]) == ("broker_lost", True)
    told = f"the connection for {lost} events is backing_off: it was reset"
    assert reason["detail"] == f"{told} (RabbitMQ)"
    assert body["status"] == "degraded"
    assert (await gateway.http.get("/readyz")).status_code == 503
    states = {one["events"]: one["status"] for one in body["broker"]["connections"]}
    assert states.pop(lost) == "backing_off"
    assert list(states.values()) == ["ready"]


async def test_a_broker_that_owes_an_answer_degrades_before_it_counts_as_lost(
    gateway: Gateway,
) -> None:
    """Frozen or overloaded: nothing is lost yet, but green it is not."""
    gateway.delivery.silent_seconds = 1.0
    assert (await gateway.health())["reasons"] == []
    gateway.delivery.silent_seconds = 3.0
    body = (await gateway.http.get("/health")).json()
    (reason,) = body["reasons"]
    assert (reason["code"], reason["is_blocking"]) == ("broker_silent", False)
    told = "RabbitMQ has answered nothing for 3 s about private and public events"
    assert reason["detail"] == told
    assert body["status"] == "degraded"
    assert (await gateway.http.get("/readyz")).status_code == 200


async def test_queue_problems_are_reasons(gateway: Gateway) -> None:
    """Each is told in delivery's words; what is used as it is makes nothing unready."""
    drifted = QueueProblem("b", "queue b drifted", is_blocking=False)
    gateway.delivery.problems = (drifted,)
    assert (await gateway.http.get("/readyz")).status_code == 200
    gateway.delivery.problems = (QueueProblem("a", "queue a is gone"), drifted)
    assert (await gateway.http.get("/readyz")).status_code == 503
    reasons = (await gateway.health())["reasons"]
    assert [(one["code"], one["subject"], one["is_blocking"]) for one in reasons] == [
        ("queue_problem", "a", True),
        ("queue_problem", "b", False),
    ]


async def test_a_queue_that_refuses_is_named_and_blocks_only_while_private_events_wait(
    gateway: Gateway,
) -> None:
    """The broker's refusals are told as a rate, with the queue that is full."""
    found = _delivery_and_queues(held=0)
    (reason,) = refusal_reasons(*found)
    assert (reason.code, reason.is_blocking) == ("broker_refuses", False)
    assert "the broker refuses, 2.5/s" in reason.detail
    assert "full with reject-publish: q.eps" in reason.detail
    (reason,) = refusal_reasons(*_delivery_and_queues(held=3))
    assert reason.is_blocking
    assert "3 private events wait" in reason.detail
    assert await gateway.reasons() == []


def test_private_events_that_wait_for_a_queue_nobody_can_bind_are_not_called_refused() -> None:
    """The queue's own problem is the reason; no queue is full."""
    unbound = QueueProblem("q.order", "queue q.order cannot be bound")
    status = DeliveryStatus(BrokerState.READY, None, 0, 0, held_private=3, problems=(unbound,))
    assert list(refusal_reasons(status, [])) == []
    assert len(list(refusal_reasons(replace(status, problems=()), []))) == 1


def _delivery_and_queues(held: int) -> tuple[DeliveryStatus, list[QueueStatus]]:
    alert = QueueAlert(AlertCode.REFUSING, datetime.now(UTC), "full")
    queue = QueueStatus(
        "q.eps", QueueKind.DEDICATED, "trade", ("eps",), (), "quorum", alerts=(alert,)
    )
    status = DeliveryStatus(
        BrokerState.READY, None, 0, 0, refused_per_second=2.5, held_private=held
    )
    return status, [queue]


async def test_a_wanted_connection_that_does_not_stream_is_a_reason(gateway: Gateway) -> None:
    """With its last error; a connection nobody needs may be in any state."""
    gateway.feed.statuses = [
        connection("linear", SessionState.BACKING_OFF, "closed: 1006"),
        connection("spot", SessionState.CLOSED),
    ]
    assert await gateway.reasons() == [("connection_not_streaming", "linear")]
    body = (await gateway.http.get("/health")).json()
    assert body["status"] == "down"
    assert "1006" in body["reasons"][0]["detail"]


async def test_one_of_two_connections_down_is_degraded(gateway: Gateway) -> None:
    """While another connection brings data, the gateway is not down."""
    await gateway.want(ORDER)
    gateway.feed.statuses = [
        connection("linear"),
        connection("private", SessionState.AUTHENTICATING),
    ]
    assert await gateway.reasons() == [("connection_not_streaming", "private")]
    assert (await gateway.health())["status"] == "degraded"


async def test_a_wanted_topic_without_any_connection_is_a_reason(gateway: Gateway) -> None:
    """A connection that was not even made cannot bring data."""
    gateway.feed.statuses = []
    assert await gateway.reasons() == [("connection_missing", "linear")]


async def test_livez_asks_nobody(gateway: Gateway) -> None:
    """With everything away, the process still lives."""
    gateway.store.is_away = True
    gateway.delivery.state = BrokerState.BACKING_OFF
    answer = await gateway.http.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_a_recording_that_does_not_go_on_makes_it_degraded_and_not_unready(
    gateway: Gateway,
) -> None:
    """No event depends on it; metrics tell it as well."""
    gateway.meters.recording.error = "1 MB free on its volume"
    assert await gateway.reasons() == []
    body = (await gateway.http.get("/health")).json()
    assert body["status"] == "degraded"
    (reason,) = body["reasons"]
    assert (reason["code"], reason["subject"]) == ("recording_failing", "recording")
    assert reason["detail"] == "raw frames are not recorded: 1 MB free on its volume"
    assert reason["is_blocking"] is False
    text = (await gateway.http.get("/metrics")).text
    assert "ws_gateway_recording_failing 1" in text
