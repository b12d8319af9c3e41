"""Ways in which the venue's lists fail those that read them, for tests of reconciliation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import msgspec

from support.account_desk import TRACE, WALLET, coin
from support.memory_lists import MemoryLists
from ws_gateway.domain.event import Observation, Source
from ws_gateway.domain.private_list import Listing, ListPage, ListQuery
from ws_gateway.domain.topic import Category
from ws_gateway.errors import Rejected
from ws_gateway.venue.observations import private_fact


class SlowLists(MemoryLists):
    """REST whose answers a test lets through.

    Attributes:
        may_answer: cleared, it is asked and does not answer; then it tells how things were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def page(self, query: ListQuery, cursor: str = "") -> ListPage:
        """Return a page, or fail, when it may."""
        try:
            return await super().page(query, cursor)
        finally:
            await self.may_answer.wait()


class RefusedLine(SlowLists):
    """REST that refuses lists of one product line for ever.

    Attributes:
        refusals: how often it did.
    """

    refused = frozenset({Listing.EXECUTIONS, Listing.POSITIONS})
    refusals = 0

    async def page(self, query: ListQuery, cursor: str = "") -> ListPage:
        """Return a page of the others."""
        if query.category is Category.OPTION and query.listing in self.refused:
            self.refusals += 1
            raise Rejected("Bybit refused with 10005", code="venue_permission_missing")
        return await super().page(query, cursor)


class HangingLine(MemoryLists):
    """REST that does not answer for one product line, until a test lets it.

    Attributes:
        may_answer: set, it answers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def page(self, query: ListQuery, cursor: str = "") -> ListPage:
        """Return a page of the others at once."""
        if query.category is Category.OPTION:
            await self.may_answer.wait()
        return await super().page(query, cursor)


class ExpiredSymbols(MemoryLists):
    """REST that knows no symbol any more, for a reason of one's choice."""

    code: str | None = None

    async def page(self, query: ListQuery, cursor: str = "") -> ListPage:
        """Return a page of what is not asked for by symbol."""
        if self.code is not None and query.narrowed is not None and query.narrowed[0] == "symbol":
            raise Rejected("Bybit refused with 10001 (symbol invalid)", code=self.code)
        return await super().page(query, cursor)


class ShuffledMoments(MemoryLists):
    """REST whose rows of one moment change places at every question."""

    def __init__(self) -> None:
        super().__init__()
        self._random = random.Random(3)

    async def page(self, query: ListQuery, cursor: str = "") -> ListPage:
        """Return a page of another order."""
        for rows in self.rows.values():
            self._random.shuffle(rows)
            rows.sort(key=lambda row: int(row.get("execTime") or 0))
        return await super().page(query, cursor)


class Wallets(MemoryLists):
    """REST with a wallet, which leaves out coins at zero unless they are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.coins = [coin("USDT", "100")]
        self.unknown: set[str] = set()

    async def wallet(self, coins: Sequence[str] = ()) -> list[Observation]:
        """Return it, or refuse a question that names a coin nobody knows."""
        if self.unknown & set(coins):
            raise Rejected("Bybit refused with 10001", code="venue_parameter_refused")
        empty = dict.fromkeys(coin(), "")
        told = [{**empty, "coin": name} for name in coins] or self.coins
        raw = msgspec.Raw(msgspec.json.encode({"accountType": "UNIFIED", "coin": told}))
        at = self.now_ms
        return [private_fact(WALLET, raw, at, at * 1000, TRACE, source=Source.REST)]
