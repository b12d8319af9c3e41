"""Writes marks when what they stand for is delivered: at the broker, or on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec
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
        self._back: dict[str, int] = {}  # by topic: where its marks are to go back to
        self._all_back: int | None = None  # where all that are stored are to go back to
        self._lost: set[str] = set()  # topics of which facts were lost since marks were taken
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

    def set_back(self, back: Mapping[str, int]) -> None:
        """Let marks of these topics not stand later than that, exchange time, ms.

        Facts before them were lost after they were called delivered, and are to be read again,
        by the next process too.
        """
        for topic, at in back.items():
            self._back[topic] = min(at, self._back.get(topic, at))
            self._lost.add(topic)
        for key, mark in self._marks.items():
            if key[0] in back:
                self._marks[key] = went_back(mark, back[key[0]])
        self._wake.set()

    def set_all_back(self, at: int) -> None:
        """Let no mark that is stored stand later than that, exchange time, ms."""
        self._all_back = at if self._all_back is None else min(at, self._all_back)
        self.set_back({topic: at for topic, _ in self._marks})

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
        await self._write_back()
        marks = dict(self._marks)
        self._lost.clear()
        receipt = self._receipts.take()
        while not receipt.is_safe:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._write_back()  # a disk that refuses may keep the others waiting for long
        # Neither of a topic that was dropped meanwhile, nor over facts that were lost meanwhile.
        marks = {
            key: mark
            for key, mark in marks.items()
            if key in self._marks and key[0] not in self._lost
        }
        await self._store.write(self._account, list(marks.values()))
        stored = {key: mark for key, mark in marks.items() if key[0] not in self._dropped}
        self.through |= {key: mark.through for key, mark in stored.items()}
        for key, mark in marks.items():
            if self._marks.get(key) is mark:
                del self._marks[key]

    async def _write_back(self) -> None:
        if self._all_back is not None:
            stored = {mark.topic for mark in await self._store.read(self._account)}
            at, self._all_back = self._all_back, None
            self.set_back(dict.fromkeys(stored, at))
        back = dict(self._back)
        if not back:
            return
        await self._store.set_back(self._account, back)
        self._back = {topic: at for topic, at in self._back.items() if at < back.get(topic, at + 1)}
        for key, through in self.through.items():
            self.through[key] = min(through, back.get(key[0], through))


def went_back(mark: Mark, at: int) -> Mark:
    """Return a mark behind which nothing is missing that happened before then."""
    return msgspec.structs.replace(mark, through=min(mark.through, at), seen=frozenset())
