"""The outbox against a model: nothing lost, nothing twice, order and accounts exact."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.delivery_rig import TRADES
from ws_gateway.delivery.outbox import Message, Outbox
from ws_gateway.domain.topic import Lane


def message(number: int, size: int = 10, *, is_observed: bool = True) -> Message:
    """Make a message that is known by its sequence."""
    return Message(b"x" * size, TRADES, number, f"id-{number}", 0, is_observed)


class OutboxMachine(RuleBasedStateMachine):
    """Every legal order of calls; the model is two lists and a set of tags."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(max_events=10**9, max_bytes=10**12)
        self.numbers = count(1)
        self.waiting: list[Message] = []
        self.window: list[Message | None] = []  # None: answered for, yet not the oldest
        self.aside: list[Message] = []
        self.first_tag = 1
        self.gone: list[int] = []
        self.taken = 0

    @rule(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5), is_observed=st.booleans())
    def put(self, sizes: list[int], *, is_observed: bool) -> None:
        """Take some."""
        for size in sizes:
            one = message(next(self.numbers), size, is_observed=is_observed)
            self.outbox.put(one)
            self.waiting.append(one)
            self.taken += 1

    @rule(most=st.integers(1, 7))
    def send(self, most: int) -> None:
        """Send the oldest."""
        expected, self.waiting = self.waiting[:most], self.waiting[most:]
        assert self.outbox.next_batch(most) == expected
        self.window += expected

    @precondition(lambda self: self.window)
    @rule(data=st.data(), multiple=st.booleans(), back=st.booleans())
    def settle(self, data: st.DataObject, *, multiple: bool, back: bool) -> None:
        """Let the broker answer, in any order; what it refused may wait again."""
        index = data.draw(st.integers(0, len(self.window) - 1))
        first = 0 if multiple else index
        expected = [m for m in self.window[first : index + 1] if m is not None]
        answered: list[Message] = []
        self.outbox.settle(self.first_tag + index, multiple=multiple, take=answered.append)
        assert answered == expected
        for place in range(first, index + 1):
            self.window[place] = None
        while self.window and self.window[0] is None:
            self.window.pop(0)
            self.first_tag += 1
        if back:
            for one in answered:
                self.outbox.set_aside(one)
            self.aside += answered
        else:
            self.gone += [one.sequence for one in answered]

    @rule(tag=st.integers(-3, 0), beyond=st.integers(0, 3), multiple=st.booleans())
    def settle_nonsense(self, tag: int, beyond: int, *, multiple: bool) -> None:
        """Ignore answers for tags that are settled already or were never given."""
        for odd in (self.first_tag - 1 + tag, self.first_tag + len(self.window) + beyond):
            self.outbox.settle(odd, multiple=multiple, take=self._unexpected)

    @staticmethod
    def _unexpected(one: Message) -> None:
        raise AssertionError(one)

    @rule()
    def take_back(self) -> None:
        """Let what was set aside go on, before all others."""
        assert self.outbox.take_back() == len(self.aside)
        self.waiting[:0] = self.aside
        self.aside.clear()

    @rule()
    def rewind(self) -> None:
        """Begin anew on another connection."""
        again = [one for one in self.window if one is not None]
        assert self.outbox.rewind() == len(again)
        self.waiting[:0] = again
        self.window.clear()
        self.first_tag = 1

    @invariant()
    def accounts_are_exact(self) -> None:
        """Levels, tags and bytes are those of the model."""
        held = [*(one for one in self.window if one is not None), *self.waiting]
        held += self.aside
        assert self.outbox.aside == len(self.aside)
        assert self.outbox.messages == len(held)
        assert self.outbox.events == sum(one.is_observed for one in held)
        assert self.outbox.size_bytes == sum(len(one.data) for one in held)
        assert self.outbox.waiting == len(self.waiting)
        assert self.outbox.unconfirmed == len(self.window)
        assert self.outbox.first_tag == self.first_tag
        assert self.outbox.next_tag == self.first_tag + len(self.window)
        assert len(held) + len(self.gone) == self.taken
        assert len(set(self.gone)) == len(self.gone)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_what_was_sent_goes_out_again_in_its_old_order() -> None:
    """After a rewind, the unconfirmed come before what was never sent."""
    outbox = Outbox(max_events=100, max_bytes=10_000)
    for number in range(1, 7):
        outbox.put(message(number))
    outbox.next_batch(4)
    outbox.settle(2, multiple=False, take=lambda _: None)
    assert outbox.rewind() == 3
    assert [one.sequence for one in outbox.next_batch(10)] == [1, 3, 4, 5, 6]


def test_a_return_of_the_first_try_is_forgotten_by_a_rewind() -> None:
    """A message that came back before the connection was lost counts as sent anew."""
    outbox = Outbox(max_events=100, max_bytes=10_000)
    outbox.put(message(1))
    outbox.next_batch(1)
    found = outbox.find_unconfirmed("id-1")
    assert found is not None
    found.returned = True
    assert outbox.find_unconfirmed("id-1") is None
    outbox.rewind()
    outbox.next_batch(1)
    assert outbox.find_unconfirmed("id-1") is found


def test_a_return_of_a_repeated_id_names_the_one_not_yet_answered() -> None:
    """Of two messages with the same id, the confirmed one is never taken for the returned one."""
    outbox = Outbox(max_events=100, max_bytes=10_000)
    oldest, first, second = message(1), message(2), message(2)
    for one in (oldest, first, second):
        outbox.put(one)
    outbox.next_batch(3)
    outbox.settle(2, multiple=False, take=lambda _: None)
    assert outbox.find_unconfirmed("id-2") is second


@pytest.mark.parametrize(("max_events", "max_bytes"), [(100, 10**9), (10**9, 1000)])
def test_public_data_gives_way_before_private(max_events: int, max_bytes: int) -> None:
    """Public lanes are refused at nine tenths, by count or by bytes; private ones at the limit."""
    outbox = Outbox(max_events=max_events, max_bytes=max_bytes)
    for number in range(1, 91):
        assert outbox.has_room(Lane.LEDGER)
        outbox.put(message(number))
    for lane in (Lane.LEDGER, Lane.BOOK, Lane.LATEST):
        assert not outbox.has_room(lane)
    for number in range(91, 101):
        assert outbox.has_room(Lane.PRIVATE)
        outbox.put(message(number))
    assert not outbox.has_room(Lane.PRIVATE)
    assert outbox.is_refusing


def test_a_refused_lane_stays_refused_until_the_level_has_fallen() -> None:
    """Public room returns below one half, private room below nine tenths: holes stay few."""
    outbox = Outbox(max_events=100, max_bytes=10**9)
    for number in range(1, 101):
        outbox.put(message(number))
    assert not outbox.has_room(Lane.PRIVATE)
    assert not outbox.has_room(Lane.BOOK)
    outbox.next_batch(100)
    room: dict[Lane, int] = {}
    for tag in range(1, 101):
        outbox.settle(tag, multiple=False, take=lambda _: None)
        for lane in (Lane.PRIVATE, Lane.BOOK):
            if lane not in room and outbox.has_room(lane):
                room[lane] = outbox.messages
    assert room == {Lane.PRIVATE: 89, Lane.BOOK: 49}
    assert not outbox.is_refusing
