"""What /api/v1/queues, /health and /readyz say of queues."""

from __future__ import annotations

from datetime import UTC, datetime

from support.memory_gateway import Gateway
from ws_gateway.ports.delivery import AlertCode, QueueAlert, QueueKind, QueueStatus

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
SLOW = QueueStatus(
    name="g.sloth.trade",
    kind=QueueKind.DEDICATED,
    event_class="trade",
    services=("sloth",),
    bindings=("trade.linear.BTCUSDT",),
    queue_type="quorum",
    problem="queue g.sloth.trade stands with other arguments",
    looked_at=NOON,
    depth=5210,
    consumers=1,
    max_length=100_000,
    alerts=(QueueAlert(AlertCode.SLOW_CONSUMER, NOON, "2703 were left over"),),
)


async def test_queues_need_the_key_and_show_everything() -> None:
    """Each queue in full, in one list; without the key nothing."""
    gateway = Gateway()
    gateway.backlog.told = [SLOW]
    async with gateway.http as http:
        assert (await http.get("/api/v1/queues")).status_code == 401
        answer = await http.get("/api/v1/queues", headers={"X-API-Key": "k"})
        assert answer.status_code == 200
        body = answer.json()
        assert body["next_cursor"] is None
        (queue,) = body["items"]
        assert (queue["name"], queue["services"], queue["depth"]) == (SLOW.name, ["sloth"], 5210)
        assert queue["alerts"] == [
            {
                "code": "slow_consumer",
                "since": "2026-10-01T12:00:00Z",
                "detail": "2703 were left over",
            }
        ]
        assert queue["dropped_at_least"] is None


async def test_a_lagging_consumer_degrades_and_leaves_ready() -> None:
    """Data flow, so the gateway is ready; `/health` names the queue and the service."""
    gateway = Gateway()
    gateway.backlog.told = [SLOW]
    async with gateway.http:
        await gateway.want()
        assert await gateway.reasons() == []
        body = await gateway.health()
        assert body["status"] == "degraded"
        problem, alert = body["reasons"]
        assert (problem["code"], problem["subject"]) == ("queue_problem", SLOW.name)
        assert (alert["code"], alert["subject"]) == ("slow_consumer", SLOW.name)
        assert alert["detail"] == "service sloth: 2703 were left over"
        assert not problem["is_blocking"]
        assert not alert["is_blocking"]
