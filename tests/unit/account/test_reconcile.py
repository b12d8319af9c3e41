"""What the stream missed is told from REST, once, in its place, and never before what is newer."""

from __future__ import annotations

import asyncio

import pytest

from support.account_desk import NOW_MS, position
from support.memory_lists import MemoryLists, MemoryMarks
from support.reconcile_room import (
    EXECUTION,
    ORDER,
    POSITION,
    Room,
    executed,
    execution,
    order,
    over_rest,
    until,
)
from ws_gateway.account.reconcile_plan import LAG_MS, OVERLAP_MS
from ws_gateway.domain.event import GapReason, Source
from ws_gateway.domain.private_list import Listing
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Channel, build_topic


@pytest.fixture
def lists() -> MemoryLists:
    """The venue's REST."""
    return MemoryLists()


@pytest.fixture
def marks() -> MemoryMarks:
    """The database."""
    return MemoryMarks()


async def test_executions_of_a_cut_are_told_between_gap_and_resumed(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """With the id the stream would have had, so that its own copy is a repeat."""
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        room.tell(EXECUTION, execution(1))
        with room.away(EXECUTION, ms=10):
            rows = executed(1, 2, 3)
            lists.add(Listing.EXECUTIONS, "linear", *rows)
        await room.done(2)
        room.tell(EXECUTION, execution(2))
        room.tell(EXECUTION, execution(4))
    assert room.told(EXECUTION) == [
        "gap restart", "resumed restart", "stream e1", "gap disconnect", "rest e2", "rest e3",
        "resumed disconnect", "stream e4",
    ]  # fmt: skip
    assert room.details(EXECUTION)[-1] == "reconciled over REST: 2 execution"
    assert room.counters.suppressed["duplicate"] == 2
    assert room.counters.reconciled == {"execution": 2}
    assert room.counters.differing == {}
    told = room.events(EXECUTION)[1].observation
    assert (told.event_id, told.category) == ("private:execution:linear:BTCUSDT:e2", "linear")


async def test_the_stream_is_not_held_back_while_rest_is_read(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """Its events stand behind the gap marker; what REST tells older than they do is not told."""
    room = Room(lists, marks)
    room.tell(ORDER, order(at=NOW_MS))
    room.cut(ORDER)
    room.connect(ORDER)
    room.tell(ORDER, order(orderStatus="Filled", cumExecQty="1", updatedTime=str(NOW_MS + 9)))
    lists.add(
        Listing.OPEN_ORDERS, "linear",
        over_rest(order(orderStatus="PartiallyFilled", cumExecQty="0.5",
                        updatedTime=str(NOW_MS + 5))),
    )  # fmt: skip
    async with room.running():
        await room.done()
    assert room.told(ORDER)[-4:] == [
        "stream New", "gap disconnect", "stream Filled", "resumed disconnect",
    ]  # fmt: skip
    assert room.counters.suppressed["outdated"] == 1


async def test_the_last_state_of_orders_is_told_whatever_list_has_it(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """Open, closed lately, in the history, or of old and known only by its id."""
    room = Room(lists, marks)
    old = order("old", at=NOW_MS - 90 * 86_400_000)
    async with room.flowing(ORDER):
        room.tell(ORDER, old)
        with room.away(ORDER, ms=60):
            closed = {"orderStatus": "Filled", "cumExecQty": "1", "updatedTime": str(NOW_MS + 50)}
            lists.add(Listing.OPEN_ORDERS, "linear", over_rest(order("open", NOW_MS + 10)))
            lists.add(
                Listing.RECENT_ORDERS, "linear", over_rest(order("late", NOW_MS + 20, **closed))
            )
            lists.add(
                Listing.ORDER_HISTORY, "linear", over_rest(order("past", NOW_MS + 30, **closed))
            )
            lists.add(Listing.ORDER_HISTORY, "linear", over_rest({**old, **closed}))
        await room.done(2)
        told = {event.observation.event_id.split(":")[3] for event in room.events(ORDER)[1:]}
        assert told == {"open", "late", "past", "old"}
        await until(lambda: marks.marks[("order", "linear")].living == {"open"})
    looked_up = [query.narrowed for query, _ in lists.asked if query.narrowed == ("orderId", "old")]
    assert looked_up == [("orderId", "old")] * 2


async def test_pages_are_followed_by_cursors_that_go_back_as_they_came(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """All are read, in order of time, and none twice."""
    room = Room(lists, marks)
    rows = [over_rest(execution(number, NOW_MS + number // 7)) for number in range(1050)]
    async with room.flowing(EXECUTION):
        with room.away(EXECUTION, ms=1000):
            lists.add(Listing.EXECUTIONS, "linear", *rows)
        await room.done(2)
    told = [event.observation.event_id for event in room.events(EXECUTION)]
    assert told == [f"private:execution:linear:BTCUSDT:e{number}" for number in range(1050)]
    cursors = {cursor for _, cursor in lists.asked}
    assert "at%3A100" in cursors
    assert all(cursor == "" or cursor.startswith("at%3A") for cursor in cursors)


async def test_a_killed_process_is_followed_by_one_that_reads_from_the_mark(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """What was delivered before is known again; what was not is told."""
    first = Room(lists, marks)
    async with first.flowing(EXECUTION):
        with first.away(EXECUTION, ms=10):
            lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(1, NOW_MS + 5)))
        await until(lambda: bool(marks.marks[("execution", "linear")].seen))
    assert marks.marks[("execution", "linear")].through == NOW_MS + 5
    lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(2, NOW_MS + 6)))
    second = Room(lists, marks)
    async with second.running():
        second.connect(EXECUTION)
        await second.done()
    assert second.told(EXECUTION) == ["gap restart", "rest e2", "resumed restart"]
    starts = {query.category: query.start or 0 for query, _ in lists.asked[-4:]}
    assert starts.pop(Category.LINEAR) == NOW_MS + 5 - OVERLAP_MS
    assert all(0 <= NOW_MS - OVERLAP_MS - start < OVERLAP_MS for start in starts.values())


async def test_a_mark_is_not_stored_before_all_that_was_read_is_delivered(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """So that a killed process leaves a mark behind which nothing is missing."""
    room = Room(lists, marks)
    room.receipts.is_safe = False
    async with room.flowing(EXECUTION):
        room.cut(EXECUTION)
        room.connect(EXECUTION)
        await room.done(2)
        assert marks.marks == {}
        room.receipts.is_safe = True
        await until(lambda: len(marks.marks) == 4)


async def test_without_the_database_nothing_is_called_complete(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """Nobody knows from when on something may be missing; the stream flows, and says so."""
    room = Room(lists, marks)
    marks.is_away = True
    async with room.running():
        room.connect(EXECUTION)
        await until(lambda: room.counters.reconciliations["failed"])
        room.tell(EXECUTION, execution(1))
        (problem,) = room.reconciliation.problems()
        assert problem.code == "not_reconciled"
        assert "switched off" in problem.detail
        assert lists.asked == []
        marks.is_away = False
        await room.done()
        assert room.reconciliation.problems() == []
    # The second says that nothing is missing after all.
    assert room.told(EXECUTION) == [
        "gap restart", "resumed restart", "stream e1", "resumed restart",
    ]  # fmt: skip
    assert room.completes(EXECUTION) == [False, True]


async def test_a_failing_rest_is_said_in_resumed_and_tried_until_it_answers(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """The stream goes on meanwhile, and what was missed comes late instead of never."""
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        room.tell(EXECUTION, execution(1))
        room.cut(EXECUTION)
        lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(2, NOW_MS + 2)))
        lists.now_ms += 10
        lists.failures = 40
        room.connect(EXECUTION)
        await until(lambda: len(room.details(EXECUTION)) == 2)
        assert "could not be read" in room.details(EXECUTION)[-1]
        assert "switched off" in room.details(EXECUTION)[-1]
        room.tell(EXECUTION, execution(3))
        lists.failures = 0
        await room.done(2)
    assert room.told(EXECUTION)[-4:] == [
        "resumed disconnect", "stream e3", "rest e2", "resumed disconnect",
    ]  # fmt: skip
    assert room.completes(EXECUTION)[-2:] == [False, True]


async def test_a_page_that_fails_once_is_asked_for_again(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """And the reading is none the worse."""
    room = Room(lists, marks)
    lists.failures = 2
    async with room.running():
        room.connect(EXECUTION)
        await room.done()
    assert room.counters.reconciliations == {"done": 1}


async def test_what_the_stream_lost_without_a_word_is_found_by_the_clock_and_counted(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """A difference that no break explains has a counter of its own."""
    room = Room(lists, marks, every_seconds=0.05)
    async with room.flowing(EXECUTION):
        room.tell(EXECUTION, execution(1, NOW_MS + 1))
        lists.add(
            Listing.EXECUTIONS, "linear",
            *(over_rest(execution(number, NOW_MS + number)) for number in (1, 2)),
        )  # fmt: skip
        lists.now_ms += 10
        await until(lambda: room.counters.differing["execution"])
    assert room.told(EXECUTION)[-2:] == ["stream e1", "rest e2"]
    assert room.counters.differing == {"execution": 1}


async def test_only_what_is_subscribed_is_read(lists: MemoryLists, marks: MemoryMarks) -> None:
    """A topic of one product line asks for no other."""
    room = Room(lists, marks)
    async with room.running():
        room.connect(build_topic(Channel.EXECUTION, category=Category.SPOT))
        await room.done()
    assert {(query.listing, query.category) for query, _ in lists.asked} == {
        (Listing.EXECUTIONS, Category.SPOT)
    }


async def test_fast_executions_are_told_trades_alone(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """As on the stream."""
    fast = build_topic(Channel.EXECUTION_FAST)
    room = Room(lists, marks)
    async with room.flowing(fast):
        room.cut(fast)
        lists.add(
            Listing.EXECUTIONS, "linear", over_rest(execution(1, execType="Funding")),
            over_rest(execution(2)),
        )  # fmt: skip
        room.connect(fast)
        await room.done(2)
    assert [word for word in room.told(fast) if word.startswith("rest")] == ["rest e2"]


async def test_positions_that_were_closed_meanwhile_are_told_flat(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """Lists leave them out, so they are asked for by symbol; a restart makes no difference."""
    first = Room(lists, marks)
    row = over_rest(position(settleCoin="USDT"))
    lists.add(Listing.POSITIONS, "linear", row)
    async with first.running():
        first.connect(POSITION)
        await until(lambda: any(mark.living for mark in marks.marks.values()))
    assert marks.marks[("position", "linear")].living == {"linear:BTCUSDT:0:100"}
    assert first.events(POSITION)[0].observation.source is Source.REST
    lists.rows.clear()
    flat = {"size": "0", "side": "", "seq": 101, "settleCoin": "none"}
    lists.add(Listing.POSITIONS, "linear", over_rest(position(**flat)))
    second = Room(lists, marks)
    async with second.running():
        second.connect(POSITION)
        await second.done()
    told = [event.observation.payload for event in second.events(POSITION)]
    assert [b'"size":"0"' in payload for payload in told] == [True]


async def test_a_topic_that_is_dropped_and_wanted_again_begins_anew(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """What happened while nobody wanted it is nobody's concern."""
    room = Room(lists, marks)
    async with room.running():
        room.connect(EXECUTION)
        await until(lambda: len(marks.marks) == 4)
        room.front.topic_changed(EXECUTION, SubscriptionState.REMOVED, None)
        await until(lambda: not marks.marks)
        lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(1, NOW_MS + LAG_MS)))
        lists.now_ms += 2 * LAG_MS
        room.connect(EXECUTION)
        await room.done(2)
    assert room.events(EXECUTION) == []


async def test_a_frame_that_could_not_be_read_is_made_up_for(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """The socket lives on, so nothing has to be acknowledged before."""
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        room.tell(EXECUTION, execution(1))
        lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(2)))
        room.front.break_streams([EXECUTION], GapReason.SEQUENCE, "a frame could not be read")
        await room.done(2)
    assert room.told(EXECUTION)[-3:] == ["gap sequence", "rest e2", "resumed sequence"]


async def test_what_finds_no_room_is_told_by_a_later_reading(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """Its id is forgotten, and no mark moves past it."""
    room = Room(lists, marks)
    async with room.running():
        room.connect(EXECUTION)
        await until(lambda: len(marks.marks) == 4)
        await room.done()
        room.cut(EXECUTION)
        lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(1, NOW_MS + 1)))
        lists.now_ms += 10
        room.outlet.room[EXECUTION.lane] = 0
        room.connect(EXECUTION)
        await until(lambda: room.counters.reconciliations["failed"])
        assert marks.marks[("execution", "linear")].through <= NOW_MS
        room.outlet.room.clear()
        await room.done(2)
    assert "rest e1" in room.told(EXECUTION)


async def test_an_order_that_no_list_names_is_looked_for_a_few_times(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """Then it is called unresolved, and no mark names it any more."""
    room = Room(lists, marks, every_seconds=0.02)
    async with room.flowing(ORDER):
        room.tell(ORDER, order("gone", NOW_MS - 5))
        lists.now_ms += 10
        await until(lambda: "gone" in marks.marks[("order", "linear")].living)
        await until(lambda: "gone" not in marks.marks[("order", "linear")].living)
    looks = [query for query, _ in lists.asked if query.narrowed == ("orderId", "gone")]
    assert len(looks) == 10  # among those that live and in the history, five times


async def test_a_topic_that_nobody_wants_gets_no_marker(
    lists: MemoryLists, marks: MemoryMarks
) -> None:
    """Whoever wants it again is told then."""
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        room.tell(EXECUTION, execution(1))
        room.front.break_streams([EXECUTION], GapReason.RESUBSCRIBE, "x", is_announced=False)
        room.front.topic_changed(EXECUTION, SubscriptionState.REMOVED, None)
        await until(lambda: not marks.marks)
    assert room.told(EXECUTION)[-1] == "stream e1"


async def test_what_rest_tells_leaves_room_for_what_the_stream_tells() -> None:
    """A reading waits while delivery has none to spare; the stream's own events go on."""
    lists = MemoryLists()
    room = Room(lists, MemoryMarks())
    async with room.flowing(EXECUTION):
        rows = executed(*range(5))
        lists.add(Listing.EXECUTIONS, "linear", *rows)
        room.receipts.has_ease = False
        room.cut(EXECUTION)
        room.connect(EXECUTION)
        await asyncio.sleep(0.1)
        room.tell(EXECUTION, execution(9))
        assert [word for word in room.told(EXECUTION) if " e" in word] == ["stream e9"]
        room.receipts.has_ease = True
        await room.done(2)
    told = [word for word in room.told(EXECUTION) if " e" in word]
    assert told == ["stream e9", *(f"rest e{number}" for number in range(5))]
