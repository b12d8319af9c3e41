"""The whole control room in memory, asked over HTTP, with a clock that the test turns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from support.callers import guarded
from support.memory_account import MemoryAccount
from support.memory_feed import (
    MemoryBacklog,
    MemoryClock,
    MemoryDelivery,
    MemoryFeed,
    MemoryNotices,
)
from support.memory_keys import MemoryKeys, MemoryTrail
from support.memory_store import MemorySubscriptions
from ws_gateway.control.api.app import create_app
from ws_gateway.control.balances import BalanceService
from ws_gateway.control.figures import Figures
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.keys import KeyService
from ws_gateway.control.metrics.metric import Meters
from ws_gateway.control.metrics.scrape import Scrape
from ws_gateway.control.operations import Operations
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.service import SubscriptionService
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Topic
from ws_gateway.runtime.counters import Counters

NIGHT = datetime(2026, 10, 1, 3, 0, tzinfo=UTC)
"""When the clock of a gateway shows 0; it starts at 100 s."""


class Gateway:
    """An app whose surroundings the test sets, with a clock it turns."""

    def __init__(self) -> None:
        self.now = 100.0
        self.store = MemorySubscriptions()
        self.feed = MemoryFeed()
        self.delivery = MemoryDelivery()
        self.notices = MemoryNotices()
        self.backlog = MemoryBacklog()
        self.counters = Counters()
        self.counters.received, self.counters.confirmed = 7, 4
        policy = Policy(tuple(Category), Category.LINEAR, has_credentials=True)
        self.reconciler = Reconciler(self.store, self.feed, policy, monotonic=lambda: self.now)
        self.clock = MemoryClock()
        self.account = MemoryAccount()
        self.meters = Meters(
            counters=self.counters,
            topics=self.reconciler.times,
            clock=self.clock,
            accounts=[self.account],
            certificates=lambda: {"http": NIGHT},
        )
        self.reconciler.stop()  # its loop does not run, so news need no timer
        self.feed.observer = self.reconciler
        self.trail = MemoryTrail()
        self.followed: set[str] = set()
        health = HealthReporter(
            store=self.store,
            feed=self.feed,
            delivery=self.delivery,
            reconciler=self.reconciler,
            counters=Figures(self.counters, lambda: 3).now,
            epoch="01TEST",
            notices=self.notices,
            backlog=self.backlog,
            accounts=[self.account],
            recording=self.meters.recording,
            monotonic=lambda: self.now,
            utc_now=lambda: NIGHT + timedelta(seconds=self.now),
        )
        app = create_app(
            subscriptions=SubscriptionService(self.store, self.reconciler, policy),
            health=health,
            scrape=Scrape(health, self.meters, monotonic=lambda: self.now),
            operations=Operations(health, self.trail),
            keys=KeyService(MemoryKeys(self.trail)),
            guard=guarded("k"),
            balances=BalanceService([self.account], lambda name: name in self.followed),
        )
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")

    async def want(self, *topics: Topic, state: State = State.PENDING) -> None:
        """Store wishes, look at the ledger once, and let the venue say what it made of them."""
        for topic in topics:
            await self.store.add(topic, "s", "explicit")
        self.reconciler.ledger_doubtful()
        await self.reconciler._reconcile()
        for topic in topics:
            self.feed.answer(topic, state)

    async def health(self) -> dict[str, Any]:
        """Ask how everything is."""
        body: dict[str, Any] = (await self.http.get("/health")).json()
        return body

    async def reasons(self) -> list[tuple[str, str]]:
        """Ask for readiness; answers code and subject of each reason."""
        answer = await self.http.get("/readyz")
        found = [(reason["code"], reason["subject"]) for reason in answer.json()["reasons"]]
        assert answer.status_code == (503 if found else 200)
        assert answer.json()["status"] == ("not_ready" if found else "ready")
        return found

    async def connections(self, **query: str) -> dict[str, Any]:
        """Compare what is wanted with what there is; the sums have to agree."""
        answer = await self.http.get(
            "/api/v1/connections", params=query, headers={"X-API-Key": "k"}
        )
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        for count in ("desired", "active"):
            assert body[count] == sum(one[count] for one in body["endpoints"])
        for one in body["endpoints"]:
            parts = ("active", "pending", "rejected", "stalled")
            assert one["desired"] == sum(one[part] for part in parts)
        assert body["difference_total"] == body["desired"] - body["active"]
        assert len(body["difference"]) == min(body["difference_total"], 1000)
        return body
