"""One unified account: balances, positions and orders that agree with each other at all times."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from decimal import Decimal

from bybit_sim.config import SimulatorError
from bybit_sim.decimals import money
from bybit_sim.instruments import Instrument
from bybit_sim.market import Market
from bybit_sim.orders import ZERO, Fill, Ids, Order
from bybit_sim.positions import Balance, Position, profit_of, value_of

LEVERAGE = Decimal(10)
MAINTENANCE_RATE = Decimal("0.005")
FEE_RATES = {
    "spot": Decimal("0.001"),
    "linear": Decimal("0.00055"),
    "inverse": Decimal("0.00055"),
    "option": Decimal("0.0003"),
}
MAKER_FEE_RATES = FEE_RATES | {"linear": Decimal("0.0002"), "inverse": Decimal("0.0002")}
OPENING_BALANCES = {
    "USDT": Decimal(100_000),
    "USDC": Decimal(50_000),
    "BTC": Decimal(2),
    "ETH": Decimal(20),
}
_USD_COINS = frozenset({"USD", "USDT", "USDC"})
_CLOSED_KEPT = 500  # Bybit keeps as many closed orders in its realtime cache
_TIMES_IN_FORCE = frozenset({"GTC", "IOC", "FOK", "PostOnly"})
_HEDGED = {"Buy": 1, "Sell": 2}


class Account:
    """Books orders and fills; the only place where money moves.

    The identity that holds after every call: for each coin, `wallet` is the opening balance
    plus everything booked (fees negative), and a position's size is the sum of its fills.
    Amounts are rounded to eight decimals when they are booked, so that sums of what is shown
    are what is shown.

    Attributes:
        ids: the source of order and execution ids.
        balances: by coin.
        positions: by category, symbol and index; of those that were ever asked for.
        open_orders: by id, oldest first.
        recent_orders: closed ones, those closed first first; as many as REST's fast cache has.
        orders: every order ever accepted, by id, oldest first.
    """

    def __init__(self, market: Market, seed: int, hedge: Iterable[str] = ()) -> None:
        """Open the account.

        Args:
            market: where it trades.
            seed: of the ids.
            hedge: linear symbols in hedge mode.
        """
        self._market = market
        self.ids = Ids(seed)
        self._hedged = frozenset(hedge)
        self.balances = {coin: Balance(coin, amount) for coin, amount in OPENING_BALANCES.items()}
        self.positions: dict[tuple[str, str, int], Position] = {}
        self.open_orders: dict[str, Order] = {}
        self.recent_orders: deque[Order] = deque(maxlen=_CLOSED_KEPT)
        self.orders: dict[str, Order] = {}

    def is_hedged(self, category: str, symbol: str) -> bool:
        """Tell whether a symbol has a long and a short position beside each other."""
        return category == "linear" and symbol in self._hedged

    def position(self, category: str, symbol: str, idx: int | None = None) -> Position:
        """Return a position, flat if there never was one; without index the first of a symbol."""
        if idx is None:
            idx = 1 if self.is_hedged(category, symbol) else 0
        key = (category, symbol, idx)
        if key not in self.positions:
            self.positions[key] = Position(self._market.instruments[category, symbol], idx)
        return self.positions[key]

    def positions_of(self, category: str, symbol: str) -> list[Position]:
        """Return what a frame of a symbol holds: both sides in hedge mode."""
        indexes = (1, 2) if self.is_hedged(category, symbol) else (0,)
        return [self.position(category, symbol, idx) for idx in indexes]

    def balance(self, coin: str) -> Balance:
        """Return the balance of a coin, opened at 0 if it was never held."""
        return self.balances.setdefault(coin, Balance(coin, ZERO))

    def place(
        self,
        category: str,
        symbol: str,
        side: str,
        qty: Decimal,
        *,
        now_ms: int,
        link_id: str = "",
        price: Decimal | None = None,
        time_in_force: str | None = None,
        position_idx: int | None = None,
        is_reduce_only: bool = False,
    ) -> Order:
        """Accept an order: a limit order with a price, a market order without.

        Raises:
            SimulatorError: the symbol is not listed or not tradable here, or something of the
                order makes no sense.
        """
        self._check(category, symbol, side, qty, price)
        tif = time_in_force or ("IOC" if price is None else "GTC")
        if tif not in _TIMES_IN_FORCE or (price is None and tif in {"GTC", "PostOnly"}):
            raise SimulatorError(f"an order like this cannot be {tif!r}")
        market = self._market.symbol(category, symbol)
        idx = self._index(category, symbol, side, position_idx, is_reduce_only=is_reduce_only)
        market.seq += 1
        order = Order(
            instrument=market.instrument,
            order_id=self.ids.new(spot=category == "spot"),
            link_id=link_id,
            side=side,
            qty=qty,
            price=self._bound(category, symbol, side) if price is None else price,
            last_price=market.prices.exact(market.last_price),
            seq=market.seq,
            created_ms=now_ms,
            updated_ms=now_ms,
            kind="Market" if price is None else "Limit",
            time_in_force=tif,
            position_idx=idx,
            is_reduce_only=is_reduce_only,
            number=len(self.orders) + 1,
        )
        self.orders[order.order_id] = self.open_orders[order.order_id] = order
        self._reserve(order)
        return order

    def fill(
        self,
        order: Order,
        qty: Decimal,
        now_ms: int,
        *,
        price: Decimal | None = None,
        is_maker: bool = False,
    ) -> Fill:
        """Execute a part of an order and book everything.

        Args:
            order: which.
            qty: how much.
            now_ms: server time.
            price: at which; the best opposite one without.
            is_maker: whether the order rested.

        Raises:
            SimulatorError: the order has not so much left, or may close no more.
        """
        if not ZERO < qty <= self.fillable(order):
            raise SimulatorError(f"{order.order_id} cannot be filled with {qty}")
        instrument = order.instrument
        market = self._market.symbol(instrument.category, instrument.symbol)
        price = self.best(order.instrument, order.side) if price is None else price
        rates = MAKER_FEE_RATES if is_maker else FEE_RATES
        market.seq += 1
        fill = Fill(
            exec_id=self.ids.new(spot=instrument.category == "spot"),
            price=price,
            qty=qty,
            value=money(value_of(instrument, qty, price)),
            fee=ZERO,
            fee_coin=instrument.settle,
            fee_rate=rates[instrument.category],
            pnl=ZERO,
            closed=ZERO,
            leaves=order.leaves - qty,
            seq=market.seq,
            time_ms=now_ms,
            mark=market.prices.exact(market.mark_price()),
            is_maker=is_maker,
        )
        if instrument.category == "spot":
            self._book_spot(order, fill)
        else:
            self._book_derivative(order, fill)
        order.take(fill)
        self._reserve(order)
        if not order.is_open:
            self._close(order)
        return fill

    def fillable(self, order: Order) -> Decimal:
        """Return how much of an order can be executed: one that may only close ends at flat."""
        closes = order.is_reduce_only or (
            order.position_idx and _HEDGED[order.side] != order.position_idx
        )
        if not closes:
            return order.leaves
        instrument = order.instrument
        size = self.position(instrument.category, instrument.symbol, order.position_idx).size
        against = -size if order.side == "Buy" else size
        return min(order.leaves, max(ZERO, against))

    def cancel(
        self, order: Order, now_ms: int, *, why: str = "CancelByUser", reason: str = "EC_NoError"
    ) -> None:
        """Cancel what is left of an order.

        Raises:
            SimulatorError: it is closed already.
        """
        if not order.is_open:
            raise SimulatorError(f"{order.order_id} is {order.status}, too late to cancel")
        self._stamp(order, now_ms)
        partly = order.instrument.category == "spot" and order.filled
        order.status = "PartiallyFilledCanceled" if partly else "Cancelled"
        order.cancel_type, order.reject_reason = why, reason
        self._reserve(order)
        self._close(order)

    def amend(
        self, order: Order, now_ms: int, *, qty: Decimal | None = None, price: Decimal | None = None
    ) -> None:
        """Change what a resting order asks for.

        Raises:
            SimulatorError: it is closed already, or nothing would be left of it.
        """
        if not order.is_open or order.kind != "Limit":
            raise SimulatorError(f"{order.order_id} is {order.status}, too late to amend")
        if qty is not None and qty <= order.filled:
            raise SimulatorError(f"{order.order_id} has {order.filled} filled, not below {qty}")
        if price is not None and price <= 0:
            raise SimulatorError(f"price must be above 0, not {price}")
        self._stamp(order, now_ms)
        order.qty = order.qty if qty is None else qty
        order.price = order.price if price is None else price
        self._reserve(order)

    def best(self, instrument: Instrument, side: str) -> Decimal:
        """Return the best price an order of a side could take now."""
        market = self._market.symbol(instrument.category, instrument.symbol)
        book = market.book
        return market.prices.exact(book.asks.best if side == "Buy" else book.bids.best)

    def crosses(self, order: Order) -> bool:
        """Tell whether an order would take rather than rest."""
        if order.kind == "Market":
            return True
        best = self.best(order.instrument, order.side)
        return order.price >= best if order.side == "Buy" else order.price <= best

    def order_margin(self, coin: str) -> Decimal:
        """Margin reserved by the open parts of orders that settle in a coin."""
        return self.balance(coin).order_margin

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

    def _check(
        self, category: str, symbol: str, side: str, qty: Decimal, price: Decimal | None
    ) -> None:
        if category not in FEE_RATES or not self._market.has(category, symbol):
            raise SimulatorError(f"there is no {symbol!r} to trade in {category!r}")
        if side not in _HEDGED:
            raise SimulatorError(f"side must be 'Buy' or 'Sell', not {side!r}")
        for name, number in (("qty", qty), ("price", price)):
            if number is not None and (not number.is_finite() or number <= 0):
                raise SimulatorError(f"{name} must be above 0, not {number}")

    def _index(
        self, category: str, symbol: str, side: str, given: int | None, *, is_reduce_only: bool
    ) -> int:
        """Return the position an order is of."""
        if not self.is_hedged(category, symbol):
            if given:
                raise SimulatorError(f"{symbol} is in one-way mode, where positionIdx is 0")
            return 0
        idx = _HEDGED[side] if given is None else given
        if given is None and is_reduce_only:
            idx = 3 - idx
        if idx not in {1, 2}:
            raise SimulatorError(f"{symbol} is in hedge mode, where positionIdx is 1 or 2")
        return idx

    def _bound(self, category: str, symbol: str, side: str) -> Decimal:
        """Return the price a market order shows."""
        if category == "spot":
            return ZERO
        market = self._market.symbol(category, symbol)
        return market.prices.exact(
            market.last_price * (105 if side == "Buy" else 95) // 100  # in whole ticks
        )

    def _reserve(self, order: Order) -> None:
        """Bind what the open part of an order needs, and let go of the rest."""
        instrument = order.instrument
        price = order.price if order.kind == "Limit" else order.last_price
        value = value_of(instrument, order.leaves, price)
        balance = self.balance(order.reserve_coin)
        if instrument.category == "spot":
            need = money(value) if order.side == "Buy" else order.leaves
            balance.locked += need - order.reserved
        else:
            need = ZERO if order.is_reduce_only else money(value / LEVERAGE)
            balance.order_margin += need - order.reserved
        order.reserved = need

    def _stamp(self, order: Order, now_ms: int) -> None:
        market = self._market.symbol(order.instrument.category, order.instrument.symbol)
        market.seq += 1
        order.seq, order.updated_ms = market.seq, now_ms

    def _close(self, order: Order) -> None:
        del self.open_orders[order.order_id]
        self.recent_orders.append(order)

    def _book_spot(self, order: Order, fill: Fill) -> None:
        base, quote = order.instrument.base, order.instrument.quote
        # Whoever trades on spot pays in what he receives (v5 reference 14).
        if order.side == "Buy":
            fill.fee, fill.fee_coin = money(fill.qty * fill.fee_rate), base
            self.balance(base).wallet += fill.qty - fill.fee
            self.balance(quote).wallet -= fill.value
        else:
            fill.fee, fill.fee_coin = money(fill.value * fill.fee_rate), quote
            self.balance(base).wallet -= fill.qty
            self.balance(quote).wallet += fill.value - fill.fee

    def _book_derivative(self, order: Order, fill: Fill) -> None:
        instrument = order.instrument
        position = self.position(instrument.category, instrument.symbol, order.position_idx)
        signed = fill.qty if order.side == "Buy" else -fill.qty
        if position.size * signed < 0:
            fill.closed = min(abs(position.size), fill.qty)
            gone = fill.closed if position.size > 0 else -fill.closed
            fill.pnl = money(profit_of(instrument, gone, position.entry, fill.price))
        fill.fee = money(fill.value * fill.fee_rate)
        position.move(signed, fill.price, fill.time_ms)
        booked = fill.pnl - fill.fee
        position.book(booked, fill)
        balance = self.balance(instrument.settle)
        balance.realised += booked
        if instrument.category == "option":
            # An option's premium changes hands at once; a future's price is only a reference.
            balance.wallet += (-fill.value if order.side == "Buy" else fill.value) - fill.fee
        else:
            balance.wallet += booked
