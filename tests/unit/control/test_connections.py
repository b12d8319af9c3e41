"""What is told of the connections to the venue, in each case a person may be woken by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.memory_feed import connection
from support.memory_gateway import NIGHT, Gateway
from ws_gateway.control.endpoints import GRACE_SECONDS
from ws_gateway.control.health import MAX_DIFFERENCES
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, Endpoint, Topic, build_topic
from ws_gateway.ports.feed import ConnectionStatus, MaintenanceNotice, SessionState
from ws_gateway.runtime.breaker import BreakerState

LOST = SessionState.BACKING_OFF
DIAGNOSIS = "the venue refused the login: API key is invalid"
ORDER = build_topic(Channel.ORDER)
WORK = MaintenanceNotice(
    id="4d95b2a0",
    title="Matching engine upgrade",
    state="ongoing",
    begins_at=NIGHT,
    ends_at=NIGHT + timedelta(hours=1),
    endpoints=frozenset({Endpoint.SPOT, Endpoint.LINEAR}),
)


def ticker(symbol: str, category: Category = Category.LINEAR) -> Topic:
    """Build a ticker."""
    return build_topic(Channel.TICKER, category=category, symbol=symbol)


A, B, C = ticker("AUSDT"), ticker("BUSDT"), ticker("CUSDT")
SPOT = ticker("BTCUSDT", Category.SPOT)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """Build a gateway that nobody wants anything of."""
    built = Gateway()
    async with built.http:
        yield built


def refused(state: SessionState, **more: Any) -> ConnectionStatus:
    """Build the private connection as it is after a refused login."""
    return replace(connection("private", state, DIAGNOSIS, **more), is_login_refused=True)


async def told(gateway: Gateway) -> list[tuple[str, str, bool]]:
    """Ask how everything is; answers code, subject, and whether it blocks, of each reason."""
    reasons = (await gateway.health())["reasons"]
    return [(one["code"], one["subject"], one["is_blocking"]) for one in reasons]


async def only_detail(gateway: Gateway) -> str:
    """Return the words of the only reason."""
    (reason,) = (await gateway.health())["reasons"]
    return str(reason["detail"])


def endpoint(body: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what is told of one endpoint."""
    return next(one for one in body["endpoints"] if one["endpoint"] == name)


async def test_nothing_wanted_is_no_difference(gateway: Gateway) -> None:
    """Before the ledger was read, zero is marked as not known."""
    empty = {"connections": [], "endpoints": [], "desired": 0, "active": 0, "difference": []}
    assert await gateway.connections() == {
        **empty,
        "difference_total": 0,
        "is_restored": False,
    }
    await gateway.want()
    assert (await gateway.connections())["is_restored"] is True


async def test_all_flowing(gateway: Gateway) -> None:
    """Everything is active on two sockets: counts, full states, and no difference."""
    await gateway.want(A, B, SPOT, state=State.ACTIVE)
    gateway.feed.statuses = [
        replace(connection("linear", name="linear-1"), last_event_at=NIGHT),
        connection("linear", name="linear-2"),
        connection("spot", name="spot-1"),
    ]
    body = await gateway.connections()
    assert body["difference"] == []
    assert [one["name"] for one in body["connections"]] == ["spot-1", "linear-1", "linear-2"]
    assert body["connections"][1]["last_event_at"] == "2026-10-01T03:00:00Z"
    assert endpoint(body, "linear") == {
        "endpoint": "linear",
        "account": None,
        "connections": 2,
        "streaming": 2,
        "desired": 2,
        "active": 2,
        "pending": 0,
        "rejected": 0,
        "stalled": 0,
        "breaker": "closed",
        "maintenance": False,
    }
    assert await gateway.reasons() == []
    assert (await gateway.health())["status"] == "ok"


async def test_one_socket_of_two_down_names_what_is_missing(gateway: Gateway) -> None:
    """Its topics are the difference; it is a reason at once; the others still flow."""
    await gateway.want(A, B, C, state=State.ACTIVE)
    gateway.now = 130.0
    gateway.feed.answer(B, State.REQUESTED)
    gateway.feed.statuses = [
        connection("linear", name="linear-1"),
        connection(
            "linear",
            LOST,
            "closed: 1006",
            name="linear-2",
            retry_at=NIGHT + timedelta(seconds=134),
        ),
    ]
    assert await told(gateway) == [("connection_not_streaming", "linear-2", True)]
    assert await only_detail(gateway) == (
        "connection is backing_off: closed: 1006; next attempt at 2026-10-01T03:02:14Z; "
        "1 of 3 topics of linear wait"
    )
    assert await gateway.reasons() == [("connection_not_streaming", "linear-2")]
    assert (await gateway.health())["status"] == "degraded"
    body = await gateway.connections()
    assert (body["desired"], body["active"], body["difference_total"]) == (3, 2, 1)
    assert body["difference"] == [
        {
            "topic": "tickers.BUSDT",
            "category": "linear",
            "endpoint": "linear",
            "account": None,
            "state": "requested",
            "error": None,
            "since": "2026-10-01T03:02:10Z",
        }
    ]
    assert endpoint(body, "linear")["streaming"] == 1


async def test_a_redundant_partner_down_costs_no_readiness(gateway: Gateway) -> None:
    """All topics flow over the other one: degraded with a reason, ready, no difference."""
    await gateway.want(A, B, state=State.ACTIVE)
    gateway.feed.statuses = [
        connection("linear", LOST, "no pong in 10 s", name="linear-1a"),
        connection("linear", name="linear-1b"),
    ]
    assert await told(gateway) == [("connection_not_streaming", "linear-1a", False)]
    assert "no wanted topic is missing for it" in await only_detail(gateway)
    assert (await gateway.health())["status"] == "degraded"
    assert await gateway.reasons() == []
    assert (await gateway.connections())["difference"] == []


async def test_a_new_topic_while_the_partner_is_down_has_its_time(gateway: Gateway) -> None:
    """Sent on the socket that lives, it blocks only when its ack stays away too long."""
    await gateway.want(A, state=State.ACTIVE)
    gateway.feed.statuses = [
        connection("linear", LOST, "closed: 1006", name="linear-1a"),
        connection("linear", name="linear-1b"),
    ]
    await gateway.want(B)
    assert await gateway.reasons() == []
    gateway.now += GRACE_SECONDS
    assert await gateway.reasons() == [("connection_not_streaming", "linear-1a")]


async def test_a_successor_that_is_being_opened_is_no_reason(gateway: Gateway) -> None:
    """A planned replacement connects beside the socket that flows; nothing is wrong."""
    await gateway.want(A, state=State.ACTIVE)
    gateway.feed.statuses = [
        connection("linear", name="linear-1"),
        connection("linear", SessionState.CONNECTING, name="linear-2"),
    ]
    assert await told(gateway) == []


async def test_an_acknowledgement_that_does_not_come_is_a_reason(gateway: Gateway) -> None:
    """For a few seconds a topic may be on its way; then it is named."""
    await gateway.want(A, state=State.ACTIVE)
    gateway.feed.statuses = [connection("linear")]
    await gateway.want(B)
    assert await gateway.reasons() == []
    gateway.now += GRACE_SECONDS
    assert await gateway.reasons() == [("topics_not_active", "linear")]
    assert "linear:tickers.BUSDT" in await only_detail(gateway)
    assert (await gateway.health())["status"] == "degraded"


async def test_all_rejected_is_ready_and_counted(gateway: Gateway) -> None:
    """Bad topics cost no readiness; that an endpoint brings nothing at all is said all the same."""
    await gateway.want(A, B)
    for topic in (A, B):
        gateway.feed.answer(topic, State.REJECTED, f"Invalid symbol :[{topic.name}]")
    for statuses in ([], [connection("linear", SessionState.SUBSCRIBING)]):
        gateway.feed.statuses = statuses
        assert await gateway.reasons() == []
        health = await gateway.health()
        assert (health["status"], health["subscriptions"]) == ("degraded", {"rejected": 2})
        assert [one["code"] for one in health["reasons"]] == ["topics_refused"]
    body = await gateway.connections()
    assert endpoint(body, "linear")["rejected"] == 2
    assert [one["error"] for one in body["difference"]] == [
        "Invalid symbol :[tickers.AUSDT]",
        "Invalid symbol :[tickers.BUSDT]",
    ]


async def test_one_rejected_of_many_harms_no_other(gateway: Gateway) -> None:
    """The others flow, the gateway is ready, and the bad one is told with the venue's words."""
    await gateway.want(*(ticker(f"T{n:03d}USDT") for n in range(199)), state=State.ACTIVE)
    await gateway.want(A)
    gateway.feed.answer(A, State.REJECTED, "Invalid symbol :[tickers.AUSDT]")
    gateway.feed.statuses = [connection("linear")]
    assert await gateway.reasons() == []
    body = await gateway.connections()
    assert (body["desired"], body["active"]) == (200, 199)
    assert [one["state"] for one in body["difference"]] == ["rejected"]


async def test_stalled_topics_are_named_with_their_silence(gateway: Gateway) -> None:
    """Connected and silent is not green; nothing at all flowing is down."""
    await gateway.want(A, B, state=State.ACTIVE)
    gateway.feed.statuses = [connection("linear")]
    gateway.now = 160.0
    gateway.feed.answer(A, State.STALLED, "no data for 12 s, usually every 0.1 s")
    assert await gateway.reasons() == [("topics_stalled", "linear")]
    assert (await gateway.health())["status"] == "degraded"
    (difference,) = (await gateway.connections())["difference"]
    assert difference["state"] == "stalled"
    assert difference["error"] == "no data for 12 s, usually every 0.1 s"
    assert difference["since"] == "2026-10-01T03:02:40Z"
    gateway.feed.answer(B, State.STALLED)
    assert (await gateway.health())["status"] == "down"


async def test_many_stalled_topics_are_one_reason(gateway: Gateway) -> None:
    """A few names and a count; the list has the rest."""
    await gateway.want(*(ticker(f"T{n}USDT") for n in range(9)), state=State.STALLED)
    gateway.feed.statuses = [connection("linear")]
    assert (await only_detail(gateway)).endswith("linear:tickers.T4USDT and 4 more")


async def test_an_open_breaker_says_when_it_tries_again(gateway: Gateway) -> None:
    """Nothing is tried for a while, and whoever reads the reason knows until when."""
    await gateway.want(A, state=State.REQUESTED)
    gateway.feed.statuses = [
        connection(
            "linear",
            LOST,
            "handshake: HTTP 403",
            breaker=BreakerState.OPEN,
            retry_at=NIGHT + timedelta(seconds=121),
        )
    ]
    assert await only_detail(gateway) == (
        "connection is backing_off: handshake: HTTP 403; breaker is open, next attempt at "
        "2026-10-01T03:02:01Z; 1 of 1 topics of linear wait"
    )
    assert (await gateway.health())["status"] == "down"
    body = await gateway.connections()
    assert endpoint(body, "linear")["breaker"] == "open"
    assert body["connections"][0]["breaker"] == "open"
    assert body["connections"][0]["retry_at"] == "2026-10-01T03:02:01Z"


async def test_a_half_open_breaker_is_told(gateway: Gateway) -> None:
    """One attempt is being made; of several connections the worst breaker is the endpoint's."""
    await gateway.want(A, state=State.REQUESTED)
    gateway.feed.statuses = [
        connection("linear", SessionState.CONNECTING, "reset", breaker=BreakerState.HALF_OPEN),
        connection("linear", LOST, "reset", name="linear-2"),
    ]
    reasons = (await gateway.health())["reasons"]
    assert "breaker is half open" in reasons[0]["detail"]
    assert endpoint(await gateway.connections(), "linear")["breaker"] == "half_open"


@pytest.mark.parametrize("state", [LOST, SessionState.CONNECTING, SessionState.AUTHENTICATING])
async def test_a_refused_login_stops_private_data_only(
    gateway: Gateway, state: SessionState
) -> None:
    """One reason with the diagnosis, through every new attempt; public data go on."""
    await gateway.want(A, state=State.ACTIVE)
    await gateway.want(ORDER)
    gateway.feed.answer(ORDER, State.REQUESTED, DIAGNOSIS)
    retry_at = NIGHT + timedelta(seconds=160) if state is LOST else None
    gateway.feed.statuses = [
        connection("linear"),
        refused(state, name="private-1", retry_at=retry_at),
    ]
    assert await gateway.reasons() == [("login_refused", "private")]
    detail = await only_detail(gateway)
    assert detail.startswith(DIAGNOSIS)
    assert ("next attempt at 2026-10-01T03:02:40Z" in detail) is (state is LOST)
    assert (await gateway.health())["status"] == "degraded"
    (difference,) = (await gateway.connections())["difference"]
    assert (difference["endpoint"], difference["category"]) == ("private", None)
    assert (difference["state"], difference["error"]) == ("requested", DIAGNOSIS)


async def test_a_feed_that_gives_the_login_up_is_told_the_same(gateway: Gateway) -> None:
    """Rejected for the login's sake is not one bad topic: private data are missing."""
    await gateway.want(ORDER)
    gateway.feed.answer(ORDER, State.REJECTED, DIAGNOSIS)
    gateway.feed.statuses = [refused(SessionState.CLOSED)]
    assert await gateway.reasons() == [("login_refused", "private")]


async def test_a_private_socket_that_is_merely_lost_is_no_refused_login(gateway: Gateway) -> None:
    """The same connection, another remedy, another code; its topics say why they wait."""
    await gateway.want(ORDER, state=State.REQUESTED)
    gateway.feed.answer(ORDER, State.REQUESTED, "closed: 1006")
    gateway.feed.statuses = [connection("private", LOST, "closed: 1006")]
    assert await gateway.reasons() == [("connection_not_streaming", "private")]


async def test_a_failing_private_connection_is_told_before_anything_is_wanted(
    gateway: Gateway,
) -> None:
    """Wrong credentials will not mend themselves; but nobody misses data yet."""
    gateway.feed.statuses = [connection("private", LOST, DIAGNOSIS)]
    await gateway.want()
    assert await told(gateway) == [("connection_not_streaming", "private", False)]
    assert await gateway.reasons() == []


async def test_private_only(gateway: Gateway) -> None:
    """Without a public connection the private one alone decides; refused, nothing comes."""
    await gateway.want(ORDER, state=State.ACTIVE)
    gateway.feed.statuses = [connection("private")]
    assert await gateway.reasons() == []
    body = await gateway.connections()
    assert [one["endpoint"] for one in body["endpoints"]] == ["private"]
    gateway.feed.answer(ORDER, State.REQUESTED, DIAGNOSIS)
    gateway.feed.statuses = [refused(LOST)]
    assert await gateway.reasons() == [("login_refused", "private")]
    assert (await gateway.health())["status"] == "down"


async def test_ongoing_maintenance_explains_but_does_not_excuse(gateway: Gateway) -> None:
    """No data is no data: 503, with the announcement in front; other endpoints are not touched."""
    await gateway.want(A, state=State.REQUESTED)
    await gateway.want(ORDER, state=State.REQUESTED)
    gateway.feed.statuses = [
        connection("linear", LOST, "closed: 1012"),
        connection("private", LOST),
    ]
    gateway.notices.told = [WORK]
    health = await gateway.health()
    assert health["maintenance"] == [
        {
            "id": "4d95b2a0",
            "title": "Matching engine upgrade",
            "state": "ongoing",
            "begins_at": "2026-10-01T03:00:00Z",
            "ends_at": "2026-10-01T04:00:00Z",
            "endpoints": ["linear", "spot"],
        }
    ]
    linear, private = health["reasons"]
    assert linear["detail"].startswith(
        "maintenance: Matching engine upgrade until 2026-10-01T04:00:00Z, announced by Bybit; "
        "connection is backing_off: closed: 1012"
    )
    assert (linear["is_announced"], private["is_announced"]) == (True, False)
    assert len(await gateway.reasons()) == 2
    body = await gateway.connections()
    assert {one["endpoint"]: one["maintenance"] for one in body["endpoints"]} == {
        "spot": True,
        "linear": True,
        "private": False,
    }


async def test_maintenance_that_costs_nothing_is_only_told(gateway: Gateway) -> None:
    """While data flow there is no reason, however much is announced."""
    await gateway.want(A, state=State.ACTIVE)
    gateway.feed.statuses = [connection("linear")]
    gateway.notices.told = [WORK, replace(WORK, id="next", state="scheduled")]
    assert await told(gateway) == []
    assert [one["id"] for one in (await gateway.health())["maintenance"]] == ["4d95b2a0", "next"]


async def test_scheduled_maintenance_explains_nothing_yet(gateway: Gateway) -> None:
    """A loss before it begins is a loss; and an end that is not known is told so."""
    await gateway.want(A, state=State.REQUESTED)
    gateway.feed.statuses = [connection("linear", LOST, "closed: 1006")]
    gateway.notices.told = [replace(WORK, state="scheduled")]
    assert not (await only_detail(gateway)).startswith("maintenance")
    gateway.notices.told = [replace(WORK, ends_at=None)]
    assert "upgrade until further notice, announced" in await only_detail(gateway)


async def test_the_status_endpoint_is_one_like_the_others(gateway: Gateway) -> None:
    """Wanted, its loss is a reason; kept for our own sake alone, it is only shown."""
    status = Topic("system.status", None, Channel.SYSTEM_STATUS, None)
    gateway.feed.statuses = [connection("status", LOST, "closed: 1006")]
    await gateway.want()
    assert await told(gateway) == []
    assert endpoint(await gateway.connections(), "status")["desired"] == 0
    await gateway.want(status, state=State.REQUESTED)
    assert await gateway.reasons() == [("connection_not_streaming", "status")]
    (difference,) = (await gateway.connections(endpoint="status"))["difference"]
    assert (difference["topic"], difference["endpoint"]) == ("system.status", "status")
    gateway.feed.answer(status, State.ACTIVE)
    gateway.feed.statuses = [connection("status")]
    assert await gateway.reasons() == []


async def test_the_filter_narrows_everything(gateway: Gateway) -> None:
    """Connections, counts and difference are of that endpoint alone; unknown words are refused."""
    await gateway.want(A, SPOT)
    gateway.feed.statuses = [connection("linear"), connection("spot")]
    body = await gateway.connections(endpoint="spot")
    assert [one["name"] for one in body["connections"]] == ["spot"]
    assert [one["endpoint"] for one in body["endpoints"]] == ["spot"]
    assert (body["desired"], body["difference_total"]) == (1, 1)
    assert body["difference"][0]["topic"] == "tickers.BTCUSDT"
    assert endpoint(await gateway.connections(endpoint="option"), "option")["connections"] == 0
    for query, code, field in (
        ("endpoint=futures", "field_invalid", "endpoint"),
        ("category=spot", "field_unknown", "category"),
    ):
        answer = await gateway.http.get(f"/api/v1/connections?{query}", headers={"X-API-Key": "k"})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert answer.json()["field"] == field
    assert (await gateway.http.get("/api/v1/connections")).status_code == 401


async def test_the_difference_is_bounded_and_begins_with_what_matters(gateway: Gateway) -> None:
    """All are counted, a thousand are named: what should come, oldest first, then refusals."""
    refused = [ticker(f"R{n:04d}USDT") for n in range(MAX_DIFFERENCES)]
    await gateway.want(*refused, state=State.REJECTED)
    gateway.now = 110.0
    await gateway.want(B)
    gateway.now = 120.0
    await gateway.want(A)
    body = await gateway.connections()
    assert body["difference_total"] == MAX_DIFFERENCES + 2
    assert len(body["difference"]) == MAX_DIFFERENCES
    assert [one["topic"] for one in body["difference"][:3]] == [B.name, A.name, refused[0].name]


async def test_what_nobody_wants_is_no_difference(gateway: Gateway) -> None:
    """A topic whose end Bybit has not confirmed is counted by `/health` alone."""
    await gateway.want()
    gateway.feed.observer = None
    gateway.feed.answer(A, State.ACTIVE)
    assert (await gateway.connections())["desired"] == 0
    assert (await gateway.health())["subscriptions"] == {"active": 1}


async def test_an_endpoint_whose_topics_were_all_refused_says_so(gateway: Gateway) -> None:
    """One bad topic is nobody's business; no data at all is, although nothing else is missing."""
    gateway.feed.statuses = [connection("linear")]
    await gateway.want(A, state=State.REJECTED)
    body = (await gateway.http.get("/health")).json()
    (reason,) = body["reasons"]
    assert (reason["code"], reason["is_blocking"]) == ("topics_refused", False)
    assert (await gateway.http.get("/readyz")).status_code == 200


async def test_a_connection_that_carries_nothing_is_named(gateway: Gateway) -> None:
    """Its partner brings everything; when that is lost, nothing comes."""
    idle = replace(
        connection("linear", name="linear.b"),
        active_subscriptions=0,
        connection_duration_seconds=60.0,
    )
    gateway.feed.statuses = [connection("linear"), idle]
    await gateway.want(A, state=State.ACTIVE)
    (reason,) = (await gateway.http.get("/health")).json()["reasons"]
    assert (reason["code"], reason["subject"]) == ("connection_idle", "linear.b")
    assert (await gateway.http.get("/readyz")).status_code == 200


async def test_a_refused_login_beside_a_working_one_has_its_name(gateway: Gateway) -> None:
    """Keys were rotated to wrong ones: private data flow until the old socket is lost."""
    refused = replace(
        connection("private", LOST, "key is invalid", name="private.b"),
        is_login_refused=True,
    )
    gateway.feed.statuses = [connection("private"), refused]
    await gateway.want(ORDER, state=State.ACTIVE)
    (reason,) = (await gateway.http.get("/health")).json()["reasons"]
    assert (reason["code"], reason["is_blocking"]) == ("login_refused", False)


async def test_a_connection_that_is_owed_an_answer_while_its_topics_flow_is_ready(
    gateway: Gateway,
) -> None:
    """The ack was lost on its way; data prove the subscription, and no topic waits."""
    await gateway.want(A, state=State.ACTIVE)
    gateway.feed.statuses = [connection("linear", SessionState.SUBSCRIBING)]
    assert await told(gateway) == []
    assert (await gateway.health())["status"] == "ok"
    await gateway.want(B)
    assert await gateway.reasons() == []
    gateway.now += GRACE_SECONDS
    assert await gateway.reasons() == [("topics_not_active", "linear")]


async def test_what_the_venue_said_to_the_topics_that_wait_is_told_at_once(
    gateway: Gateway,
) -> None:
    """A connection on which nothing was taken yet has no words of its own."""
    await gateway.want(A, state=State.REQUESTED)
    gateway.feed.answer(A, State.REQUESTED, "error:service unavailable")
    fresh = replace(connection("linear", SessionState.SUBSCRIBING), active_subscriptions=0)
    gateway.feed.statuses = [fresh]
    assert await gateway.reasons() == [("connection_not_streaming", "linear")]
    assert (await only_detail(gateway)).endswith(
        "1 of 1 topics of linear wait (error:service unavailable)"
    )
    gateway.feed.statuses = [replace(fresh, connection_status=SessionState.STREAMING)]
    gateway.now += GRACE_SECONDS
    assert await gateway.reasons() == [("topics_not_active", "linear")]
    assert "(error:service unavailable)" in await only_detail(gateway)
