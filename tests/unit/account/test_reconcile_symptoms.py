"""Symptoms of reconciliation that were seen once, each by its name."""

from __future__ import annotations

import msgspec
import pytest

from support.account_desk import NOW_MS, Desk, coin, position
from support.memory_lists import MemoryLists, MemoryMarks
from support.reconcile_lists import ExpiredSymbols, RefusedLine, ShuffledMoments, Wallets
from support.reconcile_room import (
    BALANCE,
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
from ws_gateway.account.reconcile_plan import LAG_MS, OVERLAP_MS, RowHead, row_time
from ws_gateway.domain.event import Observation
from ws_gateway.domain.mark import Mark
from ws_gateway.domain.private_list import Listing, ListPage, ListQuery

OPTION = "BTC-27NOV26-90000-C"


async def test_what_is_missed_while_no_reading_was_complete_yet_is_told() -> None:
    """REST is away from the subscription on, and back before the socket is after a cut."""
    lists = MemoryLists()
    room = Room(lists, MemoryMarks())
    lists.failures = 10**9
    async with room.running():
        room.connect(EXECUTION)
        await room.failed()
        room.tell(EXECUTION, execution(1))
        room.cut(EXECUTION)
        lists.add(Listing.EXECUTIONS, "linear", *executed(1, 2, 3))
        lists.now_ms += 61_000
        lists.failures = 0
        room.connect(EXECUTION)
        await room.done()
    assert [word for word in room.told(EXECUTION) if " e" in word] == [
        "stream e1", "rest e2", "rest e3",
    ]  # fmt: skip
    assert room.completes(EXECUTION) == [False, True]


async def test_what_is_missed_by_a_process_killed_before_its_first_mark_is_told() -> None:
    """Its successor reads from where the first began."""
    lists, marks = MemoryLists(), MemoryMarks()
    lists.failures = 10**9
    first = Room(lists, marks)
    async with first.running():
        first.connect(EXECUTION)
        await first.failed()
    lists.add(Listing.EXECUTIONS, "linear", *executed(1))
    lists.now_ms += 3_600_000
    lists.failures = 0
    second = Room(lists, marks)
    async with second.running():
        second.connect(EXECUTION)
        await second.done()
    assert second.told(EXECUTION) == ["gap restart", "rest e1", "resumed restart"]


async def test_what_happened_just_before_a_topic_was_subscribed_is_never_told() -> None:
    """Later readings reach back as far as the first, and no further."""
    lists = MemoryLists()
    room = Room(lists, MemoryMarks(), every_seconds=0.02)
    lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(1, NOW_MS - OVERLAP_MS // 2)))
    async with room.running():
        room.connect(EXECUTION)
        await room.done(3)
    assert room.events(EXECUTION) == []


async def test_a_product_line_that_rest_refuses_leaves_the_others_reconciled() -> None:
    """Their facts are told, and their marks move."""
    lists, marks = RefusedLine(), MemoryMarks()
    room = Room(lists, marks)
    async with room.running():
        room.connect(EXECUTION, POSITION)
        await room.failed()
        room.tell(EXECUTION, execution(1, NOW_MS + 1))
        with room.away(EXECUTION, POSITION, ms=60_000):
            lists.add(Listing.EXECUTIONS, "linear", *executed(1, 2))
            lists.add(Listing.POSITIONS, "linear", over_rest(position(settleCoin="USDT")))
        await room.failed(3)
        (problem,) = room.reconciliation.problems()
        assert "10005" in problem.detail
    assert "rest e2" in room.told(EXECUTION)
    assert [word for word in room.told(POSITION) if word.startswith("rest")] == ["rest 0.5"]
    assert marks.marks[("execution", "linear")].through == NOW_MS + 2
    assert marks.marks[("execution", "option")].through <= NOW_MS
    assert not any(room.completes(EXECUTION) + room.completes(POSITION))


async def test_a_topic_that_never_gets_complete_does_not_stop_the_clock_of_others() -> None:
    """What the stream lost of them without a word is found all the same."""
    lists = RefusedLine()
    room = Room(lists, MemoryMarks(), every_seconds=0.1)
    async with room.running():
        room.connect(EXECUTION, ORDER)
        await room.failed()
        lists.add(Listing.OPEN_ORDERS, "linear", over_rest(order("lost", NOW_MS + 5)))
        lists.now_ms += 1000
        await until(lambda: "rest New" in room.told(ORDER))
    assert room.counters.differing == {"order": 1}


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_position_whose_symbol_expired_meanwhile_is_told_flat(
    *, is_restarted: bool
) -> None:
    """REST refuses the symbol; nobody keeps a position for ever that is not there."""
    lists, marks = ExpiredSymbols(), MemoryMarks()
    held = position(category="option", symbol=OPTION, seq=7)
    lists.add(Listing.POSITIONS, "option", over_rest(held))
    room = Room(lists, marks)
    async with room.flowing(POSITION):
        await until(lambda: marks.marks[("position", "option")].living)
        room.cut(POSITION)
        lists.rows.clear()
        lists.code = "venue_parameter_refused"
        lists.now_ms += 1000
        if not is_restarted:
            room.connect(POSITION)
            await room.done(2)
    if is_restarted:
        room = Room(lists, marks)
        async with room.running():
            room.connect(POSITION)
            await room.done()
    told = msgspec.json.decode(room.events(POSITION)[-1].observation.payload)
    assert (told["symbol"], told["size"], told["side"], told["seq"]) == (OPTION, "0", None, 7)
    assert room.completes(POSITION)[-1] is True


async def test_a_position_that_rest_leaves_out_is_not_called_flat_while_rest_may_lag() -> None:
    """The stream told it a moment ago; after ten minutes it is believed that it is gone."""
    lists = MemoryLists()
    room = Room(lists, MemoryMarks())
    async with room.flowing(POSITION):
        room.tell(POSITION, position(seq=7), lists.now_ms)
        room.cut(POSITION)
        room.connect(POSITION)
        await room.failed()
        (problem,) = room.reconciliation.problems()
        assert "BTCUSDT" in problem.detail
        assert "rest 0" not in room.told(POSITION)
        lists.now_ms += LAG_MS
        await room.done(2)
    assert room.told(POSITION)[-2:] == ["rest 0", "resumed disconnect"]


async def test_a_position_refused_for_another_reason_is_not_called_flat() -> None:
    """It is said that it could not be read."""
    lists = ExpiredSymbols()
    room = Room(lists, MemoryMarks())
    async with room.flowing(POSITION):
        room.tell(POSITION, position(category="option", symbol=OPTION, seq=7))
        with room.away(POSITION, ms=1000):
            lists.code = "venue_permission_missing"
        await room.failed()
        (problem,) = room.reconciliation.problems()
        assert "closed option positions" in problem.detail
    assert "rest 0" not in room.told(POSITION)
    assert room.completes(POSITION)[-1] is False


async def test_a_step_of_our_clock_moves_no_mark_into_the_future() -> None:
    """The venue's answers tell what time it is."""
    lists, marks = MemoryLists(), MemoryMarks()
    room = Room(lists, marks)

    async def wrong_time() -> int:
        return NOW_MS + 3_600_000

    async with room.flowing(EXECUTION):
        room.cut(EXECUTION)
        right, lists.time_ms = lists.time_ms, wrong_time  # type: ignore[method-assign]
        room.connect(EXECUTION)
        await room.done(2)
        lists.time_ms = right  # type: ignore[method-assign]
        with room.away(EXECUTION, ms=120_000):
            lists.add(Listing.EXECUTIONS, "linear", over_rest(execution(1, NOW_MS + 60_000)))
        await room.done(3)
    assert "rest e1" in room.told(EXECUTION)


async def test_a_row_without_a_time_hides_no_other_row_and_is_said() -> None:
    """It is in quarantine once, and its line is not complete; all others are told."""
    lists = MemoryLists()
    room = Room(lists, MemoryMarks())
    async with room.flowing(EXECUTION):
        room.cut(EXECUTION)
        lists.add(Listing.EXECUTIONS, "linear", *executed(*range(250)))
        real = lists.page

        async def page(query: ListQuery, cursor: str = "") -> ListPage:
            one = await real(query, cursor)
            if len(one.rows) < 100:
                return one
            bad = msgspec.Raw(msgspec.json.encode(execution(999, execTime="")))
            return msgspec.structs.replace(one, rows=(bad, *one.rows))

        lists.page = page  # type: ignore[method-assign]
        lists.now_ms += 1000
        room.connect(EXECUTION)
        await room.failed(2)
    assert len(room.events(EXECUTION)) == 250
    assert room.completes(EXECUTION)[-1] is False
    assert len(room.unreadable.quarantined) == 1


async def test_a_page_of_unreadable_rows_does_not_end_a_list() -> None:
    """What stands behind it is told."""
    lists = MemoryLists()
    room = Room(lists, MemoryMarks())
    async with room.flowing(EXECUTION):
        with room.away(EXECUTION, ms=1000):
            bad = [over_rest(execution(n, NOW_MS + n, positionIdx="x")) for n in range(100, 250)]
            lists.add(Listing.EXECUTIONS, "linear", *executed(*range(100)), *bad)
        await room.failed()
    assert len(room.events(EXECUTION)) == 100
    assert room.completes(EXECUTION)[-1] is False


async def test_more_fills_of_one_millisecond_than_pages_hold_together_are_all_told() -> None:
    """They change places between pages, so they are read until none is new."""
    lists = ShuffledMoments()
    room = Room(lists, MemoryMarks())
    async with room.flowing(EXECUTION):
        with room.away(EXECUTION, ms=1000):
            fills = [over_rest(execution(number, NOW_MS + 500)) for number in range(350)]
            lists.add(Listing.EXECUTIONS, "linear", *fills)
        await room.done(2)
    assert len({event.observation.event_id for event in room.events(EXECUTION)}) == 350


async def test_public_events_that_find_no_room_fail_no_reading() -> None:
    """Only what the reading itself found no room for is missing of it."""
    lists = MemoryLists()
    room = Room(lists, MemoryMarks())
    async with room.flowing(EXECUTION):
        room.cut(EXECUTION)
        lists.add(Listing.EXECUTIONS, "linear", *executed(*range(300)))
        lists.now_ms += 1000
        take = room.stage.take

        def flooded(observation: Observation, asked_at: int | None = None) -> bool:
            room.counters.shed["no_room"] += 1  # a public event, between two of ours
            return take(observation, asked_at)

        room.stage.take = flooded  # type: ignore[method-assign]
        room.connect(EXECUTION)
        await room.done(2)
    assert room.counters.reconciliations["failed"] == 0
    assert len(room.events(EXECUTION)) == 300


async def test_a_mark_of_all_positions_is_taken_up_by_product_line() -> None:
    """As an earlier version stored it."""
    lists, marks = MemoryLists(), MemoryMarks()
    marks.marks["position", ""] = Mark(
        "position", "", NOW_MS - 5, living=frozenset({"linear:BTCUSDT:0"})
    )
    flat = position(size="0", side="", seq=101, settleCoin="none")
    lists.add(Listing.POSITIONS, "linear", over_rest(flat))
    room = Room(lists, marks)
    async with room.running():
        room.connect(POSITION)
        await room.done()
    assert room.told(POSITION) == ["gap restart", "rest 0", "resumed restart"]
    assert ("position", "") not in room.keeper.through


async def test_a_position_of_rest_that_cannot_be_true_is_kept_once_and_not_called_complete() -> (
    None
):
    """The others of its line are told; once it can be true, all of it is complete."""
    lists = MemoryLists()
    bad = {**over_rest(position(symbol="ETHUSDT", size="many")), "settleCoin": "USDT"}
    good = {**over_rest(position()), "settleCoin": "USDT"}
    lists.add(Listing.POSITIONS, "linear", bad, good)
    room = Room(lists, MemoryMarks(), every_seconds=0.01)
    async with room.running():
        room.connect(POSITION)
        await room.failed(2)
        assert room.completes(POSITION) == [False]
        assert room.unreadable.reasons == ["position_invalid"]
        assert [word for word in room.told(POSITION) if "gap" in word] == ["gap restart"]
        (problem,) = room.reconciliation.problems()
        assert problem.code == "not_reconciled"
        bad["size"] = "1"
        await until(lambda: room.completes(POSITION)[-1])
        assert room.told(POSITION)[-2:] == ["rest 1", "resumed restart"]
        bad["size"] = "many"  # again
        await until(lambda: "gap sequence" in room.told(POSITION))
        assert room.unreadable.reasons == ["position_invalid"] * 2
        bad["size"] = "1"
        await until(lambda: room.told(POSITION)[-1] == "resumed sequence")


async def test_a_coin_of_rest_that_cannot_be_true_is_kept_once_and_not_called_complete() -> None:
    """The other coins are told and stored."""
    lists = Wallets()
    lists.coins = [coin("USDT", "100"), coin("BTC", "1", locked="-1")]
    room = Room(lists, MemoryMarks(), every_seconds=0.01)
    async with room.running():
        room.connect(BALANCE)
        await room.failed(2)
        assert room.completes(BALANCE) == [False]
        assert room.unreadable.reasons == ["balance_sign"]
        assert [row.coin for row in room.stage.balances.coins] == ["USDT"]
        lists.coins[1]["locked"] = "0"
        await until(lambda: room.completes(BALANCE)[-1])
    assert [row.coin for row in room.stage.balances.coins] == ["BTC", "USDT"]


async def test_a_coin_that_went_to_zero_is_told_though_its_row_was_not_taken_up_at_the_start() -> (
    None
):
    """REST leaves it out unless it is asked for; without its name nobody would ask."""
    lists = Wallets()
    room = Room(lists, MemoryMarks())
    desk = Desk()
    desk.wallet(coin("BTC", "1"))
    room.stage.balances.recall(desk.records)
    async with room.running():
        room.connect(BALANCE)
        await room.done()
    (btc,) = (row for row in room.stage.balances.coins if row.coin == "BTC")
    assert btc.amounts.wallet_balance == 0
    assert room.stage.balances.held() == {"USDT"}


@pytest.mark.parametrize("text", ["9" * 5000, "-1", "1e3", "٣" * 20])
async def test_a_time_that_is_none_ends_nothing(text: str) -> None:
    """Neither the stream's read nor a reading."""
    lists = MemoryLists()
    room = Room(lists, MemoryMarks())
    lists.add(Listing.OPEN_ORDERS, "linear", over_rest(order("o2", updatedTime=text)))
    async with room.running():
        room.connect(ORDER)
        room.tell(ORDER, order("o1", updatedTime=text))
        await room.done()
    assert room.told(ORDER)[-2:] == ["rest New", "resumed restart"]
    assert row_time(Listing.EXECUTIONS, RowHead(exec_time=text)) == 0


async def test_a_coin_that_rest_does_not_know_any_more_keeps_no_other_from_being_read() -> None:
    """It is neither in the list nor known by name: nothing of it is held."""
    lists = Wallets()
    room = Room(lists, MemoryMarks())
    desk = Desk()
    desk.wallet(coin("OLD", "7"), coin("BTC", "1"))
    room.stage.balances.restore(desk.records)
    lists.unknown = {"OLD"}
    async with room.running():
        room.connect(BALANCE)
        await room.done()
    held = {row.coin: str(row.amounts.wallet_balance) for row in room.stage.balances.coins}
    assert held == {"BTC": "0", "OLD": "0", "USDT": "100"}
    ids = [event.observation.event_id for event in room.events(BALANCE)]
    assert len(set(ids)) == len(ids)
    assert room.completes(BALANCE) == [True]
