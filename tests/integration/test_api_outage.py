"""The control room while PostgreSQL goes and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from support.control_room import PATH, control_room, is_problem
from support.proxy import TcpProxy
from support.relay import relay_to, to_postgres
from ws_gateway.control.health import PING_AGE_SECONDS, PING_SECONDS
from ws_gateway.control.key_words import make_key
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.storage.database import migrate
from ws_gateway.storage.embedded import EmbeddedPostgres

OpenProxy = Callable[[str, int], Awaitable[TcpProxy]]


async def test_an_outage_costs_no_topic_and_ends_by_itself(own_postgres: EmbeddedPostgres) -> None:
    """Topics stay, requests are told to come again, and afterwards all works without a hand."""
    url = await own_postgres.start()
    await migrate(url)
    async with control_room(url) as api:
        wish = (await api.add()).json()
        await api.until_state(wish["id"], "pending")
        await own_postgres.stop()

        answer = await api.add(symbol="ETHUSDT")
        is_problem(answer, 503, "database_lost")
        assert "retry-after" in answer.headers
        assert "postgres" not in answer.text.lower()  # where and what it is concerns no caller
        health = (await api.http.get("/health")).json()
        assert "database_lost" in {reason["code"] for reason in health["reasons"]}
        assert [topic.symbol for topic in api.feed.wanted()] == ["BTCUSDT"]
        assert [name for name, _ in api.feed.calls] == ["want"]

        await own_postgres.start()
        async with asyncio.timeout(20):
            while (await api.add(symbol="ETHUSDT")).status_code == 503:  # noqa: ASYNC110 - a retry
                await asyncio.sleep(0.1)
        async with asyncio.timeout(20):
            while len(api.feed.wanted()) < 2:  # noqa: ASYNC110 - the feed has no event
                await asyncio.sleep(0.05)
        assert [name for name, _ in api.feed.calls] == ["want", "want"]


async def test_reads_are_answered_from_memory_while_the_database_is_away(
    own_postgres: EmbeddedPostgres,
) -> None:
    """What was stored is shown with the states of now, and it is said where it comes from."""
    url = await own_postgres.start()
    await migrate(url)
    async with control_room(url) as api:
        btc, eth = (await api.add()).json(), (await api.add(symbol="ETHUSDT")).json()
        await api.until_state(eth["id"], "pending")
        await api.until_restored()
        before = await api.http.get(PATH)
        assert "x-served-from" not in before.headers
        await own_postgres.stop()

        listed = await api.http.get(PATH)
        assert (listed.status_code, listed.headers["x-served-from"]) == (200, "memory")
        assert listed.json()["items"] == before.json()["items"]
        topic = next(one for one in api.feed.wanted() if one.symbol == "BTCUSDT")
        api.feed.answer(topic, SubscriptionState.ACTIVE, None)
        one = await api.http.get(f"{PATH}/{btc['id']}")
        assert (one.status_code, one.json()["state"]) == (200, "active")
        some = (await api.http.get(PATH, params={"symbol": "ETHUSDT", "limit": 1})).json()
        assert [item["id"] for item in some["items"]] == [eth["id"]]
        first = (await api.http.get(PATH, params={"limit": 1})).json()
        rest = await api.http.get(PATH, params={"cursor": first["next_cursor"]})
        assert [item["id"] for item in rest.json()["items"]] == [eth["id"]]
        is_problem(await api.http.get(f"{PATH}/{uuid4()}"), 404, "subscription_unknown")
        for write in (
            await api.add(symbol="XRPUSDT"),
            await api.http.delete(f"{PATH}/{btc['id']}"),
        ):
            is_problem(write, 503, "database_lost")
            assert write.headers["retry-after"] == "5"


async def test_wishes_come_back_after_a_restart_of_the_gateway(database_url: str) -> None:
    """What one process was asked for, the next asks the venue for, with states begun anew."""
    async with control_room(database_url) as api:
        wish = (await api.add()).json()
        await api.until_state(wish["id"], "pending")
    async with control_room(database_url) as api:
        async with asyncio.timeout(30):
            while not api.feed.wanted():  # noqa: ASYNC110 - the feed has no event
                await asyncio.sleep(0.01)
        assert api.feed.calls == [("want", ["linear:tickers.BTCUSDT"])]
        again = (await api.http.get(f"{PATH}/{wish['id']}")).json()
        assert again["created_at"] == wish["created_at"]


async def test_a_silent_database_does_not_hold_up_the_probes(
    database_url: str, open_proxy: OpenProxy
) -> None:
    """They answer when their own wait is over, not when the driver has given up too."""
    async with relay_to(to_postgres(database_url)) as port:
        proxy = await open_proxy("127.0.0.1", port)
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}{urlsplit(database_url).path}"
        async with control_room(url) as api:
            async with asyncio.timeout(30):
                while (await api.http.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - HTTP
                    await asyncio.sleep(0.02)
            await proxy.stall()
            await asyncio.sleep(PING_AGE_SECONDS)
            asked_at = time.monotonic()
            answer = await api.http.get("/health", timeout=30)
            assert answer.json()["database"]["status"] == "lost"
            assert time.monotonic() - asked_at < PING_SECONDS + 5
            await proxy.restore()


async def test_keys_that_are_known_go_on_reading_while_the_database_is_away(
    own_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown key is told to come again, not that it is wrong; changes stop, then go on."""
    monkeypatch.setattr("ws_gateway.control.guard.FRESH_SECONDS", 0.0)
    url = await own_postgres.start()
    await migrate(url)
    async with control_room(url) as api:
        known = await api.make_key(scopes=["subscriptions:read", "admin"])
        unknown = make_key()[1].get_secret_value()
        async with api.client(known["key"]) as http:
            assert (await http.get("/api/v1/queues")).status_code == 200
            await own_postgres.stop()
            assert (await http.get("/api/v1/queues")).status_code == 200
            assert (await http.get("/api/v1/connections")).status_code == 200
            is_problem(
                await http.post(f"/api/v1/keys/{known['id']}/rotation"), 503, "database_lost"
            )
            is_problem(await http.post("/api/v1/connections/x/replacement"), 503, "database_lost")
        async with api.client(unknown) as http:
            answer = await http.get("/api/v1/queues")
            is_problem(answer, 503, "database_lost")
            assert "retry-after" in answer.headers
        is_problem(
            await api.http.post("/api/v1/connections/x/replacement"), 404, "connection_not_found"
        )
        await own_postgres.start()
        async with api.client(unknown) as http, asyncio.timeout(20):
            while (await http.get("/api/v1/queues")).status_code == 503:  # noqa: ASYNC110 - a retry
                await asyncio.sleep(0.1)
            is_problem(await http.get("/api/v1/queues"), 401, "api_key_wrong")
