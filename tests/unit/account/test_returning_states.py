"""A state that returns is news, with an id of its own wherever anything tells it from the first."""

from __future__ import annotations

from typing import Any

import pytest

from support.account_desk import NOW_MS, position
from support.memory_lists import MemoryLists, MemoryMarks
from support.reconcile_room import ORDER, POSITION, Room, order, over_rest
from ws_gateway.domain.private_list import Listing

LEVERAGES = ("10", "20", "10")


def at(step: int, **fields: Any) -> dict[str, Any]:
    """Make a position whose settings were changed at a moment."""
    return position(updatedTime=str(NOW_MS + step), **fields)


@pytest.mark.parametrize("is_stamped", [True, False])
async def test_a_setting_changed_back_after_a_restart_is_told_whatever_id_it_has(
    *, is_stamped: bool
) -> None:
    """With the `updatedTime` that a change brings, its id is new; without, it is the one it had.

    The next process knows no states told before it, and does not suppress either.
    """
    marks = MemoryMarks()
    first = Room(MemoryLists(), marks)
    for step, leverage in enumerate(LEVERAGES[:2]):
        first.tell(POSITION, at(step if is_stamped else 0, leverage=leverage), NOW_MS + step)
    lists = MemoryLists()
    told = at(2 if is_stamped else 0, leverage=LEVERAGES[2], settleCoin="USDT")
    told["avgPrice"] = told.pop("entryPrice")
    lists.add(Listing.POSITIONS, "linear", over_rest(told))
    second = Room(lists, marks)
    async with second.running():
        second.connect(POSITION)
        await second.done()
    assert second.told(POSITION) == ["gap restart", "rest 0.5", "resumed restart"]
    ids = [
        each.observation.event_id for each in (*first.events(POSITION), *second.events(POSITION))
    ]
    assert len(ids) == 3
    assert (ids[2] == ids[0]) is not is_stamped
    assert ids[1] not in {ids[0], ids[2]}


async def test_a_state_that_never_was_has_an_id_that_never_was_after_a_restart_too() -> None:
    """So nothing but what is equal in all it is identified by can be taken for a repeat."""
    marks = MemoryMarks()
    first = Room(MemoryLists(), marks)
    second = Room(MemoryLists(), marks)
    for room, leverages in ((first, ("10", "20")), (second, ("30", "40"))):
        for step, leverage in enumerate(leverages):
            room.tell(POSITION, at(0, leverage=leverage), NOW_MS + step)
    ids = {each.observation.event_id for room in (first, second) for each in room.events(POSITION)}
    assert len(ids) == 4


@pytest.mark.parametrize(("step_ms", "told"), [(1, 3), (0, 2)])
def test_an_order_amended_back_is_news_unless_all_of_it_happened_in_one_millisecond(
    step_ms: int, told: int
) -> None:
    """Bybit stamps every change of an order; in one millisecond nothing tells them apart."""
    room = Room(MemoryLists(), MemoryMarks())
    for step, price in enumerate(("1", "2", "1")):
        room.tell(ORDER, order(price=price, updatedTime=str(NOW_MS + step * step_ms)))
    assert len(room.events(ORDER)) == told
