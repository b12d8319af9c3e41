"""Private facts as the venue told them, beside those a consumer got.

The ear is a private socket of its own at the simulator, which shares no code with the gateway and
no fate with the broker.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from websockets.asyncio.client import connect

from bybit_sim.signing import sign, websocket_text

TOPICS = ("order", "execution", "position", "wallet")
"""Private topics by the venue's names."""

Key = tuple[Any, ...]
Contents = frozenset[str]
"""What a wallet tells, part by part."""


def key_of(topic: str, row: dict[str, Any], created_ms: int, category: str | None = None) -> Key:
    """Tell a fact from all others by the venue's own words alone, of stream or REST."""
    if topic == "order":
        filled = _number(row["cumExecQty"])
        return (row["orderId"], row["orderStatus"], filled, row["updatedTime"])
    if topic == "execution":
        return (row["execId"],)
    if topic == "position":
        # Told again with another mark price it is no news, and is left out.
        entry = row.get("entryPrice", row.get("avgPrice"))
        amounts = (row["size"], entry, row["cumRealisedPnl"])
        place = (row.get("category", category), row["symbol"], row["seq"], row["positionIdx"])
        return (*place, row["side"], row["updatedTime"], *map(_number, amounts))
    return (created_ms, _digest(row))


def contents_of(row: dict[str, Any]) -> Contents:
    """Take a wallet apart: each coin it names, and the totals."""
    totals = {name: value for name, value in row.items() if name != "coin"}
    return frozenset(_digest(one) for one in (*row["coin"], totals))


def _number(text: str) -> Decimal:
    return Decimal(text or "0").normalize()


def _digest(row: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


@dataclass(slots=True)
class Told:
    """One fact of the venue.

    Attributes:
        contents: of a wallet.
    """

    key: Key
    created_ms: int
    contents: Contents = frozenset()


@dataclass
class Ear:
    """What the venue told, in its order.

    Attributes:
        told: facts per topic, each once.
    """

    told: dict[str, list[Told]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})
    _known: set[tuple[str, Key]] = field(default_factory=set)
    _parts: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Count all facts."""
        return len(self._known)

    def take(self, frame: dict[str, Any]) -> None:
        """Remember the facts of a frame."""
        topic, created = frame["topic"], int(frame["creationTime"])
        for row in frame["data"]:
            key = key_of(topic, row, created)
            if (topic, key) not in self._known:
                if topic == "wallet" and not self._is_news(row):
                    continue
                self._known.add((topic, key))
                contents = contents_of(row) if topic == "wallet" else frozenset()
                self.told[topic].append(Told(key, created, contents))

    def _is_news(self, row: dict[str, Any]) -> bool:
        """Say whether a wallet tells anything that it did not tell the last time."""
        totals = {name: value for name, value in row.items() if name != "coin"}
        parts = {one["coin"]: _digest(one) for one in row["coin"]} | {"": _digest(totals)}
        is_news = any(self._parts.get(name) != part for name, part in parts.items())
        self._parts |= parts
        return is_news

    def copy(self) -> dict[str, list[Told]]:
        """Return what was told up to now."""
        return {topic: list(facts) for topic, facts in self.told.items()}


@asynccontextmanager
async def listening(url: str, key: str, secret: str) -> AsyncIterator[Ear]:
    """Listen to all private topics of a simulator meanwhile."""
    ear = Ear()
    async with connect(f"{url}/v5/private", ping_interval=None, max_size=None) as socket:
        expires = int(time.time() * 1000) + 10_000
        args = [key, expires, sign(secret, websocket_text(expires))]
        await socket.send(json.dumps({"op": "auth", "args": args}))
        assert json.loads(await socket.recv())["success"]
        await socket.send(json.dumps({"op": "subscribe", "args": list(TOPICS)}))

        async def hear() -> None:
            async for text in socket:
                frame = json.loads(text)
                if "topic" in frame:
                    ear.take(frame)

        hearing = asyncio.create_task(hear(), name="ear")
        try:
            yield ear
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)


@dataclass
class Received:
    """Private facts as a consumer got them.

    Attributes:
        order: first receptions per topic, of what the stream told.
        read: what REST told, which stands in no order; wallets part by part.
        messages: receptions of facts, repeats included.
        repeats: of these, receptions of an event id that was received before.
        ambiguous: sentences about facts whose repeats nobody could know by their id.
        backwards: positions that came behind a later one of their symbol.
    """

    order: dict[str, list[Key]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})
    read: dict[str, set[Key]] = field(default_factory=lambda: {topic: set() for topic in TOPICS})
    parts_read: set[str] = field(default_factory=set)
    epochs: dict[tuple[str, Key], str] = field(default_factory=dict)
    messages: int = 0
    repeats: int = 0
    ambiguous: list[str] = field(default_factory=list)
    backwards: int = 0
    _seqs: dict[tuple[str, str], int] = field(default_factory=dict)
    _ids: dict[str, tuple[str, Key]] = field(default_factory=dict)

    def take(self, envelope: dict[str, Any]) -> None:
        """Remember a fact; markers are none."""
        topic = envelope["topic"]
        if envelope["kind"] in {"gap", "resumed"} or topic not in self.order:
            return
        self.messages += 1
        row = envelope["payload"]
        row = row["raw"] if topic == "position" else row
        key = key_of(topic, row, envelope["timestamp"], envelope["category"])
        event_id, place = envelope["event_id"], (topic, key)
        if event_id in self._ids:
            self.repeats += 1
            if self._ids[event_id] != place:
                self.ambiguous.append(f"{event_id} stands for two facts")
            return
        self._ids[event_id] = place
        if envelope["source"] == "rest":
            self.read[topic].add(key)
            if topic == "wallet":
                self.parts_read |= contents_of(row)
            elif place in self.epochs:
                self.ambiguous.append(f"{key} came under two ids")
            return
        if place not in self.epochs:
            self.epochs[place] = envelope["epoch"]
            self.order[topic].append(key)
            if topic == "position":
                category, symbol, seq, *_ = key
                self.backwards += seq < self._seqs.get((category, symbol), -1)
                self._seqs[category, symbol] = seq
        else:
            self.ambiguous.append(f"{key} came under two ids")

    def was_read(self, topic: str, fact: Told) -> bool:
        """Say whether REST told a fact."""
        if topic == "wallet":
            return fact.contents <= self.parts_read
        return fact.key in self.read[topic]


UNKEPT_MS = 40
"""What the venue stamped so shortly before a kill may be on its way (25 ms were seen where others
work too, and more where more do), or read and not on disk yet (6 ms were seen, beside a broker
known to be away). Of that only a state is gone that another one replaced before the successor read
REST."""


@dataclass
class Comparison:
    """How both agree.

    Attributes:
        sent: facts that had to arrive.
        lost: those that did not.
        unkept_ms: how long before the kill that may have begun.
        excused: states told while no gateway listened; each run of them lies between two epochs.
        disordered: facts that came behind a later one of their topic.
        lost_at: topic and time, by the venue's clock in ms, of each lost one.
        lost_before_kill_ms: how long before the kill each was told that is lost.
    """

    sent: int = 0
    lost: int = 0
    excused: int = 0
    unkept_ms: float = 0.0
    disordered: int = 0
    lost_before_kill_ms: list[int] = field(default_factory=list)
    lost_at: list[tuple[str, int]] = field(default_factory=list)


def compare(
    told: dict[str, list[Told]],
    received: Received,
    *,
    killed_at_ms: int | None = None,
    unkept_ms: float = UNKEPT_MS,
) -> Comparison:
    """Hold what was received against what was told.

    Args:
        told: what had to arrive.
        received: what did.
        killed_at_ms: when the gateway was killed, by the venue's clock. What was told after that,
            or just before, and before its successor's first fact was kept by nobody: of an
            order, a position or a wallet REST has the last state alone.
        unkept_ms: how long just before is.
    """
    result = Comparison(disordered=received.backwards, unkept_ms=unkept_ms)
    for topic, facts in told.items():
        place = {key: number for number, key in enumerate(received.order[topic])}
        highest = -1
        back_at: int | None = None
        if killed_at_ms is not None:
            epochs = [received.epochs[topic, key] for key in received.order[topic]]
            newest = epochs[-1] if epochs and epochs[-1] != epochs[0] else None
            back_at = next(
                (n for n, f in enumerate(facts) if received.epochs.get((topic, f.key)) == newest),
                len(facts),
            )
        for number, fact in enumerate(facts):
            at = place.get(fact.key)
            if at is None and received.was_read(topic, fact):
                result.sent += 1
                continue
            if at is None:
                unkept_from = None if killed_at_ms is None else killed_at_ms - unkept_ms
                is_after = unkept_from is not None and fact.created_ms > unkept_from
                is_unheard = is_after and back_at is not None and number < back_at
                if is_unheard and topic != "execution":  # of those REST has every one
                    result.excused += 1
                    continue
                result.sent += 1
                result.lost += 1
                result.lost_at.append((topic, fact.created_ms))
                if killed_at_ms is not None and not is_after:
                    result.lost_before_kill_ms.append(killed_at_ms - fact.created_ms)
                continue
            result.sent += 1
            # A position may have been told before the ear was there, and again unchanged.
            result.disordered += at < highest and topic != "position"
            highest = max(highest, at)
    return result
