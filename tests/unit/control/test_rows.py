"""Subscriptions as JSON without models, and sets that are judged piece by piece."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from support.memory_gateway import Gateway
from ws_gateway.control.api.rows import page_answer
from ws_gateway.control.live import LiveSubscription
from ws_gateway.control.service import Page
from ws_gateway.control.subscription_schemas import SubscriptionAnswer, SubscriptionList
from ws_gateway.domain.subscription import Delivery, Subscription, SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.runtime.slices import SLICE

NOW = datetime(2026, 10, 1, 12, 0, tzinfo=UTC)
PATH = "/api/v1/services/many/subscriptions"
TOPICS = [
    build_topic(Channel.ORDER),
    build_topic(Channel.SYSTEM_STATUS),
    build_topic(Channel.KLINE, category=Category.SPOT, symbol="BTCUSDT", interval="D"),
    build_topic(Channel.ORDERBOOK, category=Category.LINEAR, symbol="BTCUSDT", depth=200),
    build_topic(Channel.TICKER, category=Category.OPTION, symbol="BTC-27DEC26-100000-C-USDT"),
]


def live(number: int, topic: Topic) -> LiveSubscription:
    """Build one; fields that may be null are so by turns."""
    has = bool(number % 2)
    at = NOW + timedelta(microseconds=112_034 * number)
    row = Subscription(
        UUID(int=number),
        topic,
        "strategy-1",
        SubscriptionState.REJECTED if has else SubscriptionState.ACTIVE,
        'lists say "так"\n',
        "Invalid symbol :[é\u2028\x00]" if has else None,
        at,
        NOW,
        Delivery.DEDICATED if has else Delivery.SHARED,
        60 if has else None,
        datetime.max.replace(tzinfo=UTC) if has else None,
    )
    return LiveSubscription(row, ("linear", "linear.b"), 2**60, at if has else None, number)


@pytest.mark.parametrize("count", [0, 1, 5, 120])
async def test_a_page_is_told_as_its_model_would_tell_it(count: int) -> None:
    """Byte for byte the same values, and of the shape that is documented."""
    items = [live(number, TOPICS[number % len(TOPICS)]) for number in range(count)]
    answer = await page_answer(Page(items, UUID(int=7) if count else None))
    assert answer.headers["Content-Type"] == "application/json"
    told = json.loads(bytes(answer.body))
    assert told["items"] == [SubscriptionAnswer.of(one).model_dump(mode="json") for one in items]
    assert SubscriptionList.model_validate(told).model_dump(mode="json") == told


def wishes(count: int) -> list[dict[str, Any]]:
    """Build tickers."""
    return [
        {"channel": "ticker", "symbol": f"S{number}USDT", "category": "linear"}
        for number in range(count)
    ]


async def put(gateway: Gateway, body: object) -> httpx.Response:
    """Say a whole set."""
    return await gateway.http.put(PATH, json=body, headers={"X-API-Key": "k"})


@pytest.mark.parametrize("place", [0, SLICE - 1, SLICE, 3 * SLICE + 7])
async def test_the_wish_at_fault_is_named_wherever_in_the_set_it_stands(place: int) -> None:
    """Its place is that in the whole body; nothing was changed."""
    gateway = Gateway()
    async with gateway.http:
        body = wishes(4 * SLICE)
        body[place]["depht"] = 50
        body[place + 1]["channel"] = "nonsense"
        answer = await put(gateway, {"subscriptions": body})
        assert answer.status_code == 422
        problem = answer.json()
        assert (problem["code"], problem["field"]) == (
            "field_unknown",
            f"subscriptions.{place}.depht",
        )
        assert (await gateway.store.everything())[1] == []


@pytest.mark.parametrize("wish", [None, 7, "ticker", [], {}])
async def test_what_is_no_wish_at_all_is_refused(wish: object) -> None:
    """Whatever JSON it is."""
    gateway = Gateway()
    async with gateway.http:
        answer = await put(gateway, {"subscriptions": [wish]})
        assert answer.status_code == 422, answer.text
        assert str(answer.json()["field"]).startswith("subscriptions.0")


async def test_a_set_of_thousands_lets_the_loop_turn() -> None:
    """Frames are read in between: it is judged, taken in and told in slices."""
    gateway, count, turns = Gateway(), 20 * SLICE, 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with gateway.http:
        turning = asyncio.create_task(turn())
        answer = await put(gateway, {"subscriptions": wishes(count)})
        turning.cancel()
        assert answer.status_code == 200
        assert len(answer.json()["added"]) == count
    # Judged, chosen, taken in, looked at and told: five times twenty slices at least.
    assert turns > 5 * 20
