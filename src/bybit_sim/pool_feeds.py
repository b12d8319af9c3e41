"""Insurance pools and the auto-deleveraging alert, in a simple version."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any, ClassVar

from bybit_sim.decimals import plain
from bybit_sim.feed import Feed, encode
from bybit_sim.market import SymbolMarket
from bybit_sim.topics import PublicTopic

_ISOLATED = {
    "USDT": ("XRPUSDT", "SOLUSDT"),
    "USDC": ("BTCPERP",),
    "inverse": ("ETHUSD",),
}  # only isolated pools are pushed
_CHANGE_SHARE = 0.5


class _PoolFeed(Feed):
    period_ms: ClassVar[float | None] = 1_000.0

    def __init__(self, topic: PublicTopic, seed: int) -> None:
        super().__init__(topic, ())
        self._rng = random.Random(f"{seed}:{topic.name}")
        coin = "ETH" if topic.symbol == "inverse" else topic.symbol
        self._coin = coin
        self._balances = {
            symbol: Decimal(self._rng.randrange(10**12, 10**13)).scaleb(-8)
            for symbol in _ISOLATED[topic.symbol]
        }

    def absorb(self, market: SymbolMarket) -> bool:  # noqa: ARG002 - pools have no market
        """Pools do not follow ticks."""
        return False

    def collect(self, now_ms: int) -> bytes | None:  # noqa: ARG002 - frames go out by time
        """Return nothing: pools go out in `beat`."""
        return None


class InsuranceFeed(_PoolFeed):
    """`insurance.{pool}` (v5 reference 6.8): a snapshot, then the pools that changed."""

    def greet(self, now_ms: int) -> bytes:
        """Return all pools."""
        return self._frame("snapshot", list(self._balances), now_ms)

    def beat(self, now_ms: int, last_push_ms: float) -> bytes | None:  # noqa: ARG002 - own timing
        """Change a pool now and then and tell of it."""
        if self._rng.random() > _CHANGE_SHARE:
            return None
        symbol = self._rng.choice(list(self._balances))
        self._balances[symbol] += Decimal(self._rng.randint(-(10**9), 10**9)).scaleb(-8)
        return self._frame("delta", [symbol], now_ms)

    def _frame(self, kind: str, symbols: list[str], now_ms: int) -> bytes:
        rows = [
            {
                "coin": self._coin,
                "symbols": symbol,
                "balance": plain(self._balances[symbol]),
                "updateTime": str(now_ms),
            }
            for symbol in symbols
        ]
        return encode({"topic": self.topic.name, "type": kind, "ts": now_ms, "data": rows})


class AdlAlertFeed(_PoolFeed):
    """`adlAlert.{pool}` (v5 reference 6.9): every second; numbers, as the documented sample."""

    def greet(self, now_ms: int) -> bytes:
        """Return all pools."""
        rows: list[dict[str, Any]] = [
            {
                "c": self._coin,
                "s": symbol,
                "b": float(balance),
                "mb": "",  # deprecated
                "i_pr": -0.3,
                "pr": 0,
                "adl_tt": 10000,
                "adl_sr": -0.25,
            }
            for symbol, balance in self._balances.items()
        ]
        name = self.topic.name
        return encode({"topic": name, "type": "snapshot", "ts": now_ms, "data": rows})

    def beat(self, now_ms: int, last_push_ms: float) -> bytes:  # noqa: ARG002 - every second
        """Repeat all pools."""
        return self.greet(now_ms)
