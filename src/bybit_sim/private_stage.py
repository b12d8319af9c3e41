"""Who hears private events, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from websockets.asyncio.server import ServerConnection

from bybit_sim.feed import encode
from bybit_sim.ledger import Entry
from bybit_sim.pulse import Pulse

Deliver = Callable[[Iterable[ServerConnection], bytes], None]

# Frames that name their kind in `id` begin with it (v5 reference 7.1).
_LABELLED_BY_KIND = frozenset({"position", "wallet", "greeks"})
# What is told in the order in which it came about, however long each may take.
_LANES = {"order": "orders", "execution": "orders",
          "position": "results", "wallet": "results", "greeks": "results"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PrivateEvent:
    """A frame about to be sent.

    Attributes:
        topic: its kind, such as `order`.
        name: the topic as subscribed, such as `order.linear`.
        frame: what is sent.
        entries: of the ledger, those it tells.
        delay_ms: how much later; nonzero by a fault only.
    """

    topic: str
    name: str
    frame: dict[str, Any]
    entries: Sequence[Entry] = ()
    delay_ms: float = 0.0


class PrivateFault(Protocol):
    """A fault that meddles with private events."""

    def alter_private(self, event: PrivateEvent) -> list[PrivateEvent]:
        """Return what is sent instead."""
        ...


@dataclass(frozen=True, slots=True)
class News:
    """Rows of one topic that are told together.

    Attributes:
        topic: its kind, such as `order`.
        category: product line, which decides who hears it.
        label: `id` of the frame; None for those that have none or are labelled when told.
        rows: what is told.
        entries: of the ledger, those the rows are.
    """

    topic: str
    category: str
    label: str | None
    rows: list[dict[str, Any]]
    entries: Sequence[Entry] = ()


class _Lane:
    """Keeps the order of what is told."""

    __slots__ = ("due_ms", "waiting")

    def __init__(self) -> None:
        self.due_ms = 0.0
        self.waiting = 0


class PrivateStage:
    """Private topics with their listeners.

    No topic has a first snapshot; nothing is kept for who is not there (v5 reference 7.1).

    Attributes:
        faults: those that meddle with events; nearly always none.
        last_told_ms: when each topic last had something to say.
    """

    def __init__(self, pulse: Pulse, deliver: Deliver, *, uid: int) -> None:
        self._pulse = pulse
        self._deliver = deliver
        self._uid = uid
        self._listeners: dict[str, set[ServerConnection]] = {}
        self._lanes = {name: _Lane() for name in _LANES.values()}
        self.faults: tuple[PrivateFault, ...] = ()
        self.last_told_ms: dict[str, float] = {}

    def subscribe(self, socket: ServerConnection, topic: str) -> None:
        """Add a listener of a private topic."""
        self._listeners.setdefault(topic, set()).add(socket)

    def unsubscribe(self, socket: ServerConnection, topic: str) -> None:
        """Remove a listener."""
        self._listeners.get(topic, set()).discard(socket)

    def tell(self, news: News, due_ms: float) -> float:
        """Tell at a time, but not before what came about earlier.

        Returns:
            When it will be told.
        """
        now = self._pulse.now_ms()
        name = _LANES.get(news.topic)
        if name is None:
            self._publish(news, now)
            return now
        lane = self._lanes[name]
        if due_ms <= now and not lane.waiting:
            self._publish(news, now)
            return due_ms  # what follows from it is due as if this machine had not been late
        lane.due_ms = max(lane.due_ms, due_ms)
        lane.waiting += 1
        self._pulse.at(lane.due_ms, partial(self._tell_waiting, lane, news))
        return lane.due_ms

    def _tell_waiting(self, lane: _Lane, news: News, now_ms: float) -> None:
        lane.waiting -= 1
        self._publish(news, now_ms)

    def _publish(self, news: News, now_ms: float) -> None:
        """Send rows to the listeners of the all-in-one and of the categorised form."""
        stamp = int(now_ms + self._pulse.skew_ms)
        topic = news.topic
        for name in (topic, f"{topic}.{news.category}"):
            if not self._listeners.get(name):
                continue
            frame: dict[str, Any] = {"topic": name}
            if topic in _LABELLED_BY_KIND:
                frame = {"id": f"{self._uid}_{topic}_{stamp}", "topic": name}
            elif news.label is not None:
                frame["id"] = f"{self._uid}_{news.label}"
            frame |= {"creationTime": stamp, "data": news.rows}
            events = [PrivateEvent(topic, name, frame, news.entries)]
            for fault in self.faults:
                events = [other for event in events for other in fault.alter_private(event)]
            for event in events:
                if event.delay_ms:
                    self._pulse.at(now_ms + event.delay_ms, partial(self._send, event))
                else:
                    self._send(event, now_ms)

    def _send(self, event: PrivateEvent, now_ms: float) -> None:
        self.last_told_ms[event.name] = now_ms
        # One that was cut is a listener until its reader notices.
        sockets = [
            each for each in self._listeners.get(event.name, ()) if not each.transport.is_closing()
        ]
        for entry in event.entries:
            entry.told += len(sockets)
        self._deliver(sockets, encode(event.frame))
