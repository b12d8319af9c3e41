"""An account as control sees it, which says what the test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ws_gateway.domain.balance import CoinBalance, MarginBalance
from ws_gateway.domain.topic import EventClass
from ws_gateway.ports.account import (
    AccountFigures,
    AccountProblem,
    HistoryQuery,
    Synced,
)


@dataclass
class MemoryAccount:
    """An `AccountDesk` in memory.

    Attributes:
        asked: history that was asked for.
        synced: how often it was read anew.
        rows: the latest of each coin.
    """

    name: str = "main"
    rows_in_memory: int = 0
    rows_on_disk: int = 0
    spool_bytes: int = 0
    watermark_ages: dict[EventClass, float] = field(default_factory=dict)
    told: list[AccountProblem] = field(default_factory=list)
    asked: list[HistoryQuery] = field(default_factory=list)
    synced: int = 0
    rows: list[CoinBalance] = field(default_factory=list)

    def coins(self) -> Sequence[CoinBalance]:
        """Hold what the test set."""
        return self.rows

    def margin(self) -> MarginBalance | None:
        """Know of nothing."""
        return None

    def uncommitted(self) -> int:
        """Count what waits."""
        return self.rows_in_memory + self.rows_on_disk

    async def sync(self) -> Synced:
        """Find nothing new."""
        self.synced += 1
        return Synced(self.name, 0, [], [], is_stored=True)

    async def coin_history(self, query: HistoryQuery) -> list[CoinBalance]:
        """Remember what was asked for."""
        self.asked.append(query)
        return []

    async def margin_history(self, query: HistoryQuery) -> list[MarginBalance]:
        """Remember what was asked for."""
        self.asked.append(query)
        return []

    def problems(self) -> Sequence[AccountProblem]:
        """Tell what the test set."""
        return self.told

    def figures(self) -> AccountFigures:
        """Tell what the test set."""
        return AccountFigures(
            self.rows_in_memory, self.rows_on_disk, self.spool_bytes, self.watermark_ages
        )
