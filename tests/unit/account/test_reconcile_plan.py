"""What is asked of REST, and what its rows prove."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_gateway.account.recent import OrderBook, RecentIds, id_digest
from ws_gateway.account.reconcile_plan import (
    LAG_MS,
    OVERLAP_MS,
    WINDOW_MS,
    Row,
    RowHead,
    newest_orders,
    next_mark,
    order_queries,
    slices,
    torn_moments,
    windows,
)
from ws_gateway.domain.mark import Mark
from ws_gateway.domain.private_list import Listing, ListPage
from ws_gateway.domain.topic import Category

NOW = 1_790_000_000_000
PAGE = ListPage((), "", NOW, NOW * 1000, "0" * 32)


def order(**fields: str) -> bytes:
    """Write what is read of an order."""
    return msgspec.json.encode(
        {"orderId": "1", "orderStatus": "New", "cumExecQty": "0", "updatedTime": "100", **fields}
    )


@given(st.integers(0, NOW), st.integers(0, 90 * 86_400_000))
def test_windows_cover_every_moment_and_none_is_longer_than_seven_days(
    since: int, age: int
) -> None:
    """Neighbours share their ends, and the last reaches to now or beyond."""
    spans = windows(since, since + age)
    assert spans[0][0] == since
    assert spans[-1][1] >= since + age
    assert all(end - start <= WINDOW_MS for start, end in spans)
    assert all(end == start for (_, end), (start, _) in pairwise(spans))


@given(st.integers(0, NOW), st.integers(0, WINDOW_MS))
def test_slices_cover_every_moment_of_what_is_left(start: int, length: int) -> None:
    """However short it is."""
    spans = slices(start, start + length)
    assert spans[0][0] == start
    assert spans[-1][1] == start + length
    assert all(end == begin for (_, end), (begin, _) in pairwise(spans))
    assert all(begin <= end for begin, end in spans)


@given(st.data())
def test_reading_torn_moments_again_finds_what_unstable_pages_hid(data: st.DataObject) -> None:
    """Rows of one moment come in another order per page; together nothing is missing."""
    times = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=40))
    rows = sorted(enumerate(times), key=lambda row: -row[1])
    size = data.draw(st.integers(2, 6))
    pages: list[list[tuple[int, int]]] = []
    for start in range(0, len(rows), size):
        # The venue sorts anew for each page, and counts off what was told.
        shuffled = data.draw(st.permutations(rows))
        pages.append(sorted(shuffled, key=lambda row: -row[1])[start : start + size])
    found = {row for page in pages for row in page}
    for moment in torn_moments([[at for _, at in page] for page in pages]):
        found |= {row for row in rows if row[1] == moment}
    assert found == set(rows)


@given(
    st.lists(st.tuples(st.integers(NOW - 2 * LAG_MS, NOW), st.binary(min_size=8, max_size=8))),
    st.integers(NOW - 2 * LAG_MS, NOW),
)
def test_a_mark_never_goes_back_nor_beyond_what_was_read(
    told: list[tuple[int, bytes]], before: int
) -> None:
    """It keeps all of the overlap in mind, so that the next process knows it again."""
    newest = max((at for at, _ in told), default=0)
    mark = next_mark(
        Mark("order", "linear", before), "order", "linear",
        started=NOW, told=told, newest=newest,
    )  # fmt: skip
    assert before <= mark.through <= NOW
    assert mark.through >= NOW - LAG_MS
    assert mark.seen == {digest for at, digest in told if at >= mark.through - OVERLAP_MS}


def test_a_list_that_lags_does_not_move_the_mark_past_what_it_told() -> None:
    """The newest row proves how far it is, up to the longest lag that is reckoned with."""
    old = Mark("execution", "spot", NOW - 60_000)
    mark = next_mark(old, "execution", "spot", started=NOW, told=[], newest=NOW - 30_000)
    assert mark.through == NOW - 30_000
    assert next_mark(old, "execution", "spot", started=NOW, told=[], newest=0) == old


def test_a_topic_that_is_new_lacks_nothing_of_before() -> None:
    """Its mark begins where it did."""
    assert next_mark(None, "order", "spot", started=NOW, told=[], newest=0).through == NOW


@pytest.mark.parametrize(
    ("told", "later"),
    [
        ({}, {"updatedTime": "101"}),
        ({}, {"cumExecQty": "0.1"}),
        ({"cumExecQty": "0.50"}, {"orderStatus": "Cancelled", "cumExecQty": "0.5"}),
        ({"orderStatus": "Untriggered"}, {"orderStatus": "Triggered", "updatedTime": "101"}),
    ],
)
def test_an_older_state_of_an_order_is_known_as_such(
    told: dict[str, str], later: dict[str, str]
) -> None:
    """By time, then by what is filled, then by whether it lives."""
    book = OrderBook()
    book.note("spot", order(**told))
    assert not book.is_outdated("spot", order(**told))
    assert not book.is_outdated("spot", order(**{**told, **later}))
    assert not book.is_outdated("linear", order(updatedTime="1"))
    book.note("spot", order(**{**told, **later}))
    assert book.is_outdated("spot", order(**told))
    book.note("spot", order(**told))  # the stream tells it late
    assert book.is_outdated("spot", order(**told))


def test_an_order_that_is_closed_stays_closed_whatever_a_list_says() -> None:
    """Lists are read one after the other."""
    book = OrderBook()
    book.note("spot", order(orderStatus="Filled", cumExecQty="1"))
    assert book.is_outdated("spot", order(updatedTime="200"))
    assert book.open_ids("spot", 1000) == set()


def test_orders_that_live_are_named_until_they_close() -> None:
    """By product line, and only those that were told long enough ago."""
    book = OrderBook()
    book.note("spot", order(orderId="a"))
    book.note("spot", order(orderId="b", updatedTime="300"))
    book.note("linear", order(orderId="c"))
    assert book.open_ids("spot", 200) == {"a"}
    book.note("spot", order(orderId="a", orderStatus="Filled", updatedTime="150"))
    assert book.open_ids("spot", 1000) == {"b"}


def test_memories_are_bounded() -> None:
    """The oldest goes first."""
    ids = RecentIds(most=2)
    ids.seed([b"1", b"2", b"3"])
    assert [each in ids for each in (b"1", b"2", b"3")] == [False, True, True]
    book = OrderBook(most=2)
    for number in "123":
        book.note("spot", order(orderId=number))
    assert book.open_ids("spot", 1000) == {"2", "3"}


def test_a_fact_has_one_digest_on_every_topic_that_tells_it() -> None:
    """The topic's key stands before it."""
    assert id_digest("private:order:x:1", "private:order") == id_digest(
        "private:order.spot:x:1", "private:order.spot"
    )


def test_lists_that_overlap_yield_the_newest_state_of_an_order() -> None:
    """Whichever list told it."""
    rows = [
        Row(
            msgspec.Raw(b"{}"), RowHead(order_id="1", updated_time=at, order_status="New"), PAGE,
            Category.SPOT, 1,
        )
        for at in ("2", "9", "5")
    ]  # fmt: skip
    assert newest_orders(rows)["1"].head.updated_time == "9"


def test_linear_orders_are_listed_by_settle_coin_where_the_venue_asks_for_it() -> None:
    """The history is not."""
    asked = order_queries(Listing.OPEN_ORDERS, Category.LINEAR)
    assert [query.narrowed for query in asked] == [("settleCoin", "USDT"), ("settleCoin", "USDC")]
    assert order_queries(Listing.ORDER_HISTORY, Category.LINEAR)[0].narrowed is None
