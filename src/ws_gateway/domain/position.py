"""Positions in one form, whatever kind of account or reading they come from."""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b

import msgspec


class PositionMode(StrEnum):
    """Whether a symbol has one position or one per side."""

    ONE_WAY = "one_way"
    HEDGE = "hedge"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A position as it is published; amounts are decimal texts without needless zeros.

    Attributes:
        side: `Buy` or `Sell`; None when flat.
        size: never negative, `0` when flat; USD contracts on inverse.
        entry_price: average; None when flat.
        margin: initial margin it binds; None in portfolio margin and when flat.
        realised_pnl: since the position was opened, where the venue tells it.
        cumulative_realised_pnl: since the symbol was first traded.
        liquidation_price: None when flat, out of reach, or in portfolio margin.
        position_idx: 0 one-way, 1 hedge buy, 2 hedge sell.
        status: the venue's word: Normal, Liq, Adl.
        seq: the symbol's cross sequence; None where an old account tells none, -1 before the
            first trade.
        timestamp: exchange time of this reading, ms, to resolve conflicts by.
        updated_at: when the venue changed the position last, ms.
        raw: the venue's own record.
    """

    symbol: str
    category: str
    side: str | None
    size: str
    entry_price: str | None
    mark_price: str | None
    leverage: str | None
    margin: str | None
    maintenance_margin: str | None
    position_value: str | None
    unrealised_pnl: str | None
    realised_pnl: str | None
    cumulative_realised_pnl: str | None
    liquidation_price: str | None
    take_profit: str | None
    stop_loss: str | None
    trailing_stop: str | None
    position_idx: int
    mode: PositionMode
    status: str
    is_reduce_only: bool
    seq: int | None
    timestamp: int
    created_at: int | None
    updated_at: int | None
    raw: msgspec.Raw

    @property
    def row(self) -> tuple[str, str, int]:
        """Name the row it is the state of."""
        return self.category, self.symbol, self.position_idx


def position_identity(position: Position) -> str:
    """Return the identity of a state of a position, the same over stream and REST.

    It is made of what somebody or the venue did: trades, funding, settings. What follows from the
    mark price (mark price, value, unrealised profit, margins, liquidation price) takes no part: it
    differs between two readings of one state.
    """
    category, symbol, index = position.row
    parts = (
        position.side,
        position.size,
        position.entry_price,
        position.leverage,
        position.take_profit,
        position.stop_loss,
        position.trailing_stop,
        position.cumulative_realised_pnl,
        position.status,
        str(position.is_reduce_only),
        str(position.updated_at),
    )
    content = "|".join(part or "" for part in parts)
    digest = blake2b(content.encode(), digest_size=8).hexdigest()
    return f"{category}:{symbol}:{index}:{position.seq or 0}:{digest}"
