"""What is told of the connections over a real socket, with wishes in a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from support.control_room import Api, control_room, is_problem
from support.memory_feed import connection
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.ports.feed import SessionState

PATH = "/api/v1/connections"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    """Serve the control room on a database of the test's own."""
    async with control_room(database_url) as room:
        yield room


async def test_the_difference_follows_what_is_wanted(api: Api) -> None:
    """From the post to the data, and gone with the wish; two services are one topic."""
    api.feed.statuses = [connection("linear", name="linear-1")]
    wish = (await api.add()).json()
    await api.add(requesting_service="other")
    await api.until_state(wish["id"], "pending")
    await api.until_restored()
    body = (await api.http.get(PATH)).json()
    assert (body["desired"], body["active"]) == (1, 0)
    (difference,) = body["difference"]
    assert (difference["topic"], difference["state"]) == (wish["topic"], "pending")
    assert difference["since"] >= wish["created_at"][:19]
    (topic,) = api.feed.wanted()
    api.feed.answer(topic, SubscriptionState.ACTIVE)
    body = (await api.http.get(PATH, params={"endpoint": "linear"})).json()
    assert (body["desired"], body["active"], body["difference"]) == (1, 1, [])
    await api.http.delete("/api/v1/subscriptions/by-service/strategy-1")
    await api.http.delete("/api/v1/subscriptions/by-service/other")
    async with asyncio.timeout(20):
        while (await api.http.get(PATH)).json()["desired"]:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.01)


async def test_what_the_settings_forbid_is_told_with_the_setting(api: Api) -> None:
    """A stored wish of a category that is not enabled is missing, and the reason is named."""
    await api.pool.execute(
        "INSERT INTO subscriptions"
        " (id, requesting_service, category, topic, channel, symbol, chosen_by)"
        " VALUES (gen_random_uuid(), 's', 'inverse', 'tickers.BTCUSD', 'ticker', 'BTCUSD', '')"
    )
    await api.add()
    async with asyncio.timeout(20):
        while (await api.http.get(PATH)).json()["desired"] < 2:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
    body = (await api.http.get(PATH, params={"endpoint": "inverse"})).json()
    (difference,) = body["difference"]
    assert difference["state"] == "rejected"
    assert "WSG_ENABLED_CATEGORIES" in difference["error"]


async def test_readiness_and_connections_agree_in_an_outage(api: Api) -> None:
    """The same moment, the same story on both; a database away does not hide it."""
    wish = (await api.add()).json()
    await api.until_state(wish["id"], "pending")
    await api.until_restored()
    (topic,) = api.feed.wanted()
    api.feed.answer(topic, SubscriptionState.REQUESTED)
    api.feed.statuses = [connection("linear", SessionState.BACKING_OFF, "closed: 1006")]
    await api.pool.close()
    readiness = await api.http.get("/readyz")
    assert readiness.status_code == 503
    assert [one["code"] for one in readiness.json()["reasons"]] == ["connection_not_streaming"]
    health = (await api.http.get("/health")).json()
    assert {one["code"] for one in health["reasons"]} == {
        "database_lost",
        "connection_not_streaming",
    }
    body = (await api.http.get(PATH)).json()
    assert (body["desired"], body["active"]) == (1, 0)
    assert body["connections"][0]["last_error"] == "closed: 1006"


async def test_a_filter_that_cannot_be_is_refused(api: Api) -> None:
    """The answer names the endpoints there are."""
    body = is_problem(await api.http.get(f"{PATH}?endpoint=futures"), 422, "field_invalid")
    assert body["field"] == "endpoint"
    assert {"linear", "status", "private"} <= set(body["allowed"])


async def test_a_person_may_have_a_connection_replaced(api: Api) -> None:
    """It is ordered at once; a name nobody has is said to be none."""
    api.feed.statuses = [connection("linear", name="linear-2")]
    answer = await api.http.post(f"{PATH}/linear-2/replacement")
    assert (answer.status_code, answer.json()) == (202, {"connection": "linear-2"})
    assert api.feed.calls == [("replace", ["linear-2", "a person asked for it"])]
    problem = is_problem(
        await api.http.post(f"{PATH}/linear/replacement"), 404, "connection_not_found"
    )
    assert "no connection 'linear'" in problem["detail"]
