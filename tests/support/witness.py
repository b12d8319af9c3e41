"""A second pair of ears at the simulator: what it heard and the consumer did not is a loss.

Trades and orders carry no row of numbers, so nobody can see from them alone that some are missing.
A witness has a socket of its own, shares no code with the gateway, and is spared by every fault
that is limited to older sockets.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bybit_sim import Simulator
from support.memory_outlet import envelope_of
from support.sim_client import LINEAR, PRIVATE, Client, client_of, eventually
from ws_gateway.domain.event import Event


@dataclass(frozen=True)
class Hole:
    """Facts in a row that the witness heard and the consumer did not.

    Attributes:
        ids: theirs, in the order in which they were told.
        marked: reasons of the gap markers between the facts before and behind the hole: the
            consumer knew of it before he was told anything else.
        marked_late: reasons of the gap markers after that.
    """

    ids: list[str]
    marked: list[str]
    marked_late: list[str]


@dataclass(frozen=True)
class Account:
    """One stream as the consumer has it, beside what the witness heard.

    Attributes:
        holes: what he lacks, oldest first.
        twice: ids he was told more than once.
    """

    holes: list[Hole]
    twice: list[str]

    @property
    def missing(self) -> int:
        """Count the facts he lacks."""
        return sum(len(hole.ids) for hole in self.holes)

    def assert_whole(self) -> None:
        """Assert that he lacks nothing and was told nothing twice."""
        assert self.holes == []
        assert self.twice == []

    def assert_holes_marked(self, *, may_be_late: bool = False) -> None:
        """Assert that he lacks something, that each hole is marked, and that nothing came twice.

        Args:
            may_be_late: the marker may come when facts behind the hole were told already.
        """
        assert self.holes
        for hole in self.holes:
            assert hole.marked or (may_be_late and hole.marked_late), self.holes
        assert self.twice == []


@dataclass
class Witness:
    """Remembers the ids of what it hears.

    Attributes:
        heard: ids per topic name, in order: of trades theirs, of orders with their status.
    """

    heard: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    async def listen(self, client: Client) -> None:
        """Read a socket for ever; frames that cannot be read are none."""
        while True:
            try:
                frame = json.loads(await client.socket.recv())
            except json.JSONDecodeError:
                continue
            if "topic" in frame:
                self.heard[frame["topic"]].extend(ids_of(frame["topic"], frame["data"]))

    def account(self, topic: str, events: Sequence[Event]) -> Account:
        """Compare a stream with what was heard, up to the newest fact that both have.

        The consumer must have listened before the witness did. Of a hole before anything both have
        it cannot be said whether it is marked in time.
        """
        told: Counter[str] = Counter()
        place: dict[str, int] = {}
        marks: list[tuple[int, str]] = []
        for number, event in enumerate(events):
            if event.is_marker:
                envelope = envelope_of(event)
                if envelope["kind"] == "gap":
                    marks.append((number, envelope["payload"]["reason"]))
                continue
            row = json.loads(event.observation.payload)
            ids = ids_of(topic, row if isinstance(row, list) else [row])
            told.update(ids)
            for each in ids:
                place.setdefault(each, number)
        heard = self.heard[topic]
        assert heard, f"the witness heard nothing of {topic}"
        assert any(each in place for each in heard), f"nothing of {topic} was told since"
        twice = [each for each, times in told.items() if times > 1]
        return Account(list(_holes(heard, place, marks)), twice)


def _holes(
    heard: Iterable[str], place: dict[str, int], marks: list[tuple[int, str]]
) -> Iterable[Hole]:
    lacking: list[str] = []
    before: int | None = None
    for each in heard:
        if each not in place:
            lacking.append(each)
            continue
        behind = place[each]
        if lacking:
            known = behind if before is None else before
            marked = [reason for at, reason in marks if known < at < behind]
            yield Hole(lacking, marked, [reason for at, reason in marks if at > behind])
            lacking = []
        before = behind


def ids_of(topic: str, rows: Iterable[dict[str, Any]]) -> list[str]:
    """Take from rows what tells them apart."""
    if topic.startswith("publicTrade."):
        return [row["i"] for row in rows]
    return [f"{row['orderId']} {row['orderStatus']}" for row in rows]


@asynccontextmanager
async def witnessing(
    simulator: Simulator, *topics: str, orders: bool = False
) -> AsyncIterator[Witness]:
    """Listen to topics of linear, once they speak, and to private orders if so wished.

    Open it when the gateway's sockets are up: faults of the oldest sockets then spare it.
    """
    witness = Witness()
    async with AsyncExitStack() as stack:
        public = await stack.enter_async_context(client_of(simulator, LINEAR))
        ears = [public]
        if orders:
            private = await stack.enter_async_context(client_of(simulator, PRIVATE))
            await private.log_in(simulator)
            await private.subscribe("order")
            ears.append(private)
        await public.send(op="subscribe", args=list(topics))
        async with asyncio.TaskGroup() as group:
            listening = [group.create_task(witness.listen(each)) for each in ears]
            try:
                await eventually(lambda: all(witness.heard[topic] for topic in topics))
                yield witness
            finally:
                for task in listening:
                    task.cancel()
