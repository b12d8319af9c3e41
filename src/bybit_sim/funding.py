"""Funding: what the long and the short side of perpetual contracts pay each other."""

from __future__ import annotations

import itertools
from decimal import Decimal

from bybit_sim.account import Account
from bybit_sim.decimals import money
from bybit_sim.market import Market
from bybit_sim.orders import ZERO, Fill, Order
from bybit_sim.positions import Position, value_of

FUNDING_RATE = Decimal("0.0001")  # what the tickers say
_PERPETUALS = frozenset({"LinearPerpetual", "InversePerpetual"})


class Funding:
    """Books funding on an account."""

    def __init__(self, account: Account, market: Market) -> None:
        self._account = account
        self._market = market
        self._numbers = itertools.count(1)

    def due(self) -> list[Position]:
        """Return the open positions that exchange funding."""
        return [
            each for each in self._account.open_positions() if each.instrument.kind in _PERPETUALS
        ]

    def book(self, position: Position, now_ms: int) -> tuple[Order, Fill]:
        """Exchange the funding of a position: longs pay a rate above 0, shorts receive it.

        Returns:
            What it is shown under, which is no order of the account, and the execution.
        """
        instrument = position.instrument
        market = self._market.symbol(instrument.category, instrument.symbol)
        market.seq += 1
        mark, size = market.prices.exact(market.mark_price()), abs(position.size)
        value = money(value_of(instrument, size, mark))
        rate = FUNDING_RATE if position.size > 0 else -FUNDING_RATE
        fill = Fill(
            exec_id=self._account.ids.new(spot=False),
            price=mark,
            qty=size,
            value=value,
            fee=money(value * rate),
            fee_coin=instrument.settle,
            fee_rate=rate,
            pnl=ZERO,
            closed=ZERO,
            leaves=ZERO,
            seq=market.seq,
            time_ms=now_ms,
            mark=mark,
            kind="Funding",
        )
        number = next(self._numbers)
        order = Order(
            instrument=instrument,
            order_id=f"{now_ms // 1000}-{instrument.symbol}-{number}-{position.side}",
            link_id="",
            side=position.side,
            qty=ZERO,
            price=ZERO,
            last_price=mark,
            seq=market.seq,
            created_ms=now_ms,
            updated_ms=now_ms,
            kind="UNKNOWN",
            position_idx=position.idx,
        )
        balance = self._account.balance(instrument.settle)
        balance.wallet -= fill.fee
        balance.realised -= fill.fee
        position.book(-fill.fee, fill)
        return order, fill
