"""What REST refuses is tried again ever more rarely; nothing else waits for that."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from support.account_desk import NOW_MS, MemoryPipeline
from support.memory_lists import MemoryLists, MemoryMarks
from support.reconcile_lists import HangingLine, RefusedLine, SlowLists
from support.reconcile_room import EXECUTION, ORDER, Room, execution, order, over_rest, until
from ws_gateway.account import reconcile
from ws_gateway.account.list_reader import ListReader
from ws_gateway.account.reconcile_plan import LAG_MS
from ws_gateway.domain.private_list import Listing, ListPage, ListQuery
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category
from ws_gateway.errors import VenueLost
from ws_gateway.runtime.counters import Counters

LONGEST = 6
"""So many failures in a row, and the next pause is half a minute."""


class Longest(Random):
    """Chance that draws the longest pause each time."""

    def uniform(self, a: float, b: float) -> float:
        """Return the upper end."""
        return max(a, b)


async def refused(room: Room, times: int = LONGEST) -> None:
    """Let readings fail, each because of a reconnect, until the pause is of half a minute."""
    for _ in range(times):
        failed = room.counters.reconciliations["failed"]
        room.cut(EXECUTION)
        room.connect(EXECUTION)
        await room.failed(failed + 1)


async def test_a_reconnect_during_a_reading_waited_half_a_minute_for_its_own() -> None:
    """One line is refused for ever; what the others missed is told as soon as that reading ends."""
    lists = RefusedLine()
    room = Room(lists, MemoryMarks(), rng=Longest())
    async with room.running():
        room.connect(EXECUTION)
        await refused(room)
        lists.may_answer.clear()
        asked = len(lists.asked)
        room.cut(EXECUTION)
        room.connect(EXECUTION)
        await until(lambda: len(lists.asked) > asked)  # it has read the page without what follows
        with room.away(EXECUTION, ms=10):
            lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(2, NOW_MS + 5)))
        lists.may_answer.set()
        await until(lambda: "rest e2" in room.told(EXECUTION))
        await room.failed(LONGEST + 2)
    assert room.counters.reconciliations["failed"] == LONGEST + 2
    assert not any(room.completes(EXECUTION))


async def test_a_topic_that_begins_neither_waits_for_what_is_refused_nor_hastens_it() -> None:
    """It is read alone; before, everything that failed was asked for again with it."""
    lists = RefusedLine()
    room = Room(lists, MemoryMarks(), rng=Longest())
    async with room.running():
        room.connect(EXECUTION)
        await refused(room)
        before = lists.refusals
        room.connect(ORDER)
        await room.done()
        with room.away(ORDER, ms=10):
            lists.add(Listing.OPEN_ORDERS, "linear", over_rest(order("o1", NOW_MS + 5)))
        await room.done(2)
    assert lists.refusals == before
    assert room.told(ORDER)[-1] == "resumed restart"
    assert "rest New" in room.told(ORDER)
    assert room.completes(ORDER)[-1] is True


async def test_what_is_refused_is_not_asked_for_again_without_a_pause() -> None:
    """Neither after its failure, nor because its socket is lost and nothing flows."""
    lists = RefusedLine()
    room = Room(lists, MemoryMarks(), rng=Longest())
    async with room.running():
        room.connect(EXECUTION)
        await refused(room)
        before = len(lists.asked), lists.refusals
        room.cut(EXECUTION)
        await asyncio.sleep(0.3)
        assert (len(lists.asked), lists.refusals) == before


async def test_a_refusal_delayed_the_clock_of_what_is_healthy() -> None:
    """The next look at everything is every 0.2 s; the next at what is refused in half a minute."""
    lists = RefusedLine()
    room = Room(lists, MemoryMarks(), every_seconds=0.2, rng=Longest())
    async with room.running():
        room.connect(EXECUTION, ORDER)
        await refused(room)
        before = lists.refusals
        for number in (1, 2, 3):
            lost = order(f"lost{number}", NOW_MS + number)
            lists.add(Listing.OPEN_ORDERS, "linear", over_rest(lost))
            lists.now_ms += 10
            await until(lambda: len(room.events(ORDER)) == number)  # noqa: B023 - awaited here
        assert lists.refusals == before
        await until(lambda: room.counters.differing == {"order": 3})


async def test_a_topic_dropped_while_its_reading_fails_stays_no_reason_in_health() -> None:
    """Nobody reads it any more, so nothing would ever end the reason."""
    lists = SlowLists()
    room = Room(lists, MemoryMarks())
    lists.failures = 10**9
    lists.may_answer.clear()
    async with room.running():
        room.connect(EXECUTION)
        await until(lambda: lists.asked)
        room.front.topic_changed(EXECUTION, SubscriptionState.REMOVED, None)
        lists.may_answer.set()
        await room.failed()
        assert room.reconciliation.problems() == []


async def test_a_list_that_does_not_answer_kept_back_what_the_others_had_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told when `resumed` is no longer waited for; what comes late follows, and once."""
    lists, marks = HangingLine(), MemoryMarks()
    lists.may_answer.set()
    room = Room(lists, marks)
    async with room.flowing(EXECUTION):
        room.tell(EXECUTION, execution(0))
        monkeypatch.setattr(reconcile, "PATIENCE_SECONDS", 0.05)
        lists.may_answer.clear()
        with room.away(EXECUTION, ms=10):
            lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(1, NOW_MS + 1)))
            late = execution(2, NOW_MS + 2, baseCoin="BTC")
            lists.add(Listing.EXECUTIONS, "option", over_rest(late))
        await until(lambda: "rest e1" in room.told(EXECUTION))
        assert room.completes(EXECUTION)[-1] is False
        lists.may_answer.set()
        await room.done(2)
        assert room.told(EXECUTION)[-3:] == ["rest e1", "rest e2", "resumed disconnect"]
        assert room.completes(EXECUTION)[-1] is True
        lines = [("execution", "linear"), ("execution", "option")]
        await until(lambda: [marks.marks[line].through - NOW_MS for line in lines] == [1, 2])
    assert room.counters.reconciled == {"execution": 2}


async def test_a_page_that_hangs_is_not_tried_five_times_while_everything_else_waits() -> None:
    """It takes ten seconds to fail once; the line is tried again in its own time."""
    now = [0.0]

    class Hanging(MemoryLists):
        async def page(self, query: ListQuery, cursor: str = "") -> ListPage:
            self.asked.append((query, cursor))
            now[0] += 10.0
            raise VenueLost("rest", "did not answer in time")

    lists = Hanging()
    reader = ListReader(lists, MemoryPipeline(Counters()), monotonic=lambda: now[0])
    with pytest.raises(VenueLost):
        await reader.chain(ListQuery(Listing.EXECUTIONS, Category.OPTION))
    assert len(lists.asked) == 1


async def test_a_reading_from_before_a_topic_was_dropped_moves_no_mark_of_who_wants_it_again() -> (
    None
):
    """It ends after that: what happened while nobody wanted the topic was told."""
    lists, marks = SlowLists(), MemoryMarks()
    room = Room(lists, marks)
    lists.may_answer.clear()
    async with room.running():
        room.connect(EXECUTION)
        await until(lambda: lists.asked)
        room.front.topic_changed(EXECUTION, SubscriptionState.REMOVED, None)
        lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(1, NOW_MS + LAG_MS)))
        lists.now_ms += 2 * LAG_MS
        room.connect(EXECUTION)
        lists.may_answer.set()
        await room.done(2)
    assert room.events(EXECUTION) == []
