"""The times of events from hop to hop."""

from __future__ import annotations

from ws_gateway.delivery.hop_times import CONFIRM, PUBLISH, RECEIVE, TIMED_PER_SECOND, HopTimes
from ws_gateway.delivery.message import Message
from ws_gateway.domain.topic import Category, Topic, parse_topic

TRADES = parse_topic("publicTrade.BTCUSDT", Category.LINEAR)
ORDERS = parse_topic("order", None)
NOON_US = 1_790_000_000_000_000


def message(topic: Topic, at_us: int, *, is_observed: bool = True) -> Message:
    """Make a message of a fact that took 5 ms from the exchange."""
    timestamp = at_us // 1000 - 5
    return Message(b"x", topic, topic.lane, 1, "id", at_us, is_observed, timestamp)


def count(times: HopTimes, hop: str, event_class: str) -> int:
    """Say how many events a hop was counted for."""
    return times.latency.of(hop, event_class).cumulative()[-1]


def test_each_hop_is_taken_from_where_the_last_one_ended() -> None:
    """From exchange to socket by the exchange's clock, then by ours."""
    times = HopTimes(offset_ms=lambda: 20)
    one = message(TRADES, NOON_US)
    times.sent([one], NOON_US + 3000)
    times.confirmed(one, NOON_US + 10_000)
    totals = {hop: times.latency.of(hop, "trade").total for hop in (RECEIVE, PUBLISH, CONFIRM)}
    assert {hop: round(total, 6) for hop, total in totals.items()} == {
        RECEIVE: 0.025,
        PUBLISH: 0.003,
        CONFIRM: 0.007,
    }
    assert round(times.whole.of("trade").total, 6) == 0.01  # socket to confirm


def test_a_venue_ahead_of_us_makes_no_negative_time() -> None:
    """A sum that falls would look like a restart."""
    times = HopTimes(offset_ms=lambda: -1000)
    times.sent([message(TRADES, NOON_US)], NOON_US)
    assert times.latency.of(RECEIVE, "trade").total == 0.0
    assert count(times, RECEIVE, "trade") == 1


def test_a_slow_flow_is_timed_event_by_event() -> None:
    """Below the rate that is sampled each stands for itself."""
    times = HopTimes()
    for number in range(50):
        now = NOON_US + number * 100_000
        batch = [message(TRADES, now) for _ in range(5)]
        times.sent(batch, now)
        assert [one.stands_for for one in batch] == [1] * 5
    assert count(times, PUBLISH, "trade") == 250


def test_a_flood_is_sampled_and_still_counted_whole() -> None:
    """What is timed does not grow with the flow; what it stands for does."""
    times, timed = HopTimes(), 0
    for number in range(2000):  # two seconds
        now = NOON_US + number * 1000
        batch = [message(TRADES, now) for _ in range(50)]
        times.sent(batch, now)
        timed += sum(one.stands_for > 0 for one in batch)
    assert timed < 2.5 * 2 * TIMED_PER_SECOND
    assert 0.95 < count(times, PUBLISH, "trade") / 100_000 < 1.05


def test_after_a_flood_the_first_rare_events_are_timed_again() -> None:
    """What was skipped in the flood is not skipped in the quiet after it."""
    times = HopTimes()
    times.sent([message(TRADES, NOON_US) for _ in range(10_000)], NOON_US)
    later = NOON_US + 60_000_000
    rare = [message(TRADES, later + number * 1_000_000) for number in range(3)]
    for one in rare:
        times.sent([one], one.received_at)
    assert rare[-1].stands_for == 1


def test_every_private_event_is_timed_in_any_flood() -> None:
    """They are few, and what they are there for."""
    times = HopTimes()
    times.sent([message(TRADES, NOON_US) for _ in range(10_000)], NOON_US)
    orders = [message(ORDERS, NOON_US) for _ in range(20)]
    times.sent([*orders, *(message(TRADES, NOON_US) for _ in range(980))], NOON_US + 1)
    assert [one.stands_for for one in orders] == [1] * 20
    assert count(times, PUBLISH, "order") == 20


def test_what_is_sent_again_is_timed_from_its_first_write() -> None:
    """An outage between write and confirm is part of the last hop."""
    times = HopTimes()
    one = message(ORDERS, NOON_US)
    times.sent([one], NOON_US + 1000)
    times.sent([one], NOON_US + 5_000_000)
    times.confirmed(one, NOON_US + 5_001_000)
    assert count(times, PUBLISH, "order") == 1
    assert times.latency.of(CONFIRM, "order").total == 5.0


def test_markers_and_quarantined_frames_are_not_timed() -> None:
    """They were not on the way."""
    times = HopTimes()
    marker = message(TRADES, NOON_US, is_observed=False)
    frame = Message(b"x", None, TRADES.lane, 0, "id", NOON_US, is_observed=False)
    times.sent([marker, frame], NOON_US)
    assert (marker.stands_for, frame.stands_for) == (0, 0)
    assert list(times.latency.items()) == []
