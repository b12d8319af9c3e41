"""A runner between a script and a memory, for the tests of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from support.memory_outlet import MemoryOutlet, MemoryResync
from support.scripted_venue import book, ticker
from ws_gateway.domain.event import Kind, Observation
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.pipeline.runner import Runner
from ws_gateway.runtime.counters import Counters

SECOND_US = 1_000_000
BOOK = book()
TICKER = ticker("BTCUSDT")
ORDERS = build_topic(Channel.ORDER)
TOP = book(depth=1)
TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")


@dataclass
class Stage:
    """A runner between a script and a memory."""

    outlet: MemoryOutlet = field(default_factory=MemoryOutlet)
    resync: MemoryResync = field(default_factory=MemoryResync)
    counters: Counters = field(default_factory=Counters)
    told_facts: int = 0
    now_us: int = 1_790_000_000_000_000

    def __post_init__(self) -> None:
        """Build the runner."""
        self.runner = Runner(
            outlet=self.outlet,
            resync=self.resync,
            counters=self.counters,
            epoch="E",
            clock_us=lambda: self.now_us,
            new_trace_id=lambda: "0" * 32,
        )

    def tell(self, topic: Topic, kind: Kind = Kind.UPDATE, u: int | None = None) -> None:
        """Let the venue tell a fact; one without an update id is a new one each time."""
        self.told_facts += 1
        number = self.told_facts if u is None else u
        self.runner.accept(
            Observation(
                topic, kind, f"{topic.key}:{kind}:{number}", topic.category, topic.symbol,
                1, None, self.now_us, "0" * 32, u, b'{"u":%d}' % (u or 0),
            )
        )  # fmt: skip

    def snapshot(self, u: int) -> None:
        """Let the venue tell the whole book."""
        self.tell(BOOK, Kind.SNAPSHOT, u)

    def deltas(self, *ids: int) -> None:
        """Let the venue tell changes of the book."""
        for u in ids:
            self.tell(BOOK, Kind.DELTA, u)

    def told(self, topic: Topic = BOOK) -> list[str]:
        """Say in short what a consumer got of a stream, and check its numbers on the way."""
        words = []
        events = self.outlet.of(topic)
        for event in events:
            fact = event.observation
            word = f"{fact.kind}"
            if event.is_marker:
                word += f" {payload_of(fact)['reason']}"
            elif fact.update_id is not None:
                word += f" {fact.update_id}"
            words.append(word)
        return words

    def markers(self, topic: Topic) -> list[dict[str, Any]]:
        """Return the payloads of a stream's gap markers."""
        events = self.outlet.of(topic)
        return [payload_of(e.observation) for e in events if e.observation.kind is Kind.GAP]

    def numbers(self, topic: Topic) -> list[int]:
        """Return the numbers a consumer got."""
        return [event.sequence for event in self.outlet.of(topic)]


def payload_of(fact: Observation) -> dict[str, Any]:
    """Read a payload."""
    payload = msgspec.json.decode(fact.payload)
    assert isinstance(payload, dict)
    return payload


def flowing() -> Stage:
    """Begin with a book that flows."""
    stage = Stage()
    stage.snapshot(5)
    stage.deltas(6)
    stage.outlet.taken.clear()
    return stage
