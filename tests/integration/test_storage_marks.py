"""How far private facts were delivered, in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.account_desk import NOW_MS
from ws_gateway.domain.mark import Mark
from ws_gateway.storage.database import open_pool
from ws_gateway.storage.marks import PostgresMarks
from ws_gateway.storage.statements import Statements

SEEN = frozenset({b"12345678", b"abcdefgh"})
LINEAR = Mark("execution", "linear", NOW_MS, SEEN, frozenset({"linear:BTCUSDT:0:7"}))
SPOT = Mark("execution", "spot", NOW_MS - 60_000, SEEN)
ORDERS = Mark("order", "linear", NOW_MS)


@pytest.fixture
async def marks(database_url: str) -> AsyncIterator[PostgresMarks]:
    """The store under test, with marks of two accounts."""
    pool = await open_pool(database_url)
    store = PostgresMarks(Statements(pool))
    await store.write("main", [LINEAR, SPOT, ORDERS])
    await store.write("hedge", [LINEAR])
    yield store
    await pool.close()


async def read(store: PostgresMarks, account: str = "main") -> dict[tuple[str, str], Mark]:
    """Read an account's marks."""
    return {(mark.topic, mark.category): mark for mark in await store.read(account)}


async def test_marks_come_back_as_they_were_written_and_a_late_write_sets_none_back(
    marks: PostgresMarks,
) -> None:
    """To the millisecond, with what was seen and what lived."""
    await marks.write("main", [Mark("execution", "linear", NOW_MS - 1)])
    found = await read(marks)
    assert found["execution", "linear"] == LINEAR
    assert found["execution", "spot"] == SPOT


async def test_what_was_lost_sets_marks_back_in_all_lines_of_its_topic_and_no_further(
    marks: PostgresMarks,
) -> None:
    """What was seen behind them is forgotten; what lived is not; others stay."""
    for at in (NOW_MS - 30_000, NOW_MS - 20_000):
        await marks.set_back("main", {"execution": at})
    found = await read(marks)
    linear, spot = found["execution", "linear"], found["execution", "spot"]
    assert (linear.through, linear.seen, linear.living) == (
        NOW_MS - 30_000, frozenset(), LINEAR.living,
    )  # fmt: skip
    assert (spot.through, spot.seen) == (SPOT.through, frozenset())
    assert found["order", "linear"] == ORDERS
    assert (await read(marks, "hedge"))["execution", "linear"] == LINEAR


async def test_a_mark_that_went_back_goes_forward_again(marks: PostgresMarks) -> None:
    """Once a reading has told what was lost."""
    await marks.set_back("main", {"execution": NOW_MS - 30_000})
    await marks.write("main", [LINEAR])
    assert (await read(marks))["execution", "linear"] == LINEAR


async def test_marks_of_a_dropped_topic_are_gone(marks: PostgresMarks) -> None:
    """Setting back what is not there does nothing."""
    await marks.drop("main", ["execution"])
    await marks.set_back("main", {"execution": NOW_MS})
    assert list(await read(marks)) == [("order", "linear")]
