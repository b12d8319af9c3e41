"""Orders from acceptance to their end: booked on the account, written down, and told of."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from decimal import ROUND_DOWN, Decimal
from functools import partial
from typing import Any, NamedTuple

from bybit_sim.account import Account
from bybit_sim.config import SimulatorError
from bybit_sim.funding import Funding
from bybit_sim.ledger import Entry, Ledger, position_key
from bybit_sim.market import Market
from bybit_sim.order_rows import execution_row, fast_execution_row, order_row
from bybit_sim.orders import ZERO, Fill, Order
from bybit_sim.positions import Position
from bybit_sim.private_rows import greeks_row, position_row, wallet_row
from bybit_sim.private_stage import News, PrivateStage
from bybit_sim.pulse import Pulse

# Milliseconds after acceptance or match (v5 reference 7.1 and 15.10, from recordings).
_MATCH_AFTER_MS = 4
_ORDER_AFTER_MS = 4
_POSITION_AFTER_ORDER_MS = (1, 3)
_UNCHANGED_AFTER_MS = 2


class _Record(NamedTuple):
    """A row and its place in the ledger."""

    row: dict[str, Any]
    entry: Entry


class Trading:
    """The one way to change the account of a running simulator.

    A row is made when its change is booked, written into the ledger, and told later as it was
    made: what the stream says last of a thing is what REST says of it, as long as its price
    stands still.
    """

    def __init__(
        self, account: Account, market: Market, stage: PrivateStage, pulse: Pulse, *, seed: int
    ) -> None:
        self._account = account
        self._stage = stage
        self._pulse = pulse
        self._funding = Funding(account, market)
        self._rng = random.Random(f"{seed}:stage")
        self.ledger = Ledger({coin: each.wallet for coin, each in account.balances.items()})

    def place(
        self,
        symbol: str,
        side: str,
        qty: str | Decimal,
        category: str = "linear",
        *,
        price: str | Decimal | None = None,
        fills: int = 1,
        link_id: str = "",
        time_in_force: str | None = None,
        position_idx: int | None = None,
        is_reduce_only: bool = False,
    ) -> Order:
        """Place an order and let its events play (about 15 ms in all).

        A market order, and a limit order that crosses the book, is matched at once; any other
        rests until `fill`, `amend` or `cancel` is called: no book moves it.

        Args:
            symbol: in that category.
            side: `Buy` or `Sell`.
            qty: base coin, contracts on inverse.
            category: `spot`, `linear`, `inverse` or `option`.
            price: of a limit order; without, it is a market order.
            fills: in how many executions it is matched, if it is matched at once.
            link_id: `orderLinkId`.
            time_in_force: `GTC`, `IOC`, `FOK` or `PostOnly`.
            position_idx: in hedge mode; without, the side that opens (`Buy` 1, `Sell` 2), or
                closes if it may only reduce.
            is_reduce_only: whether it may only close.

        Returns:
            The order, accepted; it changes as its events play.

        Raises:
            SimulatorError: it makes no sense.
        """
        account, now = self._account, self._pulse.now_ms()
        order = account.place(
            category,
            symbol,
            side,
            Decimal(qty),
            now_ms=self._stamp(now),
            link_id=link_id,
            price=None if price is None else Decimal(price),
            time_in_force=time_in_force,
            position_idx=position_idx,
            is_reduce_only=is_reduce_only,
        )
        takes = account.crosses(order)
        if (reason := _unfit(order, takes=takes)) is not None:
            account.cancel(order, self._stamp(now), why="UNKNOWN", reason=reason)
        self._tell_change(order, now)
        if order.is_open and takes:
            self._pulse.at(now + _MATCH_AFTER_MS, partial(self._match, order, fills))
        return order

    def fill(self, order: Order, qty: Decimal | None = None, *, fills: int = 1) -> list[Fill]:
        """Execute a resting order at its own price, as a maker, in `fills` parts of `qty` in all.

        Raises:
            SimulatorError: it is closed, or has not so much left.
        """
        now = self._pulse.now_ms()
        parts = _parts(order, order.leaves if qty is None else qty, fills)
        stamp, price = self._stamp(now), order.price
        if not parts or sum(parts) > self._account.fillable(order):
            raise SimulatorError(f"{order.order_id} cannot be filled with {qty}")
        made = [
            self._account.fill(order, part, stamp, price=price, is_maker=True) for part in parts
        ]
        self._tell_fills(order, made, now)
        return made

    def cancel(self, order: Order) -> None:
        """Cancel what is left of an order.

        Raises:
            SimulatorError: it is closed already.
        """
        now = self._pulse.now_ms()
        self._account.cancel(order, self._stamp(now))
        self._tell_change(order, now)

    def amend(
        self, order: Order, *, qty: Decimal | None = None, price: Decimal | None = None
    ) -> None:
        """Change what a resting order asks for; it is not matched by that.

        Raises:
            SimulatorError: it is closed, or nothing would be left of it.
        """
        now = self._pulse.now_ms()
        self._account.amend(order, self._stamp(now), qty=qty, price=price)
        self._tell_change(order, now)

    def fund(self) -> int:
        """Exchange funding on every open perpetual position; return on how many."""
        now = self._pulse.now_ms()
        due = self._funding.due()
        for position in due:
            order, fill = self._funding.book(position, self._stamp(now))
            told = self._tell("execution", order, now, [self._record_execution(order, fill)])
            self._tell_results(order, [position], now, told)
        return len(due)

    def _match(self, order: Order, count: int, now_ms: float) -> None:
        """Execute an order against the book, each part a tick worse than the one before."""
        account, instrument = self._account, order.instrument
        if not order.is_open:
            return  # cancelled in the meantime
        whole = account.fillable(order)
        tick = Decimal(instrument.tick) * (1 if order.side == "Buy" else -1)
        stamp, price = self._stamp(now_ms), account.best(instrument, order.side)
        made = []
        for part in _parts(order, whole, count):
            made.append(account.fill(order, part, stamp, price=price))
            following = price + tick
            within = order.kind == "Market" or (order.price - following) * tick >= 0
            price = following if within and following > 0 else price
        if made:
            self._tell_fills(order, made, now_ms)
        if order.is_open:  # it may only reduce, and there was less to close
            account.cancel(order, stamp, why="CancelByReduceOnly")
            self._tell_change(order, now_ms)

    def _tell_fills(self, order: Order, fills: Sequence[Fill], now_ms: float) -> None:
        category = order.instrument.category
        records = [self._record_execution(order, fill) for fill in fills]
        for fill, record in zip(fills, records, strict=True):
            row = fast_execution_row(order, fill)
            news = News("execution.fast", category, None, [row], [record.entry])
            self._stage.tell(news, now_ms)
        state = self._record_order(order)
        due = now_ms + _ORDER_AFTER_MS
        self._tell("order", order, due, [state])
        told = self._tell("execution", order, due, records)
        moved = []
        if category != "spot":
            symbol, idx = order.instrument.symbol, order.position_idx
            moved = [self._account.position(category, symbol, idx)]
        later = told + self._rng.randint(*_POSITION_AFTER_ORDER_MS)
        self._tell_results(order, moved, now_ms, later)

    def _tell_change(self, order: Order, now_ms: float) -> None:
        """Tell of an order that was accepted, changed or cancelled."""
        told = self._tell("order", order, now_ms, [self._record_order(order)])
        later = told + _UNCHANGED_AFTER_MS
        self._tell_results(order, [], now_ms, later, coins=[order.reserve_coin])

    def _tell_results(
        self,
        order: Order,
        moved: Iterable[Position],
        now_ms: float,
        due_ms: float,
        coins: Sequence[str] | None = None,
    ) -> None:
        """Tell of the position, whether it moved or not, of the wallet, and of greeks."""
        account, instrument = self._account, order.instrument
        category = instrument.category
        if category != "spot":
            entries = []
            rows = []
            for position in account.positions_of(category, instrument.symbol):
                row = position_row(account, position)
                rows.append(row)
                if position in moved:
                    entries.append(self._record_position(position, row))
            self._stage.tell(News("position", category, None, rows, entries), due_ms)
        touched = tuple(order.touched_coins if coins is None else coins)
        row = wallet_row(account, touched)
        entry = self.ledger.record("wallet", row, touched, time_ms=self._stamp(now_ms))
        self._stage.tell(News("wallet", category, None, [row], [entry]), due_ms)
        if category == "option":
            greeks = greeks_row(account, instrument.base)
            self._stage.tell(News("greeks", category, None, [greeks]), due_ms)

    def _tell(self, topic: str, order: Order, due_ms: float, records: Sequence[_Record]) -> float:
        news = News(
            topic,
            order.instrument.category,
            f"{order.instrument.symbol}_{order.seq}",
            [each.row for each in records],
            [each.entry for each in records],
        )
        return self._stage.tell(news, due_ms)

    def _record_order(self, order: Order) -> _Record:
        row, keys = order_row(order), (order.order_id,)
        return _Record(row, self.ledger.record("order", row, keys, time_ms=order.updated_ms))

    def _record_execution(self, order: Order, fill: Fill) -> _Record:
        row, keys = execution_row(order, fill), (fill.exec_id,)
        entry = self.ledger.record(
            "execution", row, keys, time_ms=fill.time_ms, order=order, fill=fill
        )
        return _Record(row, entry)

    def _record_position(self, position: Position, row: dict[str, Any]) -> Entry:
        key = position_key(position.instrument.category, position.instrument.symbol, position.idx)
        return self.ledger.record("position", row, (key,), time_ms=position.updated_ms)

    def _stamp(self, now_ms: float) -> int:
        return int(now_ms + self._pulse.skew_ms)


def _parts(order: Order, whole: Decimal, count: int) -> list[Decimal]:
    """Divide a quantity into whole steps, the last part taking what is over."""
    step = Decimal(order.instrument.step)
    part = (whole / count).quantize(step, rounding=ROUND_DOWN)
    parts = [part] * (count - 1)
    parts.append(whole - sum(parts, ZERO))
    return [each for each in parts if each > 0]


def _unfit(order: Order, *, takes: bool) -> str | None:
    """Say why an order cannot do what its time in force demands, None if it can."""
    if takes and order.time_in_force == "PostOnly":
        return "EC_PostOnlyWillTakeLiquidity"
    if not takes and order.time_in_force in {"IOC", "FOK"}:
        return "EC_NoImmediateQtyToFill"
    return None
