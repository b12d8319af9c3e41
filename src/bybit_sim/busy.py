"""A busy trader: many orders of every kind at a rate, each brought to its end, from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Literal, NamedTuple

from bybit_sim.account import Account
from bybit_sim.config import SimulatorError
from bybit_sim.market import Market
from bybit_sim.orders import Order
from bybit_sim.pulse import Pulse
from bybit_sim.trading import Trading

Mix = Literal["mixed", "market", "resting"]

_LARGEST = 20  # steps of an order
_FULL = 200  # steps of a position, from where on orders lead back
_NEXT_STEP_MS = (5, 400)
_MOST_FILLS = 3
# Up to which draw an order becomes what; those above are amended and filled.
_SHARES = {
    "market": 0.5,
    "refused": 0.54,
    "missed": 0.58,
    "filled": 0.78,
    "cancelled": 0.84,
    "filled and cancelled": 0.9,
}


class _Lot(NamedTuple):
    """What is traded, in which portion, how often."""

    category: str
    symbol: str
    portion: str
    weight: int


_LOTS = (
    _Lot("linear", "BTCUSDT", "0.001", 25),
    _Lot("linear", "ETHUSDT", "0.01", 15),
    _Lot("linear", "SOLUSDT", "0.1", 10),
    _Lot("linear", "XRPUSDT", "1", 10),  # in hedge mode, unless configured otherwise
    _Lot("linear", "BTCPERP", "0.001", 10),  # settles in USDC
    _Lot("inverse", "BTCUSD", "10", 8),
    _Lot("inverse", "ETHUSD", "10", 7),
    _Lot("spot", "BTCUSDT", "0.0001", 6),
    _Lot("spot", "ETHUSDT", "0.001", 5),
    _Lot("option", "BTC-25JUN27-106000-C-USDT", "0.01", 4),
)


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """What a busy trader does.

    Attributes:
        count: how many orders.
        rate: orders per second; 0 places all at once.
        mix: `mixed` is market orders, limit orders that fill in parts, are amended, cancelled or
            refused; `market` is market orders; `resting` is limit orders far away that stay open.
        fills: executions of each order of `market`.
        seed: of every choice.
    """

    count: int
    rate: float = 100.0
    mix: Mix = "mixed"
    fills: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            SimulatorError: naming the first.
        """
        for name, number, least in (
            ("count", self.count, 1), ("rate", self.rate, 0), ("fills", self.fills, 1),
        ):  # fmt: skip
            if number < least:
                raise SimulatorError(f"{name} must be at least {least}, not {number}")


class BusyTrader:
    """Follows a plan on the pulse.

    Attributes:
        plan: which.
        placed: how many orders it placed so far.
    """

    def __init__(
        self, plan: OrderPlan, account: Account, market: Market, trading: Trading, pulse: Pulse
    ) -> None:
        self.plan = plan
        self.placed = 0
        self._account = account
        self._market = market
        self._trading = trading
        self._pulse = pulse
        self._rng = random.Random(f"{plan.seed}:busy")
        self._running: list[Order] = []
        self._begun_ms = 0.0

    @property
    def open(self) -> int:
        """How many of its orders are open."""
        self._running = [order for order in self._running if order.is_open]
        return len(self._running)

    @property
    def is_done(self) -> bool:
        """Whether all are placed and, unless they are to rest, closed."""
        placed = self.placed == self.plan.count
        return placed and (self.plan.mix == "resting" or not self.open)

    def begin(self) -> None:
        """Place the first order; the others follow by themselves."""
        self._begun_ms = self._pulse.now_ms()
        self._place(self._begun_ms)

    def _place(self, _now_ms: float) -> None:
        self._rng = random.Random(f"{self.plan.seed}:busy:{self.placed}")
        self._running.append(self._next_order())
        self.placed += 1
        if self.placed < self.plan.count:
            gap_ms = 1000.0 / self.plan.rate if self.plan.rate else 0.0
            # Counted from the beginning, so that a late one delays none after it.
            self._pulse.at(self._begun_ms + gap_ms * self.placed, self._place)

    def _next_order(self) -> Order:
        rng = self._rng
        (lot,) = rng.choices(_LOTS, [each.weight for each in _LOTS])
        least = self.plan.fills if self.plan.mix == "market" else 1
        qty = Decimal(lot.portion) * max(least, rng.randint(1, _LARGEST))
        if self.plan.mix == "resting":
            return self._rest(lot, qty)
        side, qty, closes = self._direction(lot, qty)
        place = partial(
            self._trading.place,
            lot.symbol,
            side,
            qty,
            lot.category,
            link_id=f"busy-{self.plan.seed}-{self.placed + 1}",
            is_reduce_only=closes,
        )
        if self.plan.mix == "market":
            return place(fills=self.plan.fills)
        return self._place_mixed(lot, side, place)

    def _place_mixed(self, lot: _Lot, side: str, place: Callable[..., Order]) -> Order:
        """Place an order of some kind and plan what becomes of it."""
        rng, draw = self._rng, self._rng.random()
        market = self._market.symbol(lot.category, lot.symbol)
        away = Decimal(market.instrument.tick) * rng.randint(1, 50)
        best = self._account.best(market.instrument, side)
        passive = best - away if side == "Buy" else best + away
        if passive <= 0:
            passive = best
        if draw < _SHARES["market"]:
            return place(fills=rng.randint(1, _MOST_FILLS))
        if draw < _SHARES["refused"]:
            return place(price=best, time_in_force="PostOnly")
        if draw < _SHARES["missed"]:
            return place(price=passive, time_in_force="IOC")
        order = place(price=passive)
        if draw < _SHARES["filled"]:
            steps = [self._fill_half, self._fill_rest]
        elif draw < _SHARES["cancelled"]:
            steps = [self._cancel]
        elif draw < _SHARES["filled and cancelled"]:
            steps = [self._fill_half, self._cancel]
        else:
            steps = [self._amend, self._fill_half, self._fill_rest]
        self._later(order, steps)
        return order

    def _rest(self, lot: _Lot, qty: Decimal) -> Order:
        market = self._market.symbol(lot.category, lot.symbol)
        tick, best = Decimal(market.instrument.tick), self._account.best(market.instrument, "Buy")
        price = max(tick, (best / 2 // tick + self.placed % 100) * tick)
        return self._trading.place(lot.symbol, "Buy", qty, lot.category, price=price)

    def _direction(self, lot: _Lot, qty: Decimal) -> tuple[str, Decimal, bool]:
        """Choose a side, back towards flat when much is held; and whether it may only close."""
        side = self._rng.choice(("Buy", "Sell"))
        if lot.category == "spot":
            return side, qty, False
        if self._account.is_hedged(lot.category, lot.symbol):
            idx = 1 if side == "Buy" else 2
            held = abs(self._account.position(lot.category, lot.symbol, idx).size)
            if held and (self._rng.random() < 0.5 or held > _FULL * Decimal(lot.portion)):  # noqa: PLR2004
                return "Sell" if side == "Buy" else "Buy", min(qty, held), True
            return side, qty, False
        size = self._account.position(lot.category, lot.symbol).size
        if abs(size) > _FULL * Decimal(lot.portion):
            side = "Sell" if size > 0 else "Buy"
        return side, qty, False

    def _later(self, order: Order, steps: Sequence[Callable[[Order], None]]) -> None:
        """Plan steps one after the other; those that come after the order's end do nothing."""
        due = self._pulse.now_ms()
        for step in steps:
            due += self._rng.randint(*_NEXT_STEP_MS)
            self._pulse.at(due, partial(self._step, order, step))

    @staticmethod
    def _step(order: Order, step: Callable[[Order], None], _now_ms: float) -> None:
        if order.is_open:
            step(order)

    def _fill_half(self, order: Order) -> None:
        unit = Decimal(order.instrument.step)
        half = order.leaves / 2 // unit * unit
        qty = min(half, self._account.fillable(order))
        if qty > 0:
            self._trading.fill(order, qty)

    def _fill_rest(self, order: Order) -> None:
        qty = self._account.fillable(order)
        if qty > 0:
            self._trading.fill(order, qty, fills=1 + order.number % _MOST_FILLS)
        if order.is_open:
            self._cancel(order)

    def _cancel(self, order: Order) -> None:
        self._trading.cancel(order)

    def _amend(self, order: Order) -> None:
        unit, tick = Decimal(order.instrument.step), Decimal(order.instrument.tick)
        self._trading.amend(order, qty=order.qty + unit, price=order.price + tick)


class Runs:
    """The busy traders of a simulator.

    Attributes:
        all: every one that was begun, oldest first.
    """

    def __init__(self, account: Account, market: Market, trading: Trading, pulse: Pulse) -> None:
        self._account = account
        self._market = market
        self._trading = trading
        self._pulse = pulse
        self.all: list[BusyTrader] = []

    def begin(self, plan: OrderPlan) -> BusyTrader:
        """Begin one; it goes on by itself."""
        trader = BusyTrader(plan, self._account, self._market, self._trading, self._pulse)
        self.all.append(trader)
        trader.begin()
        return trader
