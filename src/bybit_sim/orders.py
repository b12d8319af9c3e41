"""Orders and their executions, as the matching engine keeps them."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from decimal import Decimal

from bybit_sim.instruments import Instrument

ZERO = Decimal(0)
_SPOT_ID_BASE = 1_552_243_702_000_000_000
OPEN_STATES = frozenset({"New", "PartiallyFilled"})


class Ids:
    """Makes ids of orders and executions, no two alike, from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}:account")
        self._spot_ids = _SPOT_ID_BASE + self._rng.randrange(10**6)

    def new(self, *, spot: bool) -> str:
        """Make one: digits on spot, a UUID elsewhere."""
        if spot:
            self._spot_ids += 1
            return str(self._spot_ids)
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


@dataclass(slots=True)
class Fill:
    """One execution.

    Attributes:
        exec_id: UUID on derivatives, digits on spot; unique.
        price: at which.
        qty: how much.
        value: in the settle coin (quote coin on spot), rounded as it is booked.
        fee: above 0 is paid.
        fee_coin: in which.
        fee_rate: of the value.
        pnl: realised by closing, the fee not included.
        closed: how much of `qty` closed a position.
        leaves: what the order had left after it.
        seq: cross sequence.
        time_ms: when it matched.
        mark: mark price then.
        is_maker: whether the order rested.
        kind: `execType`, `Trade` or `Funding`.
    """

    exec_id: str
    price: Decimal
    qty: Decimal
    value: Decimal
    fee: Decimal
    fee_coin: str
    fee_rate: Decimal
    pnl: Decimal
    closed: Decimal
    leaves: Decimal
    seq: int
    time_ms: int
    mark: Decimal
    is_maker: bool = False
    kind: str = "Trade"


@dataclass(slots=True)
class Order:
    """An order; `fills` grows until `qty` is done or the rest is cancelled.

    Attributes:
        instrument: what is traded.
        order_id: UUID on derivatives, digits on spot; unique.
        number: 1 for the first the account accepted, rising by 1; 0 of what is no order.
        link_id: the client's own id, "" if none.
        side: `Buy` or `Sell`.
        qty: in base coin, contracts (USD) on inverse.
        price: the limit; of a market order a slippage bound, 0 on spot.
        last_price: of the symbol when the order was created.
        seq: cross sequence of its last event.
        created_ms: when it was accepted.
        updated_ms: last change.
        kind: `Market` or `Limit`; `UNKNOWN` of what funding is booked under.
        time_in_force: `GTC`, `IOC`, `FOK` or `PostOnly`.
        position_idx: 0 one-way, 1 and 2 the long and the short side of hedge mode.
        is_reduce_only: whether it may only close.
        status: `orderStatus`.
        cancel_type: why it was cancelled, `UNKNOWN` if it was not.
        reject_reason: `EC_NoError` if nothing went wrong.
        fills: what was executed, in order.
        filled: quantity executed so far.
        value: value executed so far, in the settle coin (quote coin on spot).
        fee: fees paid so far.
        pnl: profit realised by closing, fees not included.
        reserved: what its open part binds: margin, on spot the coins it would spend.
    """

    instrument: Instrument
    order_id: str
    link_id: str
    side: str
    qty: Decimal
    price: Decimal
    last_price: Decimal
    seq: int
    created_ms: int
    updated_ms: int
    kind: str = "Market"
    time_in_force: str = "IOC"
    position_idx: int = 0
    is_reduce_only: bool = False
    status: str = "New"
    cancel_type: str = "UNKNOWN"
    reject_reason: str = "EC_NoError"
    fills: list[Fill] = field(default_factory=list)
    filled: Decimal = ZERO
    value: Decimal = ZERO
    fee: Decimal = ZERO
    pnl: Decimal = ZERO
    reserved: Decimal = ZERO
    number: int = 0

    @property
    def is_open(self) -> bool:
        """Whether more may be executed."""
        return self.status in OPEN_STATES

    @property
    def leaves(self) -> Decimal:
        """Quantity that may still be executed, 0 once it is closed."""
        return self.qty - self.filled if self.is_open else ZERO

    @property
    def reserve_coin(self) -> str:
        """The coin its open part binds."""
        if self.instrument.category != "spot":
            return self.instrument.settle
        return self.instrument.quote if self.side == "Buy" else self.instrument.base

    @property
    def touched_coins(self) -> list[str]:
        """The coins an execution of it moves."""
        if self.instrument.category != "spot":
            return [self.instrument.settle]
        return [self.instrument.base, self.instrument.quote]

    def take(self, fill: Fill) -> None:
        """Count an execution."""
        self.fills.append(fill)
        self.filled += fill.qty
        self.value += fill.value
        self.fee += fill.fee
        self.pnl += fill.pnl
        self.seq = fill.seq
        self.updated_ms = fill.time_ms
        self.status = "PartiallyFilled" if self.filled < self.qty else "Filled"
