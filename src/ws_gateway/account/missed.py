"""One reading over REST of what subscribed private topics may have missed; applies nothing."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from ws_gateway.account.list_reader import ListReader, all_of
from ws_gateway.account.mark_book import MarkKey
from ws_gateway.account.missed_orders import look_up, read_orders
from ws_gateway.account.missed_positions import (
    ClosedPositions,
    listed_positions,
    lived_positions,
)
from ws_gateway.account.reconcile_plan import (
    OVERLAP_MS,
    POSITIONED,
    Row,
    execution_queries,
    lines,
    option_coins,
)
from ws_gateway.account.stage import AccountStage
from ws_gateway.account.whole_wallet import read_whole_wallet
from ws_gateway.domain.event import Observation
from ws_gateway.domain.mark import Mark
from ws_gateway.domain.private_list import Listing
from ws_gateway.domain.topic import PRIVATE_CATEGORIES, Category, Channel, Topic
from ws_gateway.errors import Rejected, VenueLost
from ws_gateway.ports.account import WalletSource
from ws_gateway.runtime.clock import clock_us

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
_LISTED = {
    Channel.ORDER: {Listing.OPEN_ORDERS, Listing.RECENT_ORDERS, Listing.ORDER_HISTORY},
    Channel.EXECUTION: {Listing.EXECUTIONS},
    Channel.EXECUTION_FAST: {Listing.EXECUTIONS},
    Channel.POSITION: {Listing.EXECUTIONS, Listing.POSITIONS},
    Channel.BALANCE: set(),
}

Line = tuple[Topic, str]
"""A topic in one product line; that of the wallet has no name."""


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
        started: the venue's time now, ms; `run` sets it back to the first answer's, if that is
            earlier: our clock may have been wrong.
        floors: before when nothing was wanted, exchange time, ms.
        coins: base coins whose options are known to be of interest.
        given_up: orders that are not looked for any more.

    Attributes:
        found: what there is, topic by topic.
        wallets: wallets as REST tells them.
        wallets_asked_at: when REST was asked for them, our clock, µs.
        faults: why a part could not be read, by its name.
        failed: topics of those parts, each in its product line.
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
    floors: Mapping[MarkKey, int] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)
    wallets: list[Observation] = field(default_factory=list)
    wallets_asked_at: int | None = None
    faults: dict[str, str] = field(default_factory=dict)
    failed: set[Line] = field(default_factory=set)
    unresolved: set[str] = field(default_factory=set)
    retry_after: float = 0.0
    _executed: dict[Category, list[Row]] = field(default_factory=dict)

    async def run(self) -> None:
        """Read everything, in parts that do not fail each other."""
        self.reader.begin()
        work = []
        positions = self._of({Channel.POSITION})
        for category in PRIVATE_CATEGORIES[Channel.ORDER]:
            orders = _in_category(self._of({Channel.ORDER}), category)
            executions = _in_category(self._of(_EXECUTIONS), category)
            traded = _in_category(positions, category) if category in POSITIONED else []
            if orders:
                reading = self._orders(category)
                work.append(self._part(f"{category} orders", category, orders, reading))
            if executions or traded:
                name = f"{category} executions"
                users = [*executions, *traded]
                reading = self._executions(category, users)
                work.append(self._part(name, category, users, reading))
        wallets = self._of({Channel.BALANCE})
        if wallets:
            work.append(self._part("wallet", "", wallets, self._wallet()))
        listed: dict[Category, list[Row]] = {}
        for category in POSITIONED:
            if users := _in_category(positions, category):
                reading = self._listed_positions(category, listed)
                work.append(self._part(f"{category} positions", category, users, reading))
        await all_of(work)
        work = []
        for category, rows in listed.items():
            users = [
                topic
                for topic in _in_category(positions, category)
                if (topic, category.value) not in self.failed
            ]
            if users:
                reading = self._positions(category, users, rows)
                work.append(self._part(f"closed {category} positions", category, users, reading))
        await all_of(work)
        self._fail_spoiled()
        self.started = min(self.started, self.reader.first_told_at or self.started)

    def fail(self, part: str, fault: str, failed: Iterable[Line]) -> None:
        """Take note that a part is not complete, and why."""
        self.faults[part] = fault
        self.failed.update(failed)

    def _fail_spoiled(self) -> None:
        """Call no line complete whose rows cannot be read; those that can are told all the same."""
        for listing, category in self.reader.spoiled:
            self.fail(
                f"{category} {listing}",
                "rows that cannot be read are in quarantine",
                [
                    (topic, category.value)
                    for topic in _in_category(self.topics, category)
                    if listing in _LISTED[topic.channel]
                ],
            )

    async def _part(
        self, name: str, category: str, users: Iterable[Topic], work: Coroutine[Any, Any, None]
    ) -> None:
        try:
            await work
        except (VenueLost, Rejected) as exc:
            self.fail(name, str(exc), [(topic, str(category)) for topic in users])
            if isinstance(exc, VenueLost):
                self.retry_after = max(self.retry_after, exc.retry_after_seconds or 0.0)

    def _of(self, channels: Iterable[Channel]) -> list[Topic]:
        wanted = set(channels)
        return [topic for topic in self.topics if topic.channel in wanted]

    def _since(self, topic: Topic, category: str) -> int:
        """Say from when on a topic may lack something; a new one lacks nothing yet."""
        key = (topic.name, category)
        mark = self.marks.get(key)
        since = self.started if mark is None else mark.through - OVERLAP_MS
        return max(since, self.floors.get(key, 0))

    # ── executions ────────────────────────────────────────────────────────────────────────────

    async def _executions(self, category: Category, users: Sequence[Topic]) -> None:
        since = min(self._since(topic, category) for topic in users)
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
        rows, newest = await read_orders(self.reader, category, since, self.started)
        lived: set[str] = set()
        for topic in topics:
            mark = self.marks.get((topic.name, category))
            lived |= mark.living if mark is not None else set()
            lived |= self.stage.orders[topic.key].open_ids(category, self.started)
        lived -= self.given_up
        orders = await look_up(self.reader, category, lived, rows)
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

    # ── positions ─────────────────────────────────────────────────────────────────────────────

    async def _listed_positions(
        self, category: Category, listed: dict[Category, list[Row]]
    ) -> None:
        listed[category] = await listed_positions(self.reader, category)

    async def _positions(
        self, category: Category, topics: Sequence[Topic], listed: Sequence[Row]
    ) -> None:
        """Add what lists leave out."""
        books = [self.stage.positions[topic.key] for topic in topics]
        marks = [self.marks.get((topic.name, category)) for topic in topics]
        lived = lived_positions(category, books, [mark for mark in marks if mark is not None])
        closed = ClosedPositions(self.reader, category, lived, self.started)
        executed = self._executed.get(category, ())
        rows = [*listed, *await closed.read(listed, executed)]
        if closed.doubtful:
            named = ", ".join(sorted(closed.doubtful)[:5])
            self.fail(
                f"closed {category} positions",
                f"told as open lately, and REST has no row of {named}",
                [(topic, category.value) for topic in topics],
            )
        living = frozenset(
            f"{category}:{row.head.symbol}:{row.head.position_idx}:{row.head.whole_seq}"
            for row in rows
            if not row.head.is_flat
        )
        newest = max((row.at_ms for row in executed), default=0)
        self.found += [Found(topic, category, rows, newest, living) for topic in topics]

    # ── wallet ────────────────────────────────────────────────────────────────────────────────

    async def _wallet(self) -> None:
        self.wallets_asked_at = clock_us()
        held = self.stage.balances.held()
        self.wallets = await read_whole_wallet(self.wallet_source, held)


def _in_category(topics: Iterable[Topic], category: Category) -> list[Topic]:
    return [topic for topic in topics if category in lines(topic)]


def _execution_order(row: Row) -> tuple[int, int, str]:
    return row.at_ms, row.head.whole_seq, row.head.exec_id


def _order_order(row: Row) -> tuple[int, int]:
    return row.head.updated_ms, row.at_ms
