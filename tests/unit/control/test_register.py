"""The ledger's copy in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from ws_gateway.control.register import Register
from ws_gateway.domain.subscription import Subscription, SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.ports.store import Fingerprint, RowChange, SubscriptionFilter

NOW = datetime(2026, 10, 1, tzinfo=UTC)


def ticker(symbol: str, category: Category = Category.LINEAR) -> Topic:
    """Build a ticker."""
    return build_topic(Channel.TICKER, category=category, symbol=symbol)


A, B = ticker("AUSDT"), ticker("BUSDT")


def row(number: int, topic: Topic = A, service: str = "s", revision: int = 0) -> Subscription:
    """Build a row; its revision is its number unless told."""
    return Subscription(
        UUID(int=number),
        topic,
        service,
        SubscriptionState.REQUESTED,
        "explicit",
        None,
        NOW,
        NOW,
        revision=revision or number,
    )


def read(register: Register, *rows: Subscription) -> tuple[set[UUID], set[UUID]]:
    """Let the register read a ledger that holds these."""
    register.begin_reading()
    count = Fingerprint(len(rows), sum(one.revision for one in rows))
    return register.end_reading((count, list(rows)))


def test_a_topic_is_wanted_from_its_first_row_to_its_last() -> None:
    """Only these two tell of it; what is heard twice tells nothing."""
    register = Register()
    one, two = row(1), row(2, service="t")
    assert register.put([one]) == {A}
    assert register.put([one, two]) == set()
    assert register.services(A) == 2
    assert register.drop([one.id]) == set()
    assert register.drop([two.id, two.id]) == {A}
    assert register.topics == {}


def test_a_row_that_wants_another_topic_begins_one_and_ends_one() -> None:
    """As when a person corrects it."""
    register = Register()
    register.put([row(1)])
    assert register.put([row(1, B, revision=7)]) == {A, B}
    assert set(register.topics) == {B}
    assert register.put([row(1, A, revision=6)]) == set()  # older news that came late


def test_news_of_a_row_that_is_gone_come_too_late() -> None:
    """The answer to an INSERT may be read after the word of its DELETE."""
    register = Register()
    register.drop([UUID(int=1)])
    assert register.put([row(1)]) == set()
    assert register.knows(RowChange(UUID(int=1), 1))


def test_the_fingerprint_follows_what_is_put_and_dropped() -> None:
    """So the database need not be read again for what this process did itself."""
    register = Register()
    read(register, row(1), row(2, B))
    assert register.fingerprint == (2, 3)
    register.put([row(3, service="t"), row(1, revision=9)])
    assert register.fingerprint == (3, 14)
    register.drop([UUID(int=2)])
    assert register.fingerprint == (2, 12)


def test_what_changes_while_the_ledger_is_read_counts() -> None:
    """What was read is of an earlier moment."""
    register = Register()
    read(register, row(1), row(2, B))
    register.begin_reading()
    register.put([row(3, service="t")])
    register.drop([UUID(int=1)])
    new, gone = register.end_reading((Fingerprint(2, 3), [row(1), row(2, B)]))
    assert (new, gone) == (set(), set())  # both were acted on when they came
    assert register.get(UUID(int=1)) is None
    assert register.get(UUID(int=3)) is not None
    assert register.fingerprint == (2, 5)


def test_reading_again_tells_what_was_missed() -> None:
    """Rows that nobody told of, and rows that went without a word."""
    register = Register()
    before = register.is_complete
    assert read(register, row(1)) == ({UUID(int=1)}, set())
    assert (before, register.is_complete) == (False, True)
    assert read(register, row(2, B)) == ({UUID(int=2)}, {UUID(int=1)})
    register.begin_reading()
    assert register.end_reading(None) == (set(), set())  # the database went away
    assert set(register.topics) == {B}


def test_pages_are_cut_in_order_of_creation() -> None:
    """Filters narrow together; the row of the cursor may be gone."""
    register = Register()
    rows = [row(number, ticker(f"C{number}USDT"), f"s{number % 3}") for number in range(1, 30)]
    register.put(reversed(rows))

    def page(wanted: SubscriptionFilter, after: int | None, limit: int) -> list[int]:
        behind = None if after is None else UUID(int=after)
        return [one.id.int for one in register.page(wanted.fits, after=behind, limit=limit)]

    assert page(SubscriptionFilter(), None, 100) == list(range(1, 30))
    register.drop([UUID(int=5)])
    assert page(SubscriptionFilter(), 5, 2) == [6, 7]
    own = SubscriptionFilter(services=frozenset({"s1"}), symbol="C4USDT")
    assert page(own, None, 9) == [4]
    assert page(replace(own, services=frozenset({"s2"})), None, 9) == []


def test_what_a_service_has_of_a_name_is_found_whatever_its_category() -> None:
    """So the same wish stays the same when the lists of instruments change."""
    register = Register()
    register.put([row(1, ticker("AUSDT", Category.SPOT))])
    found = register.standing("s", A)
    assert found is not None
    assert found.topic.category is Category.SPOT
    assert register.standing("t", A) is None
    register.put([row(2, A)])
    found = register.standing("s", A)
    assert found is not None
    assert found.topic == A


def test_a_row_that_was_given_to_another_service_is_that_ones_alone() -> None:
    """As when a person corrects it: nobody finds it under the name it had."""
    register = Register()
    register.put([row(1, service="s")])
    register.put([row(1, service="t", revision=2)])
    assert register.of_service("s") == {}
    assert register.of_service("t") == {A: UUID(int=1)}
    assert register.standing("s", A) is None
    assert [one.id.int for one in register.of_topic(A, UUID(int=0))] == [1]
    assert register.drop([UUID(int=1)]) == {A}
