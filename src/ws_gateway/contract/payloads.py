"""Payloads as Bybit v5 documents them: the fields that are known, of their types.

The gateway delivers Bybit's `data` untouched, but for positions. A field is required here only
where every frame on record has it; any other may be missing, and unknown ones may come, because
Bybit adds some several times a year. Amounts are strings, so that no digit is lost.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ws_gateway.domain.event import GapReason
from ws_gateway.domain.position import PositionMode

_DECIMAL = r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?"

Amount = Annotated[str, Meta(pattern=f"^{_DECIMAL}$")]
"""A decimal number as a string."""

AmountIfAny = Annotated[str, Meta(pattern=f"^({_DECIMAL})?$")]
"""As `Amount`; empty where the number does not apply or is not known."""

Moment = Annotated[int, Meta(ge=0, description="Unix time, ms.")]
MomentText = Annotated[str, Meta(pattern="^[0-9]*$", description="Unix time, ms, as a string.")]
Flag = bool | UnsetType
Text = str | UnsetType
Number = AmountIfAny | UnsetType
Integer = int | UnsetType
At = MomentText | UnsetType


def _camel(name: str) -> str:
    first, *words = name.split("_")
    return first + "".join(word[0].upper() + word[1:] for word in words)  # keeps the h of 24h


class _Record(msgspec.Struct, rename=_camel):
    """A record whose unknown fields are let through."""


# ── public ────────────────────────────────────────────────────────────────────────────────────

Level = Annotated[
    list[Amount],
    Meta(
        min_length=2,
        max_length=3,
        description="Price and size; on `orderbook.rpi` price, size without RPI, and RPI size.",
    ),
]


class Book(msgspec.Struct, kw_only=True):
    """A book, or what changed in it; a level of size 0 is gone."""

    s: Annotated[str, Meta(description="Symbol.")]
    b: Annotated[list[Level], Meta(description="Bids, best first.")]
    a: Annotated[list[Level], Meta(description="Asks, best first.")]
    u: Annotated[int, Meta(ge=0, description="Update id: +1 with each delta of the topic.")]
    seq: Annotated[int, Meta(description="Orders books of several depths; not gapless.")] | (
        UnsetType
    ) = UNSET


class Trade(msgspec.Struct, kw_only=True):
    """One public trade."""

    i: Annotated[str, Meta(description="Trade id, unique with category and symbol.")]
    T: Moment
    s: Annotated[str, Meta(description="Symbol.")]
    S: Annotated[str, Meta(description="The taker's side: Buy or Sell.")]
    p: Annotated[Amount, Meta(description="Price.")]
    v: Annotated[Amount, Meta(description="Size; USD contracts on inverse.")]
    L: Text = UNSET
    BT: Flag = UNSET
    RPI: Flag = UNSET
    seq: Integer = UNSET


class Ticker(_Record):
    """State of a market; a delta holds only what changed. Which fields come depends on category."""

    symbol: str
    last_price: Number = UNSET
    mark_price: Number = UNSET
    index_price: Number = UNSET
    prev_price24h: Number = UNSET
    high_price24h: Number = UNSET
    low_price24h: Number = UNSET
    price24h_pcnt: Number = UNSET
    volume24h: Number = UNSET
    turnover24h: Number = UNSET
    open_interest: Number = UNSET
    open_interest_value: Number = UNSET
    funding_rate: Number = UNSET
    next_funding_time: At = UNSET
    bid1_price: Number = UNSET
    bid1_size: Number = UNSET
    ask1_price: Number = UNSET
    ask1_size: Number = UNSET
    bid_price: Number = UNSET
    bid_size: Number = UNSET
    ask_price: Number = UNSET
    ask_size: Number = UNSET
    usd_index_price: Number = UNSET


class Candle(_Record):
    """One candle; `confirm` says that it is closed."""

    start: Moment
    end: Moment
    interval: str
    open: Amount
    close: Amount
    high: Amount
    low: Amount
    volume: Amount
    turnover: Amount
    confirm: bool
    timestamp: Moment


class Liquidation(msgspec.Struct, kw_only=True):
    """One liquidated position."""

    T: Moment
    s: Annotated[str, Meta(description="Symbol.")]
    S: Annotated[str, Meta(description="Side of the position: Buy is a liquidated long.")]
    v: Annotated[Amount, Meta(description="Size.")]
    p: Annotated[Amount, Meta(description="Bankruptcy price.")]


class InsurancePool(_Record):
    """Balance of one insurance pool."""

    coin: str
    symbols: Text = UNSET
    balance: Number = UNSET
    update_time: At = UNSET


class AdlAlert(msgspec.Struct, kw_only=True):
    """State of one pool's auto-deleveraging; Bybit documents strings and shows numbers."""

    c: Annotated[str, Meta(description="Coin.")]
    s: Annotated[str, Meta(description="Symbol.")]
    b: AmountIfAny | float | UnsetType = UNSET
    mb: AmountIfAny | float | UnsetType = UNSET
    i_pr: AmountIfAny | float | UnsetType = UNSET
    pr: AmountIfAny | float | UnsetType = UNSET
    adl_tt: AmountIfAny | float | UnsetType = UNSET
    adl_sr: AmountIfAny | float | UnsetType = UNSET


class PriceLimit(_Record):
    """Highest allowed bid and lowest allowed ask."""

    symbol: str
    buy_lmt: Amount
    sell_lmt: Amount


class StatusNotice(_Record):
    """One announcement about the venue's own state."""

    id: str
    title: Text = UNSET
    state: Annotated[str, Meta(description="scheduled, ongoing, completed or canceled.")] | (
        UnsetType
    ) = UNSET
    begin: At = UNSET
    end: At = UNSET
    href: Text = UNSET
    service_types: list[int] | UnsetType = UNSET
    product: list[int] | UnsetType = UNSET


# ── private: one record is one event ──────────────────────────────────────────────────────────


class Order(_Record):
    """State of an order; unique with `updatedTime`."""

    order_id: str
    symbol: str
    updated_time: MomentText
    category: Text = UNSET
    order_link_id: Text = UNSET
    side: Text = UNSET
    order_type: Text = UNSET
    order_status: Text = UNSET
    time_in_force: Text = UNSET
    reject_reason: Text = UNSET
    cancel_type: Text = UNSET
    price: Number = UNSET
    qty: Number = UNSET
    avg_price: Number = UNSET
    leaves_qty: Number = UNSET
    leaves_value: Number = UNSET
    cum_exec_qty: Number = UNSET
    cum_exec_value: Number = UNSET
    cum_exec_fee: Number = UNSET
    trigger_price: Number = UNSET
    take_profit: Number = UNSET
    stop_loss: Number = UNSET
    position_idx: Integer = UNSET
    reduce_only: Flag = UNSET
    close_on_trigger: Flag = UNSET
    created_time: At = UNSET


class Execution(_Record):
    """One fill; `execution.fast` brings fewer fields of the same `execId`."""

    exec_id: str
    symbol: str
    category: Text = UNSET
    order_id: Text = UNSET
    order_link_id: Text = UNSET
    side: Text = UNSET
    exec_type: Text = UNSET
    exec_price: Number = UNSET
    exec_qty: Number = UNSET
    exec_value: Number = UNSET
    exec_fee: Number = UNSET
    fee_rate: Number = UNSET
    order_price: Number = UNSET
    order_qty: Number = UNSET
    leaves_qty: Number = UNSET
    closed_size: Number = UNSET
    exec_time: At = UNSET
    is_maker: Flag = UNSET
    seq: Integer = UNSET


Told = Annotated[Amount | None, Meta(description="Null where it does not apply.")]
When = Annotated[int | None, Meta(description="Unix time, ms.")]


class Position(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One state of one position, in one form for all accounts; flat ones are news too.

    A position is unique by account, category, symbol and `position_idx`.
    """

    symbol: str
    category: Annotated[str, Meta(description="linear, inverse or option.")]
    side: Annotated[
        Literal["Buy", "Sell"] | None, Meta(description="Null when flat, whatever the account.")
    ]
    size: Annotated[str, Meta(pattern=f"^{_DECIMAL[2:]}$", description="Never below 0.")]
    entry_price: Told
    mark_price: Told
    leverage: Told
    margin: Annotated[Amount | None, Meta(description="Initial margin it binds.")]
    maintenance_margin: Told
    position_value: Told
    unrealised_pnl: Told
    realised_pnl: Annotated[Amount | None, Meta(description="Since it was opened.")]
    cumulative_realised_pnl: Annotated[
        Amount | None, Meta(description="Since the symbol was first traded.")
    ]
    liquidation_price: Told
    take_profit: Told
    stop_loss: Told
    trailing_stop: Told
    position_idx: Annotated[
        int, Meta(ge=0, le=2, description="0 one-way, 1 hedge buy, 2 hedge sell.")
    ]
    mode: PositionMode
    status: Annotated[str, Meta(description="Normal, Liq or Adl.")]
    is_reduce_only: bool
    seq: Annotated[
        int | None, Meta(description="Cross sequence of the symbol; -1 before the first trade.")
    ]
    timestamp: Annotated[
        int, Meta(ge=0, description="Bybit's creationTime, ms: of two states the later one holds.")
    ]
    created_at: When
    updated_at: When
    raw: Annotated[dict[str, Any], Meta(description="Bybit's own record, untouched.")]


class Coin(_Record):
    """One coin of a balance."""

    coin: str
    equity: Number = UNSET
    usd_value: Number = UNSET
    wallet_balance: Number = UNSET
    locked: Number = UNSET
    borrow_amount: Number = UNSET
    unrealised_pnl: Number = UNSET
    cum_realised_pnl: Number = UNSET
    margin_collateral: Flag = UNSET
    collateral_switch: Flag = UNSET


class Balance(_Record):
    """The account, and the coins that changed: merge by coin, never replace the whole."""

    coin: list[Coin]
    account_type: Text = UNSET
    total_equity: Number = UNSET
    total_wallet_balance: Number = UNSET
    total_margin_balance: Number = UNSET
    total_available_balance: Number = UNSET
    total_initial_margin: Number = UNSET
    total_maintenance_margin: Number = UNSET


class Greeks(_Record):
    """Option greeks of one base coin."""

    base_coin: str
    total_delta: Number = UNSET
    total_gamma: Number = UNSET
    total_vega: Number = UNSET
    total_theta: Number = UNSET


class Strategy(_Record):
    """State of one strategy (TWAP, iceberg, chase, POV)."""

    strategy_id: str
    strategy_type: Text = UNSET
    category: Text = UNSET
    symbol: Text = UNSET
    side: Text = UNSET
    size: Number = UNSET
    status: Integer = UNSET
    executed_size: Number = UNSET
    executed_avg_price: Number = UNSET


Unknown = Annotated[Any, Meta(description="Bybit documents no payload.")]


# ── markers ───────────────────────────────────────────────────────────────────────────────────


class Gap(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Something is missing here; `resumed` ends it.

    `from_sequence` and `to_sequence` name the hole in the gateway's own numbering, both ends
    included, or are null where the venue's side was missed.
    """

    reason: GapReason
    from_sequence: Annotated[int, Meta(ge=1)] | None
    to_sequence: Annotated[int, Meta(ge=1)] | None
    detail: Annotated[str, Meta(description="For people.")]


class Resumed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The gap that stood open before ends; facts follow.

    `complete` says of a private stream whether all that was missed was told before; false if it
    could not be read yet.
    """

    reason: GapReason
    detail: str
    complete: bool | msgspec.UnsetType = msgspec.UNSET
