"""Positions that REST's lists leave out: flat ones that lived before, or were traded meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from secrets import token_hex

from ws_gateway.account.list_reader import ListReader, all_of
from ws_gateway.account.position_book import PositionBook
from ws_gateway.account.reconcile_plan import LAG_MS, Row, flat_row, position_queries
from ws_gateway.domain.mark import Mark
from ws_gateway.domain.private_list import Listing, ListPage, ListQuery
from ws_gateway.domain.topic import Category
from ws_gateway.errors import Rejected
from ws_gateway.runtime.clock import clock_us

_UNKNOWN_SYMBOL = "venue_parameter_refused"

Lived = dict[tuple[str, int], tuple[int, int]]
"""By symbol and index: sequence and exchange time, ms, of what was told last; -1 and 0 without."""


async def listed_positions(reader: ListReader, category: Category) -> list[Row]:
    """Read the positions of a product line that are not flat. Raises `VenueLost`, `Rejected`."""
    read = await all_of(reader.settled(each) for each in position_queries(category))
    return [row for rows in read for row in rows]


def lived_positions(
    category: Category, books: Iterable[PositionBook], marks: Iterable[Mark]
) -> Lived:
    """Name the positions that were not flat when they were told last.

    Args:
        category: product line.
        books: what this process told.
        marks: what was told until they were stored.
    """
    lived: Lived = {}
    places = [
        (symbol, index, *book.newest(of, symbol, index))
        for book in books
        for of, symbol, index in book.living()
        if of == category
    ]
    places += [(*_place(text), 0) for mark in marks for text in mark.living]
    for symbol, index, seq, at in places:
        lived[symbol, index] = max((seq, at), lived.get((symbol, index), (-1, 0)))
    return lived


class ClosedPositions:
    """Asks by symbol for positions that are in no list; what lived and is not there is flat.

    Args:
        reader: reads lists.
        category: product line.
        lived: those that were not flat when they were told last.
        started: the venue's time when the reading began, ms.

    Attributes:
        doubtful: symbols told as open lately of which REST has no row: it may lag.
    """

    def __init__(self, reader: ListReader, category: Category, lived: Lived, started: int) -> None:
        self._reader = reader
        self._category = category
        self._lived = dict(lived)
        self._started = started
        self.doubtful: set[str] = set()

    async def read(self, listed: Sequence[Row], executed: Sequence[Row]) -> list[Row]:
        """Return rows of what is not listed and lived before, or was traded meanwhile.

        Raises:
            VenueLost, Rejected: not all of it could be read.
        """
        there = {(row.head.symbol, row.head.position_idx) for row in listed}
        one_way = {symbol for symbol, index in there if index == 0}
        asked = {symbol for symbol, index in self._lived if (symbol, index) not in there}
        asked |= {row.head.symbol for row in executed} - one_way
        for row in executed:
            for place in ((row.head.symbol, index) for index in (0, 1, 2)):
                if place in self._lived:
                    seq, at = self._lived[place]
                    self._lived[place] = (max(seq, row.head.whole_seq), at)
        left = {place: last for place, last in self._lived.items() if place not in there}
        further = await all_of(self._of_symbol(symbol, left) for symbol in sorted(asked))
        return [row for part in further for row in part]

    async def _of_symbol(self, symbol: str, left: Lived) -> list[Row]:
        """Ask for one symbol; what lived and is not there any more is flat.

        REST refuses a symbol that expired, and tells no row of a side that a change of mode ended.
        Nothing is called flat before REST said so twice; and where it does not refuse the symbol,
        but leaves out what was told lately, it may lag: that is doubtful for a while.
        """
        reader, category = self._reader, self._category
        rows: list[Row] = []
        is_refused = False
        gone: list[tuple[str, int]] | None = None
        while True:
            try:
                rows = await reader.chain(
                    ListQuery(Listing.POSITIONS, category, ("symbol", symbol))
                )
            except Rejected as exc:
                if exc.code != _UNKNOWN_SYMBOL:
                    raise
                rows, is_refused = [], True
            there = {(row.head.symbol, row.head.position_idx) for row in rows}
            now_gone = sorted(each for each in left if each[0] == symbol and each not in there)
            if not now_gone or now_gone == gone:
                break
            gone = now_gone
        if (Listing.POSITIONS, category) in reader.spoiled:
            return rows  # what is not there may be what could not be read
        now = reader.last_told_at or self._started
        if not is_refused and any(left[each][1] > now - LAG_MS for each in now_gone):
            self.doubtful.add(symbol)
            return rows
        page = ListPage((), "", now, clock_us(), token_hex(16))
        return [*rows, *(flat_row(category, *place, left[place][0], page) for place in now_gone)]


def _place(text: str) -> tuple[str, int, int]:
    """Read symbol, index and sequence of a position in a mark; an older one has no sequence."""
    _, symbol, index, *seq = text.split(":")
    return symbol, int(index), int(seq[0]) if seq else -1
