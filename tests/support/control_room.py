"""The control room served on a loopback port, with the venue and the broker in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import asyncpg
import httpx
import uvicorn
from pydantic import SecretStr

from support.memory_feed import MemoryDelivery, MemoryFeed
from ws_gateway.control.api.app import create_app
from ws_gateway.control.console.audience import Audience
from ws_gateway.control.console.pictures import Pictures, Sources
from ws_gateway.control.figures import Figures
from ws_gateway.control.guard import Guard, Limits
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.keyring import KeyRing
from ws_gateway.control.keys import KeyService
from ws_gateway.control.operations import Operations
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.service import SubscriptionService
from ws_gateway.domain.topic import Category
from ws_gateway.runtime.counters import Counters
from ws_gateway.storage.audit import PostgresAudit
from ws_gateway.storage.changes import LedgerChanges
from ws_gateway.storage.database import open_pool
from ws_gateway.storage.keys import PostgresKeys
from ws_gateway.storage.subscriptions import PostgresSubscriptions

KEY = "s3cret-ключ"
PATH = "/api/v1/subscriptions"
POLICY = Policy(
    (Category.SPOT, Category.LINEAR, Category.OPTION), Category.LINEAR, has_credentials=False
)


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Serve an app on a free loopback port; answers its URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    async with asyncio.TaskGroup() as group:
        group.create_task(server._serve())  # `serve` would take the process's signals
        while not server.started:  # noqa: ASYNC110 - uvicorn offers no event for it
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await server.shutdown()  # also when a test failed, which cancels what serves


@dataclass
class Api:
    """A served gateway's control room."""

    http: httpx.AsyncClient
    feed: MemoryFeed
    pool: asyncpg.Pool
    url: str
    audience: Audience

    def client(self, key: str | None) -> httpx.AsyncClient:
        """Build a client that sends this key, or none at all."""
        headers = {} if key is None else {b"X-API-Key": key.encode()}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)

    async def make_key(self, **body: Any) -> dict[str, Any]:
        """Make a key; it may do what a service needs where nothing else is said."""
        answer = await self.http.post("/api/v1/keys", json={"name": "made", **body})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def add(self, **wish: Any) -> httpx.Response:
        """Post a wish; a linear ticker of strategy-1 where nothing else is said."""
        body = {"channel": "ticker", "symbol": "BTCUSDT", "requesting_service": "strategy-1"}
        return await self.http.post(PATH, json={**body, **wish})

    async def items(self, **query: Any) -> list[dict[str, Any]]:
        """Read the first page."""
        answer = await self.http.get(PATH, params=query)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def until_restored(self) -> None:
        """Wait until the ledger was read once."""
        async with asyncio.timeout(30):
            while True:
                if (await self.http.get("/api/v1/connections")).json()["is_restored"]:
                    return
                await asyncio.sleep(0.01)

    async def until_state(self, subscription_id: str, state: str) -> dict[str, Any]:
        """Read one until it has a state, at most thirty seconds."""
        async with asyncio.timeout(30):
            while True:
                body: dict[str, Any] = (await self.http.get(f"{PATH}/{subscription_id}")).json()
                if body["state"] == state:
                    return body
                await asyncio.sleep(0.01)


@asynccontextmanager
async def control_room(
    database_url: str,
    policy: Policy = POLICY,
    *,
    limits: Limits | None = None,
    quota: int | None = None,
) -> AsyncIterator[Api]:
    """Serve the API with its reconciler running on a migrated database."""
    pool = await open_pool(database_url)
    store, feed = PostgresSubscriptions(pool), MemoryFeed()
    reconciler = Reconciler(store, feed, policy)
    feed.observer = reconciler
    reporter = HealthReporter(
        store=store,
        feed=feed,
        delivery=MemoryDelivery(),
        reconciler=reconciler,
        counters=Figures(Counters(), lambda: 0).now,
        epoch="01TEST",
    )
    ring = KeyRing(PostgresKeys(store.statements))
    await ring.read()
    audience = Audience(Pictures(Sources(reporter, reconciler)), most=4, most_of_a_key=3)
    app = create_app(
        subscriptions=SubscriptionService(store, reconciler, policy, quota=quota),
        health=reporter,
        operations=Operations(reporter, PostgresAudit(store.statements)),
        keys=KeyService(PostgresKeys(store.statements), ring),
        guard=Guard(SecretStr(KEY), ring, limits),
        audience=audience,
    )
    headers = {b"X-API-Key": KEY.encode()}
    async with (
        asyncio.TaskGroup() as group,
        served(app) as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as http,
    ):
        group.create_task(reconciler.run())
        hearing = group.create_task(LedgerChanges(database_url, rng=Random(1)).run(reconciler))
        group.create_task(ring.run())
        yield Api(http, feed, pool, url, audience)
        audience.end()
        hearing.cancel()
        reconciler.stop()
        ring.stop()
    await pool.close()


def is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a whole problem; answers its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["type"] == f"urn:ws-gateway:problem:{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == answer.request.url.path
    return body
