"""Who hears private events, and in which order the events of an order are told."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

from websockets.asyncio.server import ServerConnection

from bybit_sim.account import Account, Fill, Order
from bybit_sim.feed import encode
from bybit_sim.private_rows import (
    execution_row,
    fast_execution_row,
    greeks_row,
    order_row,
    position_row,
    wallet_row,
)
from bybit_sim.pulse import Pulse

Deliver = Callable[[Iterable[ServerConnection], bytes], None]

# Milliseconds after acceptance or match (v5 reference 7.1 and 15.10, from recordings).
_MATCH_AFTER_MS = 4
_ORDER_AFTER_MS = 4
_POSITION_AFTER_ORDER_MS = (1, 3)
_UNCHANGED_AFTER_MS = 2


@dataclass(frozen=True, slots=True)
class PrivateEvent:
    """A frame about to be sent.

    Attributes:
        topic: its kind, such as `order`.
        name: the topic as subscribed, such as `order.linear`.
        frame: what is sent.
        delay_ms: how much later; nonzero by a fault only.
    """

    topic: str
    name: str
    frame: dict[str, Any]
    delay_ms: float = 0.0


class PrivateFault(Protocol):
    """A fault that meddles with private events."""

    def alter_private(self, event: PrivateEvent) -> list[PrivateEvent]:
        """Return what is sent instead."""
        ...


class PrivateStage:
    """Private topics with their listeners, and the choreography of orders and fills.

    No topic has a first snapshot; nothing is kept for who is not there (v5 reference 7.1).

    Attributes:
        faults: those that meddle with events; nearly always none.
        last_told_ms: when each topic last had something to say.
    """

    def __init__(
        self, account: Account, pulse: Pulse, deliver: Deliver, *, uid: int, seed: int
    ) -> None:
        self._account = account
        self._pulse = pulse
        self._deliver = deliver
        self._uid = uid
        self._rng = random.Random(f"{seed}:stage")
        self._listeners: dict[str, set[ServerConnection]] = {}
        self.faults: tuple[PrivateFault, ...] = ()
        self.last_told_ms: dict[str, float] = {}

    def subscribe(self, socket: ServerConnection, topic: str) -> None:
        """Add a listener of a private topic."""
        self._listeners.setdefault(topic, set()).add(socket)

    def unsubscribe(self, socket: ServerConnection, topic: str) -> None:
        """Remove a listener."""
        self._listeners.get(topic, set()).discard(socket)

    def play_market_order(self, order: Order, fills: int) -> None:
        """Tell of an accepted order, then match it in `fills` equal parts and tell of that."""
        now = self._pulse.now_ms()
        self._tell_order(order, now)
        self._pulse.at(now + _UNCHANGED_AFTER_MS, partial(self._tell_position_and_wallet, order))
        self._pulse.at(now + _MATCH_AFTER_MS, partial(self._match, order, fills))

    def _match(self, order: Order, count: int, now_ms: float) -> None:
        part = (order.qty / count).quantize(Decimal(order.instrument.step))
        parts = [part] * (count - 1)
        parts.append(order.qty - sum(parts))
        fills = [self._account.fill(order, qty, self._stamp(now_ms)) for qty in parts if qty > 0]
        for fill in fills:
            self._publish("execution.fast", order, None, now_ms, [fast_execution_row(order, fill)])
        self._pulse.at(now_ms + _ORDER_AFTER_MS, partial(self._tell_fill, order, fills))

    def _tell_fill(self, order: Order, fills: Sequence[Fill], now_ms: float) -> None:
        self._tell_order(order, now_ms)
        rows = [execution_row(order, fill) for fill in fills]
        self._publish("execution", order, self._match_id(order), now_ms, rows)
        # Counted from here, so that a late order frame is still told of before its results.
        later = now_ms + self._rng.randint(*_POSITION_AFTER_ORDER_MS)
        self._pulse.at(later, partial(self._tell_position_and_wallet, order))

    def _tell_order(self, order: Order, now_ms: float) -> None:
        self._publish("order", order, self._match_id(order), now_ms, [order_row(order)])

    def _tell_position_and_wallet(self, order: Order, now_ms: float) -> None:
        account, instrument = self._account, order.instrument
        stamp = self._stamp(now_ms)
        if instrument.category == "spot":
            coins = [instrument.base, instrument.quote]
        else:
            coins = [instrument.settle]
            position = account.position(instrument.category, instrument.symbol)
            row = position_row(account, position)
            self._publish("position", order, f"{self._uid}_position_{stamp}", now_ms, [row])
        wallet = wallet_row(account, coins)
        self._publish("wallet", order, f"{self._uid}_wallet_{stamp}", now_ms, [wallet])
        if instrument.category == "option":
            greeks = greeks_row(account, instrument.base)
            self._publish("greeks", order, f"{self._uid}_greeks_{stamp}", now_ms, [greeks])

    def _match_id(self, order: Order) -> str:
        return f"{self._uid}_{order.instrument.symbol}_{order.seq}"

    def _publish(
        self,
        topic: str,
        order: Order,
        label: str | None,
        now_ms: float,
        rows: list[dict[str, Any]],
    ) -> None:
        """Send rows to the listeners of the all-in-one and of the categorised form."""
        for name in (topic, f"{topic}.{order.instrument.category}"):
            sockets = self._listeners.get(name)
            if not sockets:
                continue
            frame: dict[str, Any] = {"topic": name}
            if topic in {"position", "wallet", "greeks"}:
                frame = {"id": label, "topic": name}
            elif label is not None:
                frame["id"] = label
            frame |= {"creationTime": self._stamp(now_ms), "data": rows}
            events = [PrivateEvent(topic, name, frame)]
            for fault in self.faults:
                events = [other for event in events for other in fault.alter_private(event)]
            for event in events:
                if event.delay_ms:
                    self._pulse.at(now_ms + event.delay_ms, partial(self._send, event))
                else:
                    self._send(event, now_ms)

    def _send(self, event: PrivateEvent, now_ms: float) -> None:
        self.last_told_ms[event.name] = now_ms
        self._deliver(self._listeners.get(event.name, ()), encode(event.frame))

    def _stamp(self, now_ms: float) -> int:
        return int(now_ms + self._pulse.skew_ms)


class Trader:
    """Places a small seeded market order every so often, so that private topics have news."""

    _CHOICES = (
        ("linear", "BTCUSDT", "0.001"),
        ("linear", "ETHUSDT", "0.01"),
        ("linear", "SOLUSDT", "0.1"),
        ("spot", "BTCUSDT", "0.0001"),
        ("inverse", "BTCUSD", "10"),
    )

    def __init__(self, account: Account, place: Callable[..., Order], seed: int) -> None:
        self._account = account
        self._place = place
        self._rng = random.Random(f"{seed}:trader")
        self._turn = 0

    def act(self) -> Order:
        """Place the next order: symbols in turn, mostly towards a flat position."""
        category, symbol, step = self._CHOICES[self._turn % len(self._CHOICES)]
        self._turn += 1
        qty = Decimal(step) * self._rng.randint(1, 5)
        side = self._rng.choice(("Buy", "Sell"))
        if category != "spot":
            size = self._account.position(category, symbol).size
            if abs(size) > 10 * Decimal(step):
                side = "Sell" if size > 0 else "Buy"
        return self._place(symbol, side, qty, category=category)
