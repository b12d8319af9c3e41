"""The site of an end-to-end test: broker, database, and openers of the processes between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from support import programs
from support.consumer import Consumer

KEYS = {"WSG_BYBIT_API_KEY": "sim-key", "WSG_BYBIT_API_SECRET": "sim-secret"}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a test's processes meet; what they declare at the broker is deleted after it."""

    folder: Path
    amqp_url: str
    database_url: str | None
    prefix: str

    @property
    def settings(self) -> dict[str, str]:
        """Settings that every gateway of the test shares."""
        settings = {"WSG_AMQP_URL": self.amqp_url, "WSG_AMQP_PREFIX": self.prefix}
        if self.database_url is not None:
            settings["WSG_DATABASE_URL"] = self.database_url
        return settings

    def venue(
        self, port: int = 0, **options: object
    ) -> AbstractAsyncContextManager[programs.Venue]:
        """Open a simulator."""
        return programs.venue(self.folder, port=port, **options)

    def gateway(
        self, venue_url: str, **settings: str
    ) -> AbstractAsyncContextManager[programs.Gateway]:
        """Open a gateway; settings beat those that are shared."""
        wanted = {**self.settings, "WSG_BYBIT_WS_URL": venue_url, **settings}
        return programs.gateway(self.folder, wanted)

    @asynccontextmanager
    async def consumer(self, *classes: str, prefix: str | None = None) -> AsyncIterator[Consumer]:
        """Consume classes; at the end no stream may have a hole that nothing explains."""
        consumer = Consumer(classes, prefix or self.prefix)
        async with consumer.listening(self.amqp_url):
            yield consumer
        assert consumer.checker.problems == []
