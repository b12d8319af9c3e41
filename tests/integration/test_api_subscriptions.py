"""The HTTP API of subscriptions over a real socket, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from support.control_room import PATH, POLICY, Api, control_room, is_problem
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Channel, build_topic


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    """Serve the control room on a database of the test's own."""
    async with control_room(database_url) as room:
        yield room


@pytest.fixture
async def keyed_api(database_url: str) -> AsyncIterator[Api]:
    """Serve the control room of a gateway that has a key for private channels."""
    async with control_room(database_url, replace(POLICY, has_credentials=True)) as room:
        yield room


async def test_a_new_wish_is_stored_and_reaches_the_feed(api: Api) -> None:
    """201 with everything about it; the feed is asked at once; the state follows the venue."""
    answer = await api.add(channel="orderbook", depth=200, category="spot")
    assert answer.status_code == 201
    body = answer.json()
    assert body["topic"] == "orderbook.200.BTCUSDT"
    assert (body["channel"], body["category"], body["symbol"]) == ("orderbook", "spot", "BTCUSDT")
    assert (body["depth"], body["interval"]) == (200, None)
    assert (body["requesting_service"], body["chosen_by"]) == ("strategy-1", "explicit")
    assert (body["state"], body["last_error"]) == ("requested", None)
    assert answer.headers["location"] == f"{PATH}/{body['id']}"
    await api.until_state(body["id"], "pending")
    topic = build_topic(Channel.ORDERBOOK, category=Category.SPOT, symbol="BTCUSDT", depth=200)
    api.feed.answer(topic, SubscriptionState.ACTIVE)
    assert (await api.until_state(body["id"], "active"))["state_since"] > body["state_since"]


async def test_the_same_wish_again_answers_200(api: Api) -> None:
    """Posting twice changes nothing and answers the row that stands."""
    first, second = await api.add(), await api.add()
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert first.json()["created_at"] == second.json()["created_at"]


async def test_ten_at_once_are_one_row_and_one_201(api: Api) -> None:
    """Of simultaneous posts of one wish exactly one is told that it is new."""
    answers = await asyncio.gather(*(api.add() for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len(await api.items()) == 1


async def test_services_share_a_topic_without_conflict(api: Api) -> None:
    """Two services, two rows, one topic; it goes when the second has gone."""
    one = (await api.add(requesting_service="one")).json()
    await api.until_state(one["id"], "pending")
    two = await api.add(requesting_service="two")
    assert two.status_code == 201
    assert two.json()["state"] == "pending"
    assert len(api.feed.wanted()) == 1
    assert (await api.http.delete(f"{PATH}/{one['id']}")).status_code == 204
    marker = (await api.add(symbol="ETHUSDT")).json()
    await api.until_state(marker["id"], "pending")
    assert len(api.feed.wanted()) == 2
    assert (await api.http.delete(f"{PATH}/{two.json()['id']}")).status_code == 204
    async with asyncio.timeout(20):
        while len(api.feed.wanted()) > 1:  # noqa: ASYNC110 - the feed has no event to wait for
            await asyncio.sleep(0.01)


async def test_the_category_is_detected_and_said(api: Api) -> None:
    """Without a category, the answer tells which was taken and why."""
    default = (await api.add()).json()
    assert default["category"] == "linear"
    assert "configured default" in default["chosen_by"]
    option = (await api.add(symbol="BTC-27DEC26-100000-C-USDT")).json()
    assert option["category"] == "option"


async def test_a_rejected_topic_shows_the_venues_words_and_may_be_asked_again(api: Api) -> None:
    """A refusal is visible; posting the wish again asks the venue again; others flow on."""
    bad = (await api.add(symbol="NOSUCHUSDT")).json()
    good = (await api.add()).json()
    await api.until_state(bad["id"], "pending")
    await api.until_state(good["id"], "pending")
    topics = {topic.symbol: topic for topic in api.feed.wanted()}
    api.feed.answer(topics["NOSUCHUSDT"], SubscriptionState.REJECTED, "Invalid symbol :NOSUCHUSDT")
    api.feed.answer(topics["BTCUSDT"], SubscriptionState.ACTIVE)
    assert "Invalid symbol" in (await api.until_state(bad["id"], "rejected"))["last_error"]
    await api.until_state(good["id"], "active")

    again = await api.add(symbol="NOSUCHUSDT")
    assert (again.status_code, again.json()["state"]) == (200, "requested")
    assert (await api.until_state(bad["id"], "pending"))["last_error"] is None
    assert api.feed.calls[-1] == ("want", ["linear:tickers.NOSUCHUSDT"])


async def test_pages_are_walked_while_rows_come(api: Api) -> None:
    """Every old row is seen once, whatever is added between two pages."""
    ids = [(await api.add(symbol=f"C{n}USDT")).json()["id"] for n in range(5)]
    seen: list[str] = []
    cursor = None
    for round_number in range(10):
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await api.http.get(PATH, params=query)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        if round_number == 0:
            await api.add(symbol="LATEUSDT")
    assert seen[:5] == ids
    assert len(seen) == len(set(seen)) == 6


async def test_filters_narrow_together(api: Api) -> None:
    """Each filter works, and several narrow together."""
    await api.add()
    await api.add(category="spot")
    await api.add(channel="kline", interval="D", requesting_service="charts")
    assert len(await api.items()) == 3
    assert len(await api.items(requesting_service="strategy-1")) == 2
    assert len(await api.items(channel="kline")) == 1
    assert len(await api.items(category="spot")) == 1
    assert len(await api.items(symbol="BTCUSDT", category="linear")) == 2
    assert len(await api.items(state="rejected")) == 0
    assert (await api.items(channel="kline"))[0]["interval"] == "D"


async def test_one_is_seen_and_deleted_once(api: Api) -> None:
    """GET and DELETE answer 404 after the end, and 404 for what never was."""
    wish = (await api.add()).json()
    path = f"{PATH}/{wish['id']}"
    assert (await api.http.get(path)).json()["topic"] == "tickers.BTCUSDT"
    gone = await api.http.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    is_problem(await api.http.delete(path), 404, "subscription_unknown")
    is_problem(await api.http.get(path), 404, "subscription_unknown")
    is_problem(await api.http.get(f"{PATH}/{uuid4()}"), 404, "subscription_unknown")


async def test_a_service_leaves_with_all_it_had(api: Api) -> None:
    """Only its own subscriptions go, and a service without any has none removed."""
    await api.add()
    await api.add(symbol="ETHUSDT")
    await api.add(requesting_service="other")
    path = f"{PATH}/by-service/strategy-1"
    expected = {"requesting_service": "strategy-1", "removed": 2}
    assert (await api.http.delete(path)).json() == expected
    assert (await api.http.delete(path)).json() == {**expected, "removed": 0}
    assert [item["requesting_service"] for item in await api.items()] == ["other"]


@pytest.mark.parametrize(
    ("wish", "code", "field", "allowed"),
    [
        ({"channel": "orderbook", "depth": 7}, "depth_not_offered", "depth", "1000"),
        ({"channel": "orderbook", "depth": True}, "field_invalid", "depth", None),
        ({"channel": "candles"}, "field_invalid", "channel", "orderbook"),
        ({"channel": "kline", "interval": "7"}, "interval_not_offered", "interval", "720"),
        ({"symbol": "BTCUSD"}, "category_disabled", "category", "spot"),
        ({"category": "inverse"}, "category_disabled", "category", "spot"),
        ({"category": "futures"}, "field_invalid", "category", "linear"),
        ({"channel": "balance", "symbol": None}, "credentials_missing", "channel", "ticker"),
        ({"delivery": "exclusive"}, "field_invalid", "delivery", "dedicated"),
        (
            {"delivery": "dedicated", "requesting_service": ".a"},
            "service_unfit_for_queue",
            "requesting_service",
            None,
        ),
        ({"symbol": "btcusdt"}, "field_invalid", "symbol", None),
        ({"symbol": "BTC\x00USDT"}, "field_invalid", "symbol", None),
        ({"symbol": "B" * 65}, "field_invalid", "symbol", None),
        ({"symbol": None}, "symbol_missing", "symbol", None),
        ({"requesting_service": "a b"}, "field_invalid", "requesting_service", None),
        ({"requesting_service": None}, "field_invalid", "requesting_service", None),
        ({"colour": "red"}, "field_unknown", "colour", None),
        ({"interval": "5"}, "field_not_applicable", "interval", None),
    ],
)
async def test_a_bad_wish_names_its_field(
    api: Api, wish: dict[str, Any], code: str, field: str, allowed: str | None
) -> None:
    """422 with the field, what was found, and what would be accepted; nothing is stored."""
    body = is_problem(await api.add(**wish), 422, code)
    assert body["field"] == field
    if allowed is not None:
        assert allowed in body["allowed"]
    assert await api.items() == []


async def test_system_status_and_pools_are_asked_for_by_name(api: Api) -> None:
    """One has neither symbol nor category, the others name a pool that tells its category."""
    bare = {"symbol": None, "requesting_service": "watch"}
    status = (await api.add(channel="system_status", **bare)).json()
    assert (status["topic"], status["category"]) == ("system.status", None)
    pool = (await api.add(channel="adl_alert", symbol="USDC")).json()
    assert (pool["topic"], pool["category"]) == ("adlAlert.USDC", "linear")
    body = is_problem(
        await api.add(channel="insurance", symbol="inverse"), 422, "category_disabled"
    )
    assert "pool of inverse" in body["detail"]


async def test_private_channels_take_a_category(keyed_api: Api) -> None:
    """It narrows the topic, is stored and found again; the old `dcp` says what replaced it."""
    narrowed = (await keyed_api.add(channel="order", symbol=None, category="linear")).json()
    assert (narrowed["topic"], narrowed["category"]) == ("order.linear", "linear")
    whole = (await keyed_api.add(channel="order", symbol=None)).json()
    assert (whole["topic"], whole["category"]) == ("order", None)
    assert [item["id"] for item in await keyed_api.items(category="linear")] == [narrowed["id"]]
    await keyed_api.until_state(narrowed["id"], "pending")
    assert build_topic(Channel.ORDER, category=Category.LINEAR) in keyed_api.feed.wanted()
    dcp = await keyed_api.add(channel="dcp", symbol=None)
    body = is_problem(dcp, 422, "category_missing")
    assert body["allowed"] == ["spot", "linear", "inverse", "option"]
    assert (await keyed_api.add(channel="dcp", symbol=None, category="linear")).status_code == 201
    again = await keyed_api.add(channel="dcp", symbol=None, category="linear")
    assert (again.status_code, again.json()["topic"]) == (200, "dcp.future")


async def test_missing_credentials_say_what_to_set(api: Api) -> None:
    """A private channel without credentials names the two settings."""
    answer = await api.http.post(PATH, json={"channel": "order", "requesting_service": "s"})
    body = is_problem(answer, 422, "credentials_missing")
    assert "WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET" in body["detail"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "json_invalid"),
        (b"\xff\xfe", 400, "json_invalid"),
        (b"", 422, "field_missing"),
        (b"[1]", 422, "field_invalid"),
        (b"null", 422, "field_invalid"),
        (b'{"channel":"ticker","requesting_service":"s","symbol":"\\ud800"}', 422, "field_invalid"),
        (b'{"channel": "ticker"}', 422, "field_missing"),
        (b"x" * 70_000, 413, "body_too_large"),
        (b"[" * 60_000, 400, "body_too_deep"),
    ],
)
async def test_bodies_that_are_no_wish(api: Api, content: bytes, status: int, code: str) -> None:
    """Whatever is sent, the answer is a problem, and the next request is served."""
    headers = {"content-type": "application/json"}
    is_problem(await api.http.post(PATH, content=content, headers=headers), status, code)
    assert await api.items() == []


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        (None, "was sent without a Content-Type"),
        ("text/plain", "was sent with another Content-Type"),
        ("application/x-www-form-urlencoded", "was sent with another Content-Type"),
    ],
)
async def test_a_body_not_called_json_is_told_so(
    api: Api, content_type: str | None, said: str
) -> None:
    """415 in a sentence that names the header to send, as `curl -d` alone does not."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    content = b'{"channel": "ticker", "symbol": "BTCUSDT", "requesting_service": "s"}'
    answer = await api.http.post(PATH, content=content, headers=headers)
    body = is_problem(answer, 415, "content_type_not_json")
    assert body["detail"] == f"the body {said}; send it with Content-Type: application/json"
    assert (body["field"], body["found"]) == ("Content-Type", content_type)
    assert body["allowed"] == ["application/json"]
    assert await api.items() == []


async def test_a_body_without_announced_length_is_bounded_too(api: Api) -> None:
    """Chunks are counted as they come."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b" " * 1024

    is_problem(await api.http.post(PATH, content=chunks()), 413, "body_too_large")


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("cursor=nonsense", "cursor_unknown", "cursor"),
        ("cursor=%C3%A4", "cursor_unknown", "cursor"),
        ("limit=0", "field_invalid", "limit"),
        ("limit=501", "field_invalid", "limit"),
        ("limit=many", "field_invalid", "limit"),
        ("state=lost", "field_invalid", "state"),
        ("symbol=%00", "field_invalid", "symbol"),
        ("service=a", "field_unknown", "service"),
    ],
)
async def test_a_bad_query_names_its_field(api: Api, query: str, code: str, field: str) -> None:
    """A filter that cannot be is refused, not taken for no filter."""
    assert is_problem(await api.http.get(f"{PATH}?{query}"), 422, code)["field"] == field


async def test_paths_and_methods_that_are_not_there(api: Api) -> None:
    """404 and 405 are problems as well; 405 says what the path takes."""
    is_problem(await api.http.get("/api/v1/nothing"), 404, "not_found")
    is_problem(await api.http.get("/nothing"), 404, "not_found")
    is_problem(await api.http.get(f"{PATH}/not-a-uuid"), 422, "field_invalid")
    body = is_problem(await api.http.put(PATH, json={}), 405, "method_not_allowed")
    assert body["allowed"] == ["GET", "HEAD", "POST"]
    body = is_problem(await api.http.put(f"{PATH}/{uuid4()}", json={}), 405, "method_not_allowed")
    assert body["allowed"] == ["DELETE", "GET", "HEAD"]


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_no_page_of_foreign_scripts_is_served(api: Api, page: str) -> None:
    """The document is there, the pages that load scripts from elsewhere are not."""
    is_problem(await api.http.get(page), 404, "not_found")
    assert (await api.http.get("/openapi.json")).json()["info"]["title"] == "ws-gateway"


async def test_a_lost_database_is_503_and_retryable(api: Api) -> None:
    """Writes answer when to come again; the livez probe does not care."""
    await api.pool.close()
    for answer in (await api.add(), await api.http.delete(f"{PATH}/{uuid4()}")):
        is_problem(answer, 503, "database_lost")
        assert answer.headers["retry-after"] == "5"
    assert (await api.http.get("/livez")).status_code == 200
    reasons = (await api.http.get("/health")).json()["reasons"]
    assert "database_lost" in {one["code"] for one in reasons}
