"""One reading over REST of what subscribed private topics may have missed; applies nothing."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from ws_gateway.account.list_reader import ListReader, all_of
from ws_gateway.account.reconcile_plan import (
    OVERLAP_MS,
    Row,
    execution_queries,
    newest_orders,
    option_coins,
    order_queries,
    position_queries,
)
from ws_gateway.account.stage import AccountStage
from ws_gateway.account.wallets import read_wallet
from ws_gateway.account_ports import WalletSource
from ws_gateway.domain.balance import BrokenRule
from ws_gateway.domain.event import Observation
from ws_gateway.domain.mark import Mark
from ws_gateway.domain.private_list import Listing, ListQuery
from ws_gateway.domain.topic import PRIVATE_CATEGORIES, Category, Channel, Topic
from ws_gateway.errors import Rejected, VenueLost

RECONCILED = frozenset(
    {
        Channel.ORDER,
        Channel.EXECUTION,
        Channel.EXECUTION_FAST,
        Channel.POSITION,
        Channel.BALANCE,
    }
)
"""Channels whose facts REST tells too."""

_EXECUTIONS = frozenset({Channel.EXECUTION, Channel.EXECUTION_FAST})
_FEW = 8
_COINS_PER_CALL = 20

MarkKey = tuple[str, str]
"""Topic's name and product line."""


@dataclass(slots=True)
class Found:
    """What a reading found of one topic in one product line.

    Attributes:
        rows: what may be news, in the order it happened.
        told: all that is proven to be delivered with it.
        newest: exchange time of the newest row of the list, 0 without any.
        living: open orders or positions at the end of the reading.
    """

    topic: Topic
    category: str
    rows: list[Row]
    newest: int = 0
    living: frozenset[str] = frozenset()


@dataclass(slots=True)
class Reading:
    """One reading; `run` fills it.

    Args:
        topics: what is to be read.
        marks: how far each was delivered.
        started: the venue's time now, ms.
        coins: base coins whose options are known to be of interest.
        given_up: orders that are not looked for any more.

    Attributes:
        found: what there is, topic by topic.
        wallets: wallets as REST tells them.
        faults: why a part could not be read, by its name.
        failed: topics of those parts.
        unresolved: orders that lived and are in no list.
        retry_after: how long the venue wants to be left alone, seconds.
    """

    reader: ListReader
    wallet_source: WalletSource
    stage: AccountStage
    topics: Sequence[Topic]
    marks: Mapping[MarkKey, Mark]
    started: int
    coins: Sequence[str]
    given_up: AbstractSet[str] = frozenset()
    found: list[Found] = field(default_factory=list)
    wallets: list[Observation] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    failed: set[Topic] = field(default_factory=set)
    unresolved: set[str] = field(default_factory=set)
    retry_after: float = 0.0
    _executed: dict[Category, list[Row]] = field(default_factory=dict)

    async def run(self) -> None:
        """Read everything, in parts that do not fail each other."""
        work = []
        positions = self._of({Channel.POSITION})
        for category in PRIVATE_CATEGORIES[Channel.ORDER]:
            orders = _in_category(self._of({Channel.ORDER}), category)
            executions = _in_category(self._of(_EXECUTIONS), category)
            traded = _in_category(positions, category) if category in _POSITIONED else []
            if orders:
                work.append(self._part(f"{category} orders", orders, self._orders(category)))
            if executions or traded:
                name = f"{category} executions"
                users = [*executions, *traded]
                work.append(self._part(name, users, self._executions(category, users)))
        wallets = self._of({Channel.BALANCE})
        if wallets:
            work.append(self._part("wallet", wallets, self._wallet()))
        listed: dict[Category, list[Row]] = {}
        for category in _POSITIONED:
            if users := _in_category(positions, category):
                reading = self._listed_positions(category, listed)
                work.append(self._part(f"{category} positions", users, reading))
        await all_of(work)
        left = [topic for topic in positions if topic not in self.failed]
        if left:
            await self._part("closed positions", left, self._positions(left, listed))

    async def _part(
        self, name: str, users: Iterable[Topic], work: Coroutine[Any, Any, None]
    ) -> None:
        try:
            await work
        except (VenueLost, Rejected) as exc:
            self.faults[name] = str(exc)
            self.failed.update(users)
            if isinstance(exc, VenueLost):
                self.retry_after = max(self.retry_after, exc.retry_after_seconds or 0.0)

    def _of(self, channels: Iterable[Channel]) -> list[Topic]:
        wanted = set(channels)
        return [topic for topic in self.topics if topic.channel in wanted]

    def _since(self, topic: Topic, category: str) -> int:
        """Say from when on a topic may lack something; a new one lacks nothing yet."""
        mark = self.marks.get((topic.name, category))
        return self.started if mark is None else mark.through - OVERLAP_MS

    # ── executions ────────────────────────────────────────────────────────────────────────────

    async def _executions(self, category: Category, users: Sequence[Topic]) -> None:
        since = min(self._since(topic, _line(topic, category)) for topic in users)
        coins = option_coins(self._option_symbols(), self.coins)
        read = await all_of(
            self.reader.span(query, since, self.started)
            for query in execution_queries(category, coins)
        )
        known: dict[tuple[str, str], Row] = {}
        for row in (row for rows in read for row in rows):  # pages and slices overlap
            known.setdefault((row.head.symbol, row.head.exec_id), row)
        rows = sorted(known.values(), key=_execution_order)
        self._executed[category] = rows
        newest = max((row.at_ms for row in rows), default=0)
        for topic in users:
            if topic.channel in _EXECUTIONS:
                own = self._since(topic, category)
                is_fast = topic.channel is Channel.EXECUTION_FAST
                told = [
                    row
                    for row in rows
                    if row.at_ms >= own and (not is_fast or row.head.exec_type == "Trade")
                ]
                self.found.append(Found(topic, category, told, newest))

    def _option_symbols(self) -> set[str]:
        marked = {place for mark in self.marks.values() for place in mark.living}
        told = {
            symbol
            for topic in self._of({Channel.POSITION})
            for category, symbol, _ in self.stage.positions[topic.key].living()
            if category == Category.OPTION
        }
        stored = {place.split(":")[1] for place in marked if place.startswith("option:")}
        return told | stored

    # ── orders ────────────────────────────────────────────────────────────────────────────────

    async def _orders(self, category: Category) -> None:
        """Read those that live, those closed since, and what became of those that lived before."""
        topics = _in_category(self._of({Channel.ORDER}), category)
        since = min(self._since(topic, category) for topic in topics)
        chain, span = self.reader.chain, self.reader.span
        lists = await all_of(
            [
                *(chain(each) for each in order_queries(Listing.OPEN_ORDERS, category)),
                *(
                    chain(each, until=since)
                    for each in order_queries(Listing.RECENT_ORDERS, category)
                ),
                *(
                    span(each, since, self.started)
                    for each in order_queries(Listing.ORDER_HISTORY, category)
                ),
            ]
        )
        rows = [row for part in lists for row in part]
        newest = max((row.at_ms for row in lists[-1]), default=0)
        lived: set[str] = set()
        for topic in topics:
            mark = self.marks.get((topic.name, category))
            lived |= mark.living if mark is not None else set()
            lived |= self.stage.orders[topic.key].open_ids(category, self.started)
        lived -= self.given_up
        rows += await self._look_up(category, lived, {row.head.order_id for row in rows})
        orders = newest_orders(rows)
        lost = lived - orders.keys()
        self.unresolved |= lost
        living = frozenset({name for name, row in orders.items() if row.head.is_open} | lost)
        for topic in topics:
            own = self._since(topic, category)
            told = [
                row
                for row in sorted(orders.values(), key=_order_order)
                if row.head.is_open
                or row.head.order_id in lived
                or max(row.at_ms, row.head.updated_ms) >= own
            ]
            self.found.append(Found(topic, category, told, newest, living))

    async def _look_up(self, category: Category, lived: set[str], known: set[str]) -> list[Row]:
        """Ask for orders that lived and are in no list: they may be as old as they like."""
        missing = lived - known
        rows: list[Row] = []
        if len(missing) > _FEW:
            recent = await all_of(
                self.reader.chain(each) for each in order_queries(Listing.RECENT_ORDERS, category)
            )
            rows = [row for part in recent for row in part if row.head.order_id in missing]
            missing -= {row.head.order_id for row in rows}
        found = await all_of(self._one_order(category, order_id) for order_id in sorted(missing))
        return [*rows, *(row for part in found for row in part)]

    async def _one_order(self, category: Category, order_id: str) -> list[Row]:
        for listing in (Listing.OPEN_ORDERS, Listing.ORDER_HISTORY):
            query = ListQuery(listing, category, ("orderId", order_id))
            rows = [row for row in await self.reader.chain(query) if row.head.order_id == order_id]
            if rows:
                return rows
        return []

    # ── positions ─────────────────────────────────────────────────────────────────────────────

    async def _listed_positions(
        self, category: Category, listed: dict[Category, list[Row]]
    ) -> None:
        read = await all_of(self.reader.settled(each) for each in position_queries(category))
        listed[category] = [row for rows in read for row in rows]

    async def _positions(
        self, topics: Sequence[Topic], listed: Mapping[Category, list[Row]]
    ) -> None:
        """Add what lists leave out: flat ones that lived before, or were traded meanwhile."""
        lived: set[tuple[str, str, int]] = set()
        for topic in topics:
            lived |= self.stage.positions[topic.key].living()
            mark = self.marks.get((topic.name, ""))
            lived |= {_place(text) for text in mark.living} if mark is not None else set()
        rows = {category: list(listed.get(category, ())) for category in _POSITIONED}
        work = []
        for category in _POSITIONED:
            if category not in listed:
                continue
            there = {(row.head.symbol, row.head.position_idx) for row in rows[category]}
            one_way = {symbol for symbol, index in there if index == 0}
            asked = {symbol for of, symbol, index in lived
                     if of == category and (symbol, index) not in there}  # fmt: skip
            asked |= {row.head.symbol for row in self._executed.get(category, ())} - one_way
            work += [self._positions_of(category, symbol, rows) for symbol in sorted(asked)]
        await all_of(work)
        executed = [row.at_ms for part in self._executed.values() for row in part]
        for topic in topics:
            own = [row for category in _categories(topic) for row in rows[category]]
            living = frozenset(
                f"{row.category}:{row.head.symbol}:{row.head.position_idx}"
                for row in own
                if not row.head.is_flat
            )
            self.found.append(Found(topic, "", own, max(executed, default=0), living))

    async def _positions_of(
        self, category: Category, symbol: str, rows: dict[Category, list[Row]]
    ) -> None:
        try:
            rows[category] += await self.reader.chain(
                ListQuery(Listing.POSITIONS, category, ("symbol", symbol))
            )
        except Rejected as exc:  # expired, and so of no interest any more
            self.faults[f"position {symbol}"] = str(exc)

    # ── wallet ────────────────────────────────────────────────────────────────────────────────

    async def _wallet(self) -> None:
        known = self.stage.balances.held()
        wallets = list(await self.wallet_source.wallet())
        named: set[str] = set()
        for fact in wallets:
            try:
                reading = read_wallet(fact.payload)
            except BrokenRule:
                continue  # the stage puts it into quarantine
            named.update(reading.coins, reading.empty)
        # Coins that went to zero are not told unless they are asked for (v5 reference 11.6).
        gone = sorted(known - named)
        for start in range(0, len(gone), _COINS_PER_CALL):
            wallets += await self.wallet_source.wallet(gone[start : start + _COINS_PER_CALL])
        self.wallets = wallets


_POSITIONED = PRIVATE_CATEGORIES[Channel.POSITION]


def _categories(topic: Topic) -> tuple[Category, ...]:
    return PRIVATE_CATEGORIES[topic.channel] if topic.category is None else (topic.category,)


def _in_category(topics: Iterable[Topic], category: Category) -> list[Topic]:
    return [topic for topic in topics if category in _categories(topic)]


def _line(topic: Topic, category: Category) -> str:
    return "" if topic.channel is Channel.POSITION else category


def _execution_order(row: Row) -> tuple[int, int, str]:
    seq = row.head.seq
    return row.at_ms, seq if isinstance(seq, int) else 0, row.head.exec_id


def _order_order(row: Row) -> tuple[int, int]:
    return row.head.updated_ms, row.at_ms


def _place(text: str) -> tuple[str, str, int]:
    category, symbol, index = text.rsplit(":", 2)
    return category, symbol, int(index)
