"""What looks at a queue add up to, in a time that the test makes up."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_gateway.delivery.gauge import Gauge, Look
from ws_gateway.ports.delivery import AlertCode, QueueKind

CAPACITY, NOBODY, SLOW = (
    AlertCode.CAPACITY_NEAR,
    AlertCode.NO_CONSUMER,
    AlertCode.SLOW_CONSUMER,
)


@dataclass
class Queue:
    """A queue that is looked at every five seconds."""

    kind: QueueKind = QueueKind.DEDICATED
    max_length: int | None = 1000
    is_awaited: bool = True
    keeps_read: bool = False
    gauge: Gauge = field(default_factory=Gauge)
    now: float = 100.0
    depth: int = 0
    published: int = 0

    def pass_time(
        self, seconds: float, *, came: int = 0, taken: int = 0, consumers: int = 1
    ) -> None:
        """Let messages come and go at a steady rate (per look), and look every five seconds."""
        for _ in range(int(seconds / 5)):
            self.now += 5
            self.published += came
            self.depth = max(0, self.depth + came - taken)
            if self.max_length is not None:
                self.depth = min(self.depth, self.max_length)
            self.look(consumers)

    def look(self, consumers: int = 1) -> None:
        """Look once."""
        self.gauge.take(
            Look(
                at=self.now,
                depth=self.depth,
                consumers=consumers,
                published_before=self.published,
                published_after=self.published,
                max_length=self.max_length,
                kind=self.kind,
                is_awaited=self.is_awaited,
                keeps_read=self.keeps_read,
            )
        )

    @property
    def alerts(self) -> set[AlertCode]:
        """Name the alerts that stand."""
        return set(self.gauge.alerts)


def test_a_consumer_ten_times_too_slow_is_found_in_half_a_minute_and_forgiven() -> None:
    """Raised within 30 s, kept while it lags, cleared once half of what waited is gone."""
    queue = Queue(max_length=100_000)
    queue.pass_time(60, came=500, taken=500)
    assert queue.alerts == set()
    queue.pass_time(25, came=500, taken=50)
    assert queue.alerts == {SLOW}
    assert "of 1500 published were left over in 15 s" in queue.gauge.alerts[SLOW].detail
    queue.pass_time(30, came=500, taken=500)
    assert queue.alerts == {SLOW}
    queue.pass_time(10, came=500, taken=2000)
    assert queue.alerts == set()


def test_a_burst_is_no_slow_consumer() -> None:
    """What comes at once and is worked off is what queues are for."""
    queue = Queue(max_length=100_000)
    queue.pass_time(30, came=10, taken=10)
    queue.pass_time(5, came=5000, taken=100)
    queue.pass_time(60, came=10, taken=100)
    assert queue.alerts == set()
    assert queue.depth > 0


def test_a_consumer_that_left_is_not_slow_but_gone() -> None:
    """The one alert gives way to the other, and a new consumer ends that."""
    queue = Queue(max_length=100_000)
    queue.pass_time(60, came=500, taken=50)
    assert queue.alerts == {SLOW}
    queue.pass_time(5, came=500, consumers=0)
    assert queue.alerts == set()
    queue.pass_time(30, came=500, consumers=0)
    assert queue.alerts == {NOBODY}
    queue.pass_time(5, came=500, taken=50)
    assert NOBODY not in queue.alerts


@pytest.mark.parametrize(
    ("kind", "was_read", "is_told"),
    [
        (QueueKind.DEDICATED, False, True),
        (QueueKind.SHARED, False, False),
        (QueueKind.SHARED, True, True),
        (QueueKind.QUARANTINE, True, False),
    ],
)
def test_who_is_missed(kind: QueueKind, was_read: bool, is_told: bool) -> None:  # noqa: FBT001
    """One's own queue needs its consumer; a shared one only if it ever had one."""
    queue = Queue(kind)
    if was_read:
        queue.pass_time(10, came=5, taken=5)
    queue.pass_time(25, came=5, consumers=0)
    assert queue.alerts == set()
    queue.pass_time(15, came=5, consumers=0)
    assert queue.alerts == ({NOBODY} if is_told else set())


def test_an_unread_queue_in_which_nothing_gathers_is_no_alarm() -> None:
    """Old messages without new ones wait for whoever comes next."""
    queue = Queue(depth=7)
    queue.pass_time(300, consumers=0)
    assert queue.alerts == set()


def test_nearly_full_is_told_and_taken_back_later() -> None:
    """Raised at 80 %, cleared below 60 %: between the two it stays what it was."""
    queue = Queue()
    queue.pass_time(5, came=790, consumers=1)
    assert CAPACITY not in queue.alerts
    queue.pass_time(5, came=10)
    assert CAPACITY in queue.alerts
    queue.pass_time(5, taken=190)
    assert CAPACITY in queue.alerts
    queue.pass_time(5, taken=20)
    assert CAPACITY not in queue.alerts


def test_a_full_queue_nobody_asked_for_is_no_alarm() -> None:
    """The tape of a class that no service reads runs full by design."""
    queue = Queue(QueueKind.SHARED, is_awaited=False)
    queue.pass_time(600, came=50, consumers=0)
    assert (queue.depth, queue.alerts) == (1000, set())


def test_what_overflows_unread_is_counted_exactly() -> None:
    """Without a consumer everything that is not there any more was dropped."""
    queue = Queue()
    queue.look(consumers=0)
    queue.pass_time(100, came=100, consumers=0)
    assert (queue.gauge.dropped_at_least, queue.gauge.dropped_uncertain) == (1000, 0)


def test_what_leaves_a_full_queue_beside_a_consumer_is_uncertain() -> None:
    """Near the limit it may have been consumed or dropped; far from it, it was consumed."""
    queue = Queue()
    queue.pass_time(50, came=100, taken=100)
    assert (queue.gauge.dropped_at_least, queue.gauge.dropped_uncertain) == (0, 0)
    queue.pass_time(100, came=200, taken=100)
    assert queue.gauge.dropped_at_least == 0
    assert queue.gauge.dropped_uncertain >= 1000


def test_a_stream_keeps_what_was_read() -> None:
    """Its depth is what it holds, not what waits: nothing is judged."""
    queue = Queue(max_length=None, keeps_read=True)
    queue.pass_time(600, came=1000, consumers=0)
    assert (queue.alerts, queue.gauge.dropped_at_least) == (set(), 0)


def test_a_message_in_a_quiet_queue_is_not_as_old_as_the_quiet_before_it() -> None:
    """The error is one look at most, however long nothing had come."""
    queue = Queue()
    queue.pass_time(20, came=3, taken=3)
    queue.pass_time(3600)
    queue.pass_time(5, came=1)
    age = queue.gauge.oldest_age(queue.now + 1)
    assert age is not None
    assert 1 <= age[0] <= 6
    assert not age[1]
    queue.pass_time(600)
    age = queue.gauge.oldest_age(queue.now)
    assert age is not None
    assert age[0] == pytest.approx(600, abs=5)


def test_messages_whose_confirm_is_under_way_do_not_make_a_queue_old_that_was_empty() -> None:
    """It said "> 4 m 11 s" of messages of which the first had come 6 s before."""
    queue = Queue()
    queue.pass_time(250)
    queue.now += 5
    queue.depth, queue.published = 15, 12  # three are counted only after the look
    queue.look()
    age = queue.gauge.oldest_age(queue.now + 1)
    assert age is not None
    assert age[0] <= 6
    assert not age[1]


def test_the_age_of_the_oldest_message() -> None:
    """It is as old as the time since which as many came as wait."""
    queue = Queue(max_length=None)
    queue.look()
    queue.pass_time(100, came=10, taken=10)
    assert queue.gauge.oldest_age(queue.now) is None
    queue.pass_time(50, came=10)
    age = queue.gauge.oldest_age(queue.now + 1)
    assert age is not None
    assert age[0] == pytest.approx(50, abs=5)
    assert not age[1]


def test_what_was_there_before_is_at_least_as_old_as_the_process() -> None:
    """Nothing was counted of it, so its age has only a lower bound."""
    queue = Queue(depth=3)
    queue.look(consumers=0)
    queue.pass_time(20, came=1, consumers=0)
    assert queue.gauge.oldest_age(queue.now) == (20, True)


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(0, 2)), max_size=60
    )
)
def test_the_bounds_hold_whatever_happens(steps: list[tuple[int, int, int]]) -> None:
    """The messages really dropped always lie between what is certain and what may have been."""
    queue, dropped = Queue(), 0
    queue.look(consumers=0)
    for came, taken, consumers in steps:
        queue.now += 5
        queue.published += came
        queue.depth += came
        over = max(0, queue.depth - 1000)
        dropped += over
        queue.depth -= over
        if consumers:
            queue.depth -= min(taken, queue.depth)
        queue.look(consumers)
        gauge = queue.gauge
        assert gauge.dropped_at_least <= dropped
        assert dropped <= gauge.dropped_at_least + gauge.dropped_uncertain
