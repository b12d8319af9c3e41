"""One unified account: balances, positions and orders that agree with each other at all times."""

from __future__ import annotations

import random
import uuid
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from bybit_sim.config import SimulatorError
from bybit_sim.instruments import Instrument
from bybit_sim.market import Market

ZERO = Decimal(0)
LEVERAGE = Decimal(10)
MAINTENANCE_RATE = Decimal("0.005")
FEE_RATES = {
    "spot": Decimal("0.001"),
    "linear": Decimal("0.00055"),
    "inverse": Decimal("0.00055"),
    "option": Decimal("0.0003"),
}
_OPENING_BALANCES = {"USDT": "100000", "USDC": "50000", "BTC": "2", "ETH": "20"}
_USD_COINS = frozenset({"USD", "USDT", "USDC"})
_ORDERS_KEPT = 500  # Bybit keeps as many closed orders in its realtime cache
_SPOT_ID_BASE = 1_552_243_702_000_000_000


@dataclass(slots=True)
class Balance:
    """One coin of the wallet; `realised` is the sum of profits, losses and fees booked in it."""

    coin: str
    wallet: Decimal
    realised: Decimal = ZERO


@dataclass(slots=True)
class Position:
    """A one-way position; `size` is signed, 0 is flat.

    Attributes:
        instrument: what it is in.
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


@dataclass(slots=True)
class Fill:
    """One execution of an order."""

    exec_id: str
    price: Decimal
    qty: Decimal
    value: Decimal
    fee: Decimal
    fee_coin: str
    pnl: Decimal
    closed: Decimal
    leaves: Decimal
    seq: int
    time_ms: int
    mark: Decimal


@dataclass(slots=True)
class Order:
    """A market order; `fills` grows until `qty` is done.

    Attributes:
        instrument: what is traded.
        order_id: UUID on derivatives, digits on spot.
        link_id: the client's own id, "" if none.
        side: `Buy` or `Sell`.
        qty: in base coin, contracts (USD) on inverse.
        bound: slippage-bounded price of derivatives, 0 on spot.
        last_price: of the symbol when the order was created.
        seq: cross sequence of its last event.
        created_ms: when it was accepted.
        updated_ms: last change.
        status: `New`, `PartiallyFilled` or `Filled`.
        fills: what was executed.
    """

    instrument: Instrument
    order_id: str
    link_id: str
    side: str
    qty: Decimal
    bound: Decimal
    last_price: Decimal
    seq: int
    created_ms: int
    updated_ms: int
    status: str = "New"
    fills: list[Fill] = field(default_factory=list)

    @property
    def filled(self) -> Decimal:
        """Quantity executed so far."""
        return sum((fill.qty for fill in self.fills), ZERO)

    @property
    def value(self) -> Decimal:
        """Value executed so far, in the settle coin (quote coin on spot)."""
        return sum((fill.value for fill in self.fills), ZERO)

    @property
    def fee(self) -> Decimal:
        """Fees paid so far."""
        return sum((fill.fee for fill in self.fills), ZERO)

    @property
    def pnl(self) -> Decimal:
        """Profit realised by closing, fees not included."""
        return sum((fill.pnl for fill in self.fills), ZERO)


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


class Account:
    """Books orders and fills; the only place where money moves.

    The identity that holds after every call: for each coin, `wallet` is the opening balance
    plus everything booked (fees negative), and a position's size is the sum of its fills.
    """

    def __init__(self, market: Market, seed: int) -> None:
        self._market = market
        self._rng = random.Random(f"{seed}:account")
        self._spot_ids = _SPOT_ID_BASE + self._rng.randrange(10**6)
        self.balances = {
            coin: Balance(coin, Decimal(amount)) for coin, amount in _OPENING_BALANCES.items()
        }
        self.positions: dict[tuple[str, str], Position] = {}
        self.orders: deque[Order] = deque(maxlen=_ORDERS_KEPT)

    def position(self, category: str, symbol: str) -> Position:
        """Return the position of a symbol, flat if there never was one."""
        key = (category, symbol)
        if key not in self.positions:
            self.positions[key] = Position(self._market.instruments[key])
        return self.positions[key]

    def balance(self, coin: str) -> Balance:
        """Return the balance of a coin, opened at 0 if it was never held."""
        return self.balances.setdefault(coin, Balance(coin, ZERO))

    def place(
        self, category: str, symbol: str, side: str, qty: Decimal, *, link_id: str, now_ms: int
    ) -> Order:
        """Accept a market order.

        Raises:
            SimulatorError: the symbol is not listed or not tradable here, or side or quantity
                make no sense.
        """
        if category not in FEE_RATES or not self._market.has(category, symbol):
            raise SimulatorError(f"there is no {symbol!r} to trade in {category!r}")
        if side not in {"Buy", "Sell"}:
            raise SimulatorError(f"side must be 'Buy' or 'Sell', not {side!r}")
        if not qty.is_finite() or qty <= 0:
            raise SimulatorError(f"qty must be above 0, not {qty}")
        market = self._market.symbol(category, symbol)
        market.seq += 1
        spot = category == "spot"
        last = market.prices.exact(market.last_price)
        bound = market.last_price * (105 if side == "Buy" else 95) // 100  # in whole ticks
        order = Order(
            instrument=market.instrument,
            order_id=self._new_id(spot=spot),
            link_id=link_id,
            side=side,
            qty=qty,
            bound=ZERO if spot else market.prices.exact(bound),
            last_price=last,
            seq=market.seq,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        self.orders.append(order)
        return order

    def fill(self, order: Order, qty: Decimal, now_ms: int) -> Fill:
        """Execute a part of an order at the best opposite price and book everything."""
        instrument = order.instrument
        market = self._market.symbol(instrument.category, instrument.symbol)
        book = market.book
        ticks = book.asks.best if order.side == "Buy" else book.bids.best
        price = market.prices.exact(ticks)
        market.seq += 1
        fill = Fill(
            exec_id=self._new_id(spot=instrument.category == "spot"),
            price=price,
            qty=qty,
            value=value_of(instrument, qty, price),
            fee=ZERO,
            fee_coin=instrument.settle,
            pnl=ZERO,
            closed=ZERO,
            leaves=order.qty - order.filled - qty,
            seq=market.seq,
            time_ms=now_ms,
            mark=market.prices.exact(market.mark_price()),
        )
        if instrument.category == "spot":
            self._book_spot(order, fill)
        else:
            self._book_derivative(order, fill)
        order.fills.append(fill)
        order.seq = market.seq
        order.updated_ms = now_ms
        order.status = "Filled" if not fill.leaves else "PartiallyFilled"
        return fill

    def order_margin(self, coin: str) -> Decimal:
        """Margin reserved by unfilled parts of orders that settle in a coin."""
        return sum(
            (
                value_of(each.instrument, each.qty - each.filled, each.last_price) / LEVERAGE
                for each in self.orders
                if each.status != "Filled" and each.instrument.settle == coin
            ),
            ZERO,
        )

    def mark(self, position: Position) -> Decimal:
        """Return the present mark price of a position's symbol."""
        return self._market.price(position.instrument.category, position.instrument.symbol)

    def usd(self, coin: str) -> Decimal:
        """Return the dollar price of a coin."""
        if coin in _USD_COINS:
            return Decimal(1)
        symbol = f"{coin}USDT"
        for category in ("spot", "linear"):
            if self._market.has(category, symbol):
                return self._market.price(category, symbol)
        return ZERO

    def open_positions(self, coin: str | None = None) -> list[Position]:
        """Return positions with a size, optionally only those settled in a coin."""
        return [
            each
            for each in self.positions.values()
            if each.size and coin in {None, each.instrument.settle}
        ]

    def _new_id(self, *, spot: bool) -> str:
        if spot:
            self._spot_ids += 1
            return str(self._spot_ids)
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _book_spot(self, order: Order, fill: Fill) -> None:
        base, quote = order.instrument.base, order.instrument.quote
        # Spot takers pay in what they receive (v5 reference 14).
        if order.side == "Buy":
            fill.fee, fill.fee_coin = fill.qty * FEE_RATES["spot"], base
            self.balance(base).wallet += fill.qty - fill.fee
            self.balance(quote).wallet -= fill.value
        else:
            fill.fee, fill.fee_coin = fill.value * FEE_RATES["spot"], quote
            self.balance(base).wallet -= fill.qty
            self.balance(quote).wallet += fill.value - fill.fee

    def _book_derivative(self, order: Order, fill: Fill) -> None:
        instrument = order.instrument
        position = self.position(instrument.category, instrument.symbol)
        signed = fill.qty if order.side == "Buy" else -fill.qty
        if position.size * signed < 0:
            fill.closed = min(abs(position.size), fill.qty)
            gone = fill.closed if position.size > 0 else -fill.closed
            fill.pnl = profit_of(instrument, gone, position.entry, fill.price)
        fill.fee = fill.value * FEE_RATES[instrument.category]
        self._move(position, signed, fill)
        booked = fill.pnl - fill.fee
        balance = self.balance(instrument.settle)
        # An option's premium changes hands at once; a future's price is only a reference.
        premium = signed * fill.price + fill.pnl if instrument.category == "option" else ZERO
        balance.wallet += booked - premium
        balance.realised += booked
        position.realised += booked
        position.current_realised += booked
        position.seq = fill.seq
        position.updated_ms = fill.time_ms

    def _move(self, position: Position, signed: Decimal, fill: Fill) -> None:
        before, after = position.size, position.size + signed
        if not position.created_ms:
            position.created_ms = fill.time_ms
        if not after:
            position.entry, position.opened_ms = ZERO, 0
        elif before * after <= 0:  # opened, or turned over
            position.entry, position.opened_ms = fill.price, fill.time_ms
            position.current_realised = ZERO
        elif abs(after) > abs(before):
            position.entry = self._average(position, signed, fill.price)
        position.size = after

    @staticmethod
    def _average(position: Position, signed: Decimal, price: Decimal) -> Decimal:
        instrument, total = position.instrument, position.size + signed
        if instrument.category == "inverse":  # coin value adds up, so prices average harmonically
            return total / (position.size / position.entry + signed / price)
        return (position.size * position.entry + signed * price) / total
