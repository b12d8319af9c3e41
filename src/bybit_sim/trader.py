"""A trader who trades by himself, so that private topics have news."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal

from bybit_sim.account import Account
from bybit_sim.orders import Order


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
