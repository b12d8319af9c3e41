"""Faults of private data, in the order of events and in what gets lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Annotated, ClassVar, Literal

from bybit_sim.fault import (
    Chance,
    Count,
    Fault,
    FaultError,
    HandshakeRefusal,
    Hook,
    LastingFault,
    Positive,
    Seconds,
    Share,
)
from bybit_sim.private_stage import PrivateEvent
from bybit_sim.topics import PRIVATE_PATH


@dataclass(kw_only=True, eq=False)
class DuplicateOrders(LastingFault):
    """Sends frames of `order` twice."""

    name: ClassVar[str] = "duplicate_orders"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.PRIVATE})
    probability: Annotated[Share, "share of frames"] = 1.0
    seed: Annotated[int, "of the draws"] = 1

    def begin(self) -> None:
        """Make the draws ready."""
        self._chance = Chance(self.seed, self.probability)

    def alter_private(self, event: PrivateEvent) -> list[PrivateEvent]:
        """Double it."""
        if event.topic != "order" or not self._chance.strikes(event.name):
            return [event]
        self.hit()
        return [event, event]


@dataclass(kw_only=True, eq=False)
class CancelRace(LastingFault):
    """Follows `Filled` with a second `Filled`, of the cancel that came too late."""

    name: ClassVar[str] = "cancel_race"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.PRIVATE})

    def alter_private(self, event: PrivateEvent) -> list[PrivateEvent]:
        """Add the second one."""
        if event.topic != "order" or event.frame["data"][0]["orderStatus"] != "Filled":
            return [event]
        late = {"cancelType": "CancelByUser", "rejectReason": "EC_OrigClOrdIDDoesNotExist"}
        rows = [row | late for row in event.frame["data"]]
        self.hit()
        return [event, replace(event, frame=event.frame | {"data": rows})]


@dataclass(kw_only=True, eq=False)
class OutOfOrder(LastingFault):
    """Sends `order` and `execution` later than the `position` and `wallet` they led to."""

    name: ClassVar[str] = "private_out_of_order"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.PRIVATE})
    delay_seconds: Annotated[Seconds, "of `order` and `execution`"] = 0.05

    def alter_private(self, event: PrivateEvent) -> list[PrivateEvent]:
        """Put it off."""
        if event.topic not in {"order", "execution"}:
            return [event]
        self.hit()
        return [replace(event, delay_ms=event.delay_ms + self.delay_seconds * 1000.0)]


@dataclass(kw_only=True, eq=False)
class PrivateLoss(Fault):
    """Cuts the private sockets and fills an order while nobody can hear of it."""

    name: ClassVar[str] = "private_loss"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.HANDSHAKE})
    symbol: Annotated[str, "of the order"] = "BTCUSDT"
    category: Annotated[Literal["spot", "linear", "inverse", "option"], "of the order"] = "linear"
    side: Annotated[Literal["Buy", "Sell"], "of the order"] = "Buy"
    qty: Annotated[str, "of the order"] = "0.001"
    orders: Annotated[Positive, "how many such orders"] = 1
    # By then every event of an order has been told, to nobody.
    away_seconds: Annotated[Seconds, "until private sockets are let in again"] = 0.1

    def check(self) -> None:
        """Refuse a quantity that is none."""
        try:
            qty = Decimal(self.qty)
            sensible = qty.is_finite() and qty > 0
        except InvalidOperation:
            sensible = False
        if not sensible:
            raise FaultError(f"qty must be a number above 0, not {self.qty!r}", "qty")

    def begin(self) -> None:
        """Cut, and trade; new private connections are refused until the events have passed."""
        if not self.venue.market.has(self.category, self.symbol):
            raise FaultError(f"there is no {self.symbol!r} in {self.category!r}", "symbol")
        for each in list(self.venue.connections):
            if each.path == PRIVATE_PATH:
                each.socket.transport.abort()
        for _ in range(self.orders):
            self.venue.place_market_order(self.symbol, self.side, self.qty, self.category)
        self.hits = self.orders
        self.venue.pulse.at(self.venue.pulse.now_ms() + self.away_seconds * 1000.0, self._heal)

    def handshake_refusal(self, path: str, address: str) -> HandshakeRefusal | None:  # noqa: ARG002 - whoever it is
        """Keep them out for the moment."""
        return HandshakeRefusal(503) if path == PRIVATE_PATH else None

    def _heal(self, _now_ms: float) -> None:
        self.board.end(self)


@dataclass(kw_only=True, eq=False)
class LosePrivate(LastingFault):
    """Loses private frames on the way; what they tell of is true, and REST knows it."""

    name: ClassVar[str] = "lose_private"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.PRIVATE})
    topic: Annotated[
        Literal["order", "execution", "execution.fast", "position", "wallet", "greeks"] | None,
        "frames of this kind only, plain or by category",
    ] = None
    order: Annotated[str | None, "orders and executions of this orderId or orderLinkId only"] = None
    skip: Annotated[Count, "lets so many of them pass first"] = 0
    probability: Annotated[Share, "share of them"] = 1.0
    seed: Annotated[int, "of the draws"] = 1
    count: Annotated[Positive | None, "how many it loses; null until cleared"] = 1

    def begin(self) -> None:
        """Make the draws ready."""
        self._chance = Chance(self.seed, self.probability)
        self._passed = 0

    def alter_private(self, event: PrivateEvent) -> list[PrivateEvent]:
        """Lose it, if it is one of them."""
        if not self.is_active or self.topic not in {None, event.topic} or not self._is_of(event):
            return [event]
        if self._passed < self.skip:
            self._passed += 1
            return [event]
        if not self._chance.strikes(event.name):
            return [event]
        self.hit()
        return []

    def _is_of(self, event: PrivateEvent) -> bool:
        if self.order is None:
            return True
        return any(
            self.order in {row.get("orderId"), row.get("orderLinkId")}
            for row in event.frame["data"]
        )


@dataclass(kw_only=True, eq=False)
class CutBeforePush(LastingFault):
    """Cuts the private sockets when an order was executed and nobody has been told yet."""

    name: ClassVar[str] = "cut_before_push"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.PRIVATE})
    count: Annotated[Positive | None, "how often; null until cleared"] = 1

    def alter_private(self, event: PrivateEvent) -> list[PrivateEvent]:
        """Cut instead of telling of an execution."""
        row = event.frame["data"][0]
        executed = event.topic in {"execution", "execution.fast"} or (
            event.topic == "order" and row["cumExecQty"] != "0"
        )
        if not self.is_active or not executed:
            return [event]
        for each in list(self.venue.connections):
            if each.path == PRIVATE_PATH:
                each.socket.transport.abort()
        self.hit()
        return []
