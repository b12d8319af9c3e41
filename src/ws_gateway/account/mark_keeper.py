"""Writes marks when what they stand for is delivered: at the broker, or on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from ws_gateway.domain.mark import Mark
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports.account import DeliveryReceipts, MarkStore

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_LOOK_SECONDS = 0.02
_RETRY_SECONDS = 1.0


class MarkKeeper:
    """Keeps one account's marks; `put` and `drop` never wait, `run` does the work.

    Attributes:
        through: up to when facts were delivered, exchange time in ms, as it is stored; by the
            name of the topic and its product line.
    """

    def __init__(self, account: str, store: MarkStore, receipts: DeliveryReceipts) -> None:
        self._account = account
        self._store = store
        self._receipts = receipts
        self._marks: dict[tuple[str, str], Mark] = {}
        self._dropped: set[str] = set()
        self._wake = asyncio.Event()
        self.through: dict[tuple[str, str], int] = {}

    async def read(self) -> dict[tuple[str, str], Mark]:
        """Return what is stored. Raises `DatabaseLost`."""
        marks = await self._store.read(self._account)
        # One of no product line is of an earlier version, and never written again.
        self.through |= {
            (mark.topic, mark.category): mark.through for mark in marks if mark.category
        }
        return {(mark.topic, mark.category): mark for mark in marks}

    def put(self, marks: Iterable[Mark]) -> None:
        """Let these be written as soon as all that was taken until then is delivered."""
        for mark in marks:
            self._marks[mark.topic, mark.category] = mark
            self._wake.set()

    def drop(self, topic: str) -> None:
        """Forget a topic's marks."""
        self._marks = {key: mark for key, mark in self._marks.items() if key[0] != topic}
        self.through = {key: at for key, at in self.through.items() if key[0] != topic}
        self._dropped.add(topic)
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled; while the database is away, the newest waits."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._write()
            except DatabaseLost as exc:
                log.warning("account.marks_not_stored", account=self._account, why=str(exc))
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()

    async def _write(self) -> None:
        if self._dropped:
            dropped = set(self._dropped)
            await self._store.drop(self._account, dropped)
            self._dropped -= dropped
        marks = dict(self._marks)
        receipt = self._receipts.take()
        while not receipt.is_safe:  # noqa: ASYNC110 - confirms have no event per message
            await asyncio.sleep(_LOOK_SECONDS)
        marks = {key: mark for key, mark in marks.items() if key in self._marks}  # not dropped
        await self._store.write(self._account, list(marks.values()))
        stored = {key: mark for key, mark in marks.items() if key[0] not in self._dropped}
        self.through |= {key: mark.through for key, mark in stored.items()}
        for key, mark in marks.items():
            if self._marks.get(key) is mark:
                del self._marks[key]
