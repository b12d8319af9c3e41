"""What comes back from disk is of the account it was of, and no account's numbers are another's."""

from __future__ import annotations

import msgspec

from ws_gateway.delivery.envelope import Address, body_of
from ws_gateway.delivery.spool_records import Restorer, condense, time_of
from ws_gateway.domain.event import Event, Kind, Observation
from ws_gateway.domain.topic import Channel, build_topic
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.spool_format import Record


def record(account: str | None, sequence: int, at: int = 1) -> Record:
    """Return an order's event of an account as it lies on disk."""
    topic = build_topic(Channel.ORDER, account=account)
    fact = Observation(
        topic, Kind.UPDATE, f"{topic.key}:{sequence}", "linear", "BTCUSDT", at, None, 2, "0" * 32,
        None, b"{}",
    )  # fmt: skip
    frames = Address("x", fact, "main").frames(Event(fact, "E", sequence))
    return Record(frames, is_observed=True, is_loss=False)


def restorer() -> Restorer:
    """Return one whose first account is `main`."""
    return Restorer(
        Counters(), exchange="x", account="main", clock_us=lambda: 5, new_trace_id=lambda: "1" * 32
    )


def accounts_of(restored: list[bytes]) -> list[str]:
    """Return the accounts that envelopes name."""
    return [msgspec.json.decode(body_of(each))["account"] for each in restored]


def test_numbers_of_two_accounts_are_followed_apart() -> None:
    """Their topics and epochs have the same names; no hole is seen where there is none."""
    one = restorer()
    order = [(None, 1), ("hedge", 7), (None, 2), ("hedge", 8), (None, 3)]
    messages = [each for place in order for each in one.restore(record(*place)).messages]
    assert [each.sequence for each in messages] == [1, 7, 2, 8, 3]
    assert [each.topic and each.topic.account for each in messages] == [
        None, "hedge", None, "hedge", None,
    ]  # fmt: skip
    (gap, _), lost, _ = one.restore(record("hedge", 11))
    assert gap.topic == lost
    assert gap.topic is not None
    assert gap.topic.key == "private@hedge:order"
    assert accounts_of([gap.data]) == ["hedge"]


def test_what_had_to_be_dropped_is_told_to_each_account() -> None:
    """One loss per account, each with its own numbers."""
    losses = condense([record(None, 1), record("hedge", 7), record(None, 2), record("hedge", 8)])
    one = restorer()
    gaps = [each for loss in losses for each in one.restore(loss).messages]
    assert accounts_of([each.data for each in gaps]) == ["main", "hedge"]
    holes = [msgspec.json.decode(body_of(each.data))["payload"] for each in gaps]
    assert [(hole["from_sequence"], hole["to_sequence"]) for hole in holes] == [(1, 2), (7, 8)]


def test_what_had_to_be_dropped_says_since_when_though_it_is_dropped_bit_by_bit() -> None:
    """So whoever reads it again goes back far enough; an older version did not note it."""
    (first,) = condense([record(None, 2, at=700), record(None, 1, at=500)])
    (both,) = condense([first, record(None, 3, at=900)])
    assert time_of(both) == time_of(first) == 500
    assert time_of(record(None, 4, at=900)) == 900
    older = msgspec.json.encode(
        {"topic": "order", "epoch": "E", "account": "main", "first": 1, "last": 2}
    )
    (mixed,) = condense([Record(older, is_observed=False, is_loss=True), both])
    assert time_of(mixed) is None
