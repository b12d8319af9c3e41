"""What was taken, called delivered, and lost all the same is read again, after a kill too."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from support.account_desk import NOW_MS, position
from support.memory_lists import MemoryLists, MemoryMarks
from support.reconcile_lists import SlowLists
from support.reconcile_room import (
    EXECUTION,
    ORDER,
    POSITION,
    Room,
    execution,
    order,
    over_rest,
    until,
)
from ws_gateway.account.front import PrivateFronts
from ws_gateway.account.mark_book import LOST_MS
from ws_gateway.domain.event import Event, GapReason, Source
from ws_gateway.domain.mark import Mark
from ws_gateway.domain.private_list import Listing
from ws_gateway.domain.topic import Channel, build_topic

HOUR_MS = 3_600_000
LINE = ("execution", "linear")


def row(number: int, at: int) -> dict[str, Any]:
    """Make an execution as REST has it."""
    return over_rest(execution(number, at))


def order_id(event: Event) -> str:
    """Name an event's order."""
    return str(msgspec.json.decode(event.observation.payload)["orderId"])


def told(room: Room) -> list[str]:
    """Return the executions a consumer got."""
    return [word for word in room.told(EXECUTION) if " e" in word]


async def through(lists: MemoryLists, marks: MemoryMarks, at: int) -> None:
    """Let a process be done with everything up to a time, and end."""
    lists.now_ms = at - 1000
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        lists.add(Listing.EXECUTIONS, "linear", row(0, at))
        lists.now_ms = at
        room.cut(EXECUTION)
        room.connect(EXECUTION)
        await room.done(2)
        await until(lambda: marks.marks[LINE].through == at)


async def test_a_process_killed_after_a_loss_leaves_its_successor_a_mark_before_it() -> None:
    """REST is away when it is noticed; the marker goes, the process is killed."""
    lists, marks = MemoryLists(), MemoryMarks()
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        room.tell(EXECUTION, execution(1, NOW_MS + 1))
        lists.add(Listing.EXECUTIONS, "linear", row(1, NOW_MS + 1), row(2, NOW_MS + 2 * HOUR_MS))
        lists.now_ms += 2 * HOUR_MS
        room.cut(EXECUTION)
        room.connect(EXECUTION)
        await room.done(2)
        await until(lambda: marks.marks[LINE].through == lists.now_ms)
        lists.failures = 10**9
        room.runner.facts_lost([EXECUTION], NOW_MS + 1)
        await until(lambda: marks.marks[LINE].through == NOW_MS + 1 - LOST_MS)
        assert not marks.marks[LINE].seen
    lists.failures = 0
    heir = Room(lists, marks)
    async with heir.running():
        heir.connect(EXECUTION)
        await heir.done()
    assert told(heir) == ["rest e1", "rest e2"]


async def test_what_the_spool_dropped_after_days_is_read_again() -> None:
    """It keeps events for three days, and says how old the oldest was that it dropped."""
    lists, marks = MemoryLists(), MemoryMarks()
    lists.add(Listing.EXECUTIONS, "linear", row(1, NOW_MS - 60 * HOUR_MS))
    await through(lists, marks, NOW_MS)
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        room.runner.facts_lost([EXECUTION], NOW_MS - 60 * HOUR_MS)
        await room.done(2)
    assert "rest e1" in told(room)
    assert room.completes(EXECUTION)[-1] is True


async def test_a_lost_fill_of_an_order_that_was_made_long_before_is_told_again() -> None:
    """Lists of orders are in the order they were made, with many newer ones before it."""
    lists, marks = MemoryLists(), MemoryMarks()
    made, filled = NOW_MS - 20 * HOUR_MS, NOW_MS - 1000
    lost = order("old", made, orderStatus="Filled", updatedTime=str(filled))
    newer = [order(f"o{n}", NOW_MS - HOUR_MS + n, orderStatus="Filled") for n in range(120)]
    for one in (lost, *newer):
        for listing in (Listing.ORDER_HISTORY, Listing.RECENT_ORDERS):
            lists.add(listing, "linear", over_rest(one))
    marks.marks["order", "linear"] = Mark("order", "linear", NOW_MS)
    room = Room(lists, marks)
    async with room.flowing(ORDER):
        assert "old" not in [order_id(event) for event in room.events(ORDER)]
        room.runner.facts_lost([ORDER], filled)
        await room.done(2)
    assert "old" in [order_id(event) for event in room.events(ORDER)]


async def test_a_loss_of_unknown_age_goes_back_as_far_as_queues_keep_events_and_no_further() -> (
    None
):
    """However often it happens before a reading is complete."""
    lists, marks = MemoryLists(), MemoryMarks()
    lists.add(
        Listing.EXECUTIONS, "linear", row(1, NOW_MS - LOST_MS - HOUR_MS), row(2, NOW_MS - LOST_MS)
    )
    await through(lists, marks, NOW_MS)
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        lists.failures = 10**9
        for times in range(1, 4):
            room.runner.facts_lost([EXECUTION])
            await room.failed(times)
        lists.failures = 0
        await room.done(2)
    assert told(room) == ["rest e2", "rest e0"]


async def test_a_loss_noticed_before_the_first_reading_is_not_taken_for_told() -> None:
    """What an earlier process left as seen may be what is lost."""
    lists, marks = MemoryLists(), MemoryMarks()
    await through(lists, marks, NOW_MS)
    assert marks.marks[LINE].seen
    room = Room(lists, marks)
    room.runner.facts_lost([EXECUTION], NOW_MS)
    async with room.running():
        room.connect(EXECUTION)
        await room.done()
    assert told(room) == ["rest e0"]


async def test_a_reading_that_began_before_a_loss_moves_no_mark_past_it() -> None:
    """It knows nothing of it: the next one reads what was lost."""
    lists, marks = SlowLists(), MemoryMarks()
    lists.add(Listing.EXECUTIONS, "linear", row(5, NOW_MS - HOUR_MS))
    await through(lists, marks, NOW_MS)
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        lists.now_ms += HOUR_MS
        lists.add(Listing.EXECUTIONS, "linear", row(1, lists.now_ms))
        lists.may_answer.clear()
        asked = len(lists.asked)
        room.cut(EXECUTION)
        room.connect(EXECUTION)
        await until(lambda: len(lists.asked) > asked)
        room.runner.facts_lost([EXECUTION], NOW_MS - HOUR_MS)
        lists.may_answer.set()
        await room.done(3)
        await until(lambda: marks.marks[LINE].through == lists.now_ms)
    assert "rest e5" in told(room)


async def test_marks_do_not_go_back_twice_for_one_loss() -> None:
    """While the database is away the earliest waits; what is read then is stored behind it."""
    lists, marks = MemoryLists(), MemoryMarks()
    await through(lists, marks, NOW_MS)
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        marks.is_away = True
        lists.now_ms += HOUR_MS
        lists.add(Listing.EXECUTIONS, "linear", row(1, lists.now_ms))
        room.runner.facts_lost([EXECUTION], NOW_MS - 2)
        room.runner.facts_lost([EXECUTION], NOW_MS - 1)
        await room.done(2)
        marks.is_away = False
        await until(lambda: marks.marks[LINE].through == lists.now_ms)
        assert room.keeper.through[LINE] == lists.now_ms


async def test_marks_go_back_though_what_others_stand_for_is_not_delivered_yet() -> None:
    """A disk that refuses while the broker is away may keep them waiting for long."""
    lists, marks = MemoryLists(), MemoryMarks()
    await through(lists, marks, NOW_MS)
    room = Room(lists, marks)
    async with room.running():
        room.receipts.is_safe = False
        room.connect(EXECUTION)
        await room.done()
        lists.now_ms += HOUR_MS
        lists.add(Listing.EXECUTIONS, "linear", row(1, lists.now_ms))
        room.cut(EXECUTION)
        room.connect(EXECUTION)
        await room.done(2)
        lists.failures = 10**9
        room.runner.facts_lost([EXECUTION], NOW_MS)
        await until(lambda: marks.marks[LINE].through == NOW_MS - LOST_MS)
        room.receipts.is_safe = True
        await asyncio.sleep(0.1)
        assert marks.marks[LINE].through == NOW_MS - LOST_MS


async def test_a_further_account_knows_again_what_an_earlier_process_told() -> None:
    """Its topics have keys of their own; without them a restart repeats all of the overlap."""
    lists, marks = MemoryLists(), MemoryMarks()
    lists.add(Listing.EXECUTIONS, "linear", row(1, NOW_MS))
    topic = build_topic(Channel.EXECUTION, account="hedge")
    first, second = Room(lists, marks), Room(lists, marks)
    marks.marks[LINE] = Mark(*LINE, NOW_MS - 1000)
    for room in (first, second):
        async with room.flowing(topic):
            await until(lambda: marks.marks[LINE].seen)
    assert len(first.events(topic)) == 1
    assert second.events(topic) == []


async def test_a_loss_of_an_account_that_is_no_longer_named_costs_no_other_its_own() -> None:
    """It lay on disk when the account was taken out of the settings; it ended every start."""
    lists, marks = MemoryLists(), MemoryMarks()
    lists.add(Listing.EXECUTIONS, "linear", row(1, NOW_MS - 60 * HOUR_MS))
    await through(lists, marks, NOW_MS)
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        assert "rest e1" not in told(room)
        gone = build_topic(Channel.ORDER, account="sub1")
        since = NOW_MS - 60 * HOUR_MS
        PrivateFronts({None: room.front}).facts_lost([gone, EXECUTION], since)
        await room.done(2)
    assert "rest e1" in told(room)


async def test_what_the_end_of_the_spool_lost_is_read_again_though_nobody_knows_whose_it_was() -> (
    None
):
    """It is noticed before anything flows; every stored mark goes back, and is read from there."""
    lists, marks = MemoryLists(), MemoryMarks()
    lists.add(Listing.EXECUTIONS, "linear", row(1, NOW_MS - 60 * HOUR_MS))
    await through(lists, marks, NOW_MS)
    assert marks.marks[LINE].seen
    room = Room(lists, marks)
    PrivateFronts({None: room.front}).facts_lost(None, NOW_MS - 60 * HOUR_MS)
    async with room.flowing(EXECUTION):
        await until(lambda: marks.marks[LINE].through == NOW_MS)
    assert told(room) == ["rest e1", "rest e0"]
    assert room.completes(EXECUTION) == [True]


async def test_a_process_killed_after_it_found_the_spool_torn_leaves_marks_before_that() -> None:
    """Also of topics that nobody had asked for in it yet; REST and the stream were away."""
    lists, marks = MemoryLists(), MemoryMarks()
    await through(lists, marks, NOW_MS)
    marks.marks["order", "linear"] = Mark("order", "linear", NOW_MS)
    room = Room(lists, marks)
    marks.is_away = True
    room.runner.facts_lost(None, NOW_MS - 5)
    async with room.running():
        await asyncio.sleep(0.05)
        marks.is_away = False
        wanted = {NOW_MS - 5 - LOST_MS}
        lines = [LINE, ("order", "linear")]
        await until(lambda: {marks.marks[line].through for line in lines} == wanted)
    heir = Room(lists, marks)
    async with heir.running():
        heir.connect(EXECUTION)
        await heir.done()
    assert told(heir) == ["rest e0"]


async def test_what_was_lost_of_whatever_stream_is_told_again_in_a_running_process() -> None:
    """Files were taken away under it: all that flows is read again, and says so when it is done."""
    lists, marks = MemoryLists(), MemoryMarks()
    room = Room(lists, marks)
    async with room.flowing(EXECUTION, ORDER):
        room.tell(EXECUTION, execution(1))
        room.tell(ORDER, order("o1"))
        lists.add(Listing.EXECUTIONS, "linear", row(1, NOW_MS))
        lists.add(Listing.OPEN_ORDERS, "linear", over_rest(order("o1")))
        lists.now_ms += 1000
        room.runner.facts_lost(None, NOW_MS)
        await room.done(2)
        await until(lambda: marks.marks[LINE].through == NOW_MS)
    assert room.told(EXECUTION)[-2:] == ["rest e1", "resumed spool_overflow"]
    assert room.told(ORDER)[-2:] == ["rest New", "resumed spool_overflow"]
    assert room.completes(ORDER)[-1] is True


async def test_facts_given_up_after_acceptance_are_told_again_by_a_reading() -> None:
    """Though marks passed them, and the books knew them; `resumed` waits for that reading."""
    lists = MemoryLists()
    room = Room(lists, MemoryMarks())
    held = position(seq=7)
    async with room.flowing(EXECUTION, POSITION, ORDER):
        room.tell(EXECUTION, execution(1))
        room.tell(POSITION, held)
        room.tell(ORDER, order("o1", orderStatus="Filled"))
        lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(1)))
        lists.add(Listing.POSITIONS, "linear", {**over_rest(held), "avgPrice": "60000.5"})
        closed = over_rest(order("o1", orderStatus="Filled"))
        lists.add(Listing.ORDER_HISTORY, "linear", closed)
        lists.now_ms += 3_600_000
        room.front.break_streams([EXECUTION, POSITION, ORDER], GapReason.SEQUENCE, "any")
        await room.done(2)  # the marks have passed it
        lost = [(t, room.events(t)[-1].sequence) for t in (EXECUTION, POSITION, ORDER)]
        room.runner.events_lost(lost, "the broker could not be made to take it")
        await room.done(3)
    for topic in (EXECUTION, POSITION, ORDER):
        told, again = room.events(topic)[-2:]
        assert told.observation.event_id == again.observation.event_id
        assert again.observation.source is Source.REST
        assert room.told(topic)[-1] == "resumed shed"


async def test_what_the_spool_dropped_makes_a_reading_due() -> None:
    """Its marker has a number of its own; the facts come again, and then `resumed` says so."""
    lists = MemoryLists()
    room = Room(lists, MemoryMarks())
    async with room.flowing(EXECUTION):
        room.tell(EXECUTION, execution(1))
        lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(1)))
        lists.now_ms += 1000
        room.runner.facts_lost([EXECUTION])
        await room.done(2)
    assert room.told(EXECUTION)[-3:] == ["stream e1", "rest e1", "resumed spool_overflow"]
    assert room.completes(EXECUTION)[-1] is True
