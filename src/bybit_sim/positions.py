"""Positions and balances, and the arithmetic of what they are worth."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from bybit_sim.instruments import Instrument
from bybit_sim.orders import ZERO, Fill


@dataclass(slots=True)
class Balance:
    """One coin of the wallet.

    Attributes:
        coin: which.
        wallet: `walletBalance`.
        realised: sum of profits, fees and funding of derivatives booked in it.
        order_margin: bound by the open parts of derivative orders.
        locked: bound by the open parts of spot orders.
    """

    coin: str
    wallet: Decimal
    realised: Decimal = ZERO
    order_margin: Decimal = ZERO
    locked: Decimal = ZERO


@dataclass(slots=True)
class Position:
    """A position; `size` is signed, 0 is flat.

    Attributes:
        instrument: what it is in.
        idx: `positionIdx`: 0 one-way, 1 the long and 2 the short side of hedge mode.
        size: signed quantity.
        entry: average entry price, 0 when flat.
        realised: booked over all time, fees included.
        current_realised: booked since the position was opened.
        created_ms: first trade on the symbol ever, 0 before.
        opened_ms: when the present position was opened, 0 when flat.
        updated_ms: last change.
        seq: cross sequence of the last fill, -1 before the first.
    """

    instrument: Instrument
    idx: int = 0
    size: Decimal = ZERO
    entry: Decimal = ZERO
    realised: Decimal = ZERO
    current_realised: Decimal = ZERO
    created_ms: int = 0
    opened_ms: int = 0
    updated_ms: int = 0
    seq: int = -1

    @property
    def side(self) -> str:
        """`Buy`, `Sell`, or "" when flat."""
        return "" if not self.size else "Buy" if self.size > 0 else "Sell"

    def move(self, signed: Decimal, price: Decimal, now_ms: int) -> None:
        """Add a signed quantity at a price."""
        before, after = self.size, self.size + signed
        if not self.created_ms:
            self.created_ms = now_ms
        if not after:
            self.entry, self.opened_ms = ZERO, 0
        elif before * after <= 0:  # opened, or turned over
            self.entry, self.opened_ms = price, now_ms
            self.current_realised = ZERO
        elif abs(after) > abs(before):
            self.entry = self._average(signed, price)
        self.size = after

    def book(self, amount: Decimal, fill: Fill) -> None:
        """Book profit, fee or funding of an execution."""
        self.realised += amount
        self.current_realised += amount
        self.seq = fill.seq
        self.updated_ms = fill.time_ms

    def _average(self, signed: Decimal, price: Decimal) -> Decimal:
        total = self.size + signed
        if self.instrument.category == "inverse":  # coin value adds up, so prices average
            return total / (self.size / self.entry + signed / price)  # harmonically
        return (self.size * self.entry + signed * price) / total


def value_of(instrument: Instrument, qty: Decimal, price: Decimal) -> Decimal:
    """Value a quantity: in coin on inverse contracts, in quote currency elsewhere."""
    return qty / price if instrument.category == "inverse" else qty * price


def profit_of(instrument: Instrument, size: Decimal, entry: Decimal, price: Decimal) -> Decimal:
    """Profit of a signed size from entry to price, in the settle coin."""
    if not size:
        return ZERO
    if instrument.category == "inverse":
        return size * (1 / entry - 1 / price)
    return size * (price - entry)
