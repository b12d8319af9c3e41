"""Sharing, whole sets, leases, quotas and waiting, over HTTP on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from support.control_room import PATH, Api, control_room, is_problem
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category

SETS = "/api/v1/services"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    """Serve the control room on a database of the test's own."""
    async with control_room(database_url, quota=5) as room:
        yield room


async def put(api: Api, service: str, *wishes: dict[str, Any], **query: Any) -> httpx.Response:
    """Say all that a service wants."""
    body = {"subscriptions": list(wishes)}
    return await api.http.put(f"{SETS}/{service}/subscriptions", json=body, params=query)


def ticker(symbol: str = "BTCUSDT", **wish: Any) -> dict[str, Any]:
    """Build a wish without a service."""
    return {"channel": "ticker", "symbol": symbol, "category": "linear", **wish}


def symbols(api: Api) -> set[str | None]:
    """Name what the feed was asked for."""
    return {topic.symbol for topic in api.feed.wanted()}


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds, at most thirty seconds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is watched has no event to wait for
            await asyncio.sleep(0.005)


async def test_a_whole_set_answers_what_was_added_and_removed(api: Api) -> None:
    """What stays keeps its id and is never dropped; what is missing goes, and only of this one."""
    stays = (await api.add(category="linear")).json()
    goes = (await api.add(symbol="ETHUSDT", category="linear")).json()
    await api.add(symbol="XRPUSDT", category="linear", requesting_service="other")
    await api.until_state(goes["id"], "pending")
    answer = await put(api, "strategy-1", ticker(), ticker("SOLUSDT"))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["requesting_service"] == "strategy-1"
    assert [one["symbol"] for one in body["added"]] == ["SOLUSDT"]
    assert [one["id"] for one in body["removed"]] == [goes["id"]]
    assert (body["changed"], body["unchanged"]) == ([], 1)
    assert {one["id"] for one in await api.items(requesting_service="strategy-1")} == {
        stays["id"],
        body["added"][0]["id"],
    }
    await until(lambda: symbols(api) == {"BTCUSDT", "SOLUSDT", "XRPUSDT"})
    dropped = [key for name, keys in api.feed.calls for key in keys if name == "drop"]
    assert dropped == ["linear:tickers.ETHUSDT"]

    again = (await put(api, "strategy-1", ticker("SOLUSDT"), ticker())).json()
    assert (again["added"], again["removed"], again["changed"]) == ([], [], [])
    assert again["unchanged"] == 2
    assert (await put(api, "strategy-1")).json()["unchanged"] == 0
    assert await api.items(requesting_service="strategy-1") == []


async def test_what_was_removed_is_told_as_it_was_just_before(api: Api) -> None:
    """With its state and who carried it, though it is gone when that is told."""
    goes = (await api.add(symbol="ETHUSDT", category="linear", delivery="dedicated")).json()
    await api.until_state(goes["id"], "pending")
    (gone,) = (await put(api, "strategy-1")).json()["removed"]
    assert (gone["id"], gone["state"], gone["connections"]) == (goes["id"], "pending", ["linear"])
    assert gone["queue"] == goes["queue"] == "ws-gateway.strategy-1.ticker"


async def test_a_refused_set_tells_of_more_than_its_first_fault(api: Api) -> None:
    """Four at most; what contradicts is told without a word of Python."""
    bad = [
        {"channel": "orderbook", "symbol": "BTCUSDT", "category": "linear", "depth": depth}
        for depth in range(2, 9)
    ]
    problem = is_problem(await put(api, "strategy-1", *bad), 422, "depth_not_offered")
    assert problem["field"] == "subscriptions.0.depth"
    told = [place for place in range(7) if f"subscriptions.{place}: " in problem["detail"]]
    assert told == [1, 2, 3]
    ways = (ticker(), ticker(ttl_seconds=60))
    problem = is_problem(await put(api, "strategy-1", *ways), 409, "subscriptions_contradict")
    assert "None" not in problem["detail"]


async def test_one_bad_wish_leaves_the_whole_set_alone(api: Api) -> None:
    """Its place is named, and nothing is changed."""
    await api.add(category="linear")
    bad = {"channel": "orderbook", "symbol": "BTCUSDT", "category": "linear", "depth": 7}
    problem = is_problem(await put(api, "strategy-1", ticker(), bad), 422, "depth_not_offered")
    assert problem["field"] == "subscriptions.1.depth"
    assert len(await api.items()) == 1
    unknown = is_problem(await put(api, "strategy-1", ticker(depht=1)), 422, "field_unknown")
    assert unknown["field"] == "subscriptions.0.depht"


async def test_the_rules_of_sharing(api: Api) -> None:
    """Other settings are other topics; equal ones share; contradictions name both sides."""
    book = {"channel": "orderbook", "symbol": "BTCUSDT", "category": "linear"}
    for wish in ({**book, "depth": 50}, {**book, "depth": 200}, {**book, "category": "spot"}):
        assert (await api.add(**wish)).status_code == 201  # they stand side by side
    shared = (await api.add(**book, depth=50, requesting_service="other")).json()
    assert shared["services"] == 2
    third = await api.add(**book, depth=50, requesting_service="third", delivery="dedicated")
    assert (third.status_code, third.json()["services"]) == (201, 3)
    await until(lambda: len(api.feed.wanted()) == 3)

    conflict = is_problem(
        await api.add(**book, depth=50, delivery="dedicated"), 409, "delivery_contradicts"
    )
    assert "delivery shared" in conflict["detail"]
    assert "delivery dedicated" in conflict["detail"]
    assert conflict["field"] == "delivery"
    both = is_problem(
        await put(api, "x", ticker(), ticker(delivery="dedicated")), 409, "subscriptions_contradict"
    )
    assert "subscriptions 0 and 1" in both["detail"]
    assert (await put(api, "x", ticker(), ticker())).json()["added"][0][
        "topic"
    ] == "tickers.BTCUSDT"
    # A whole set may change what a single wish may not.
    changed = (await put(api, "x", ticker(delivery="dedicated"))).json()["changed"]
    assert [one["delivery"] for one in changed] == ["dedicated"]


async def test_a_quota_is_429_with_a_time_to_come_again(api: Api) -> None:
    """One service's bound is no other's; the same again is not one more."""
    for number in range(5):
        assert (await api.add(symbol=f"C{number}USDT")).status_code == 201
    refused = await api.add(symbol="C5USDT")
    is_problem(refused, 429, "quota_exceeded")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await api.add(symbol="C0USDT")).status_code == 200
    assert (await api.add(symbol="C5USDT", requesting_service="other")).status_code == 201
    many = await put(api, "strategy-1", *(ticker(f"D{number}USDT") for number in range(6)))
    is_problem(many, 429, "quota_exceeded")
    assert len(await api.items(requesting_service="strategy-1")) == 5
    same = await put(api, "strategy-1", *[ticker("C0USDT")] * 6)
    assert (same.status_code, same.json()["unchanged"]) == (200, 1)


async def test_a_lease_that_is_not_renewed_leaves_nothing_behind(api: Api) -> None:
    """A service that renews keeps its topic; one that died loses it, and the topic is dropped."""
    lives = (await api.add(symbol="AUSDT", ttl_seconds=4, requesting_service="lives")).json()
    dead = (await api.add(symbol="BUSDT", ttl_seconds=4, requesting_service="dead")).json()
    assert dead["ttl_seconds"] == 4
    assert dead["expires_at"] > dead["created_at"]
    async with asyncio.timeout(30):
        while (await api.http.get(f"{PATH}/{dead['id']}")).status_code == 200:
            renewed = (await api.http.post(f"{SETS}/lives/renewal")).json()
            assert (renewed["renewed"], renewed["requesting_service"]) == (1, "lives")
            await asyncio.sleep(0.05)
    await until(lambda: symbols(api) == {"AUSDT"})
    assert (await api.http.get(f"{PATH}/{lives['id']}")).status_code == 200
    nothing = (await api.http.post(f"{SETS}/dead/renewal")).json()
    assert (nothing["renewed"], nothing["first_expires_at"]) == (0, None)


@pytest.mark.parametrize("state", [SubscriptionState.ACTIVE, SubscriptionState.REJECTED])
async def test_wait_answers_when_the_venue_has_spoken(api: Api, state: SubscriptionState) -> None:
    """The answer to the POST has the venue's answer in it."""
    posting = asyncio.create_task(
        api.http.post(PATH, json={**ticker(), "requesting_service": "s"}, params={"wait": "30"})
    )
    await until(lambda: bool(api.feed.wanted()))
    topics = list(api.feed.wanted())
    await asyncio.sleep(0.05)
    assert not posting.done()
    error = "Invalid symbol" if state is SubscriptionState.REJECTED else None
    api.feed.answer(topics[0], state, error)
    answer = await posting
    assert (answer.status_code, answer.json()["state"]) == (201, state.value)
    assert answer.json()["last_error"] == error
    at_once = await api.http.post(
        PATH, json={**ticker(), "requesting_service": "t"}, params={"wait": "0.05"}
    )
    assert at_once.json()["state"] in ("active", "requested", "pending")


async def test_wait_with_a_whole_set_is_for_what_stood_before_too(api: Api) -> None:
    """A set that is said again after a cut is answered when all of it has the venue's answer."""
    assert (await put(api, "s", ticker())).status_code == 200
    await until(lambda: bool(api.feed.wanted()))
    putting = asyncio.create_task(put(api, "s", ticker(), wait=30))
    await asyncio.sleep(0.2)
    assert not putting.done()
    api.feed.answer(next(iter(api.feed.wanted())), SubscriptionState.ACTIVE)
    answer = await putting
    assert (answer.status_code, answer.json()["unchanged"]) == (200, 1)


async def test_wait_ends_with_what_there_is(api: Api) -> None:
    """A venue that says nothing holds nobody up for longer than was asked."""
    asked = (await api.add(category="linear")).json()
    await api.until_state(asked["id"], "pending")
    answer = await put(api, "s", ticker(), wait=0.05)
    assert answer.json()["added"][0]["state"] == "pending"
    is_problem(await put(api, "s", ticker(), wait=31), 422, "field_invalid")


async def test_a_wish_without_a_category_stays_the_one_it_became(api: Api) -> None:
    """The same wish is the same subscription, also when the symbol's category is named later."""
    first = (await api.add()).json()
    assert "configured default" in first["chosen_by"]
    await api.pool.execute("UPDATE subscriptions SET category = 'spot'")  # as lists had said then
    await until(lambda: {topic.category for topic in api.feed.wanted()} == {Category.SPOT})
    again = await api.add()
    assert again.json()["id"] == first["id"]
    assert (again.status_code, again.json()["category"]) == (200, "spot")
