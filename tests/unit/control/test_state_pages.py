"""Pages by state: the same as if every row was looked at, and without looking at every row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from uuid import UUID

import pytest

from ws_gateway.control.board import TopicBoard
from ws_gateway.control.register import Register
from ws_gateway.control.state_pages import SCANNED_ROWS, page_in_state
from ws_gateway.control.topic_states import TopicStatus
from ws_gateway.domain.subscription import Subscription, SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.ports.store import SubscriptionFilter

NOW = datetime(2026, 10, 1, tzinfo=UTC)
ACTIVE, REJECTED = SubscriptionState.ACTIVE, SubscriptionState.REJECTED
STALLED = SubscriptionState.STALLED


class Ledger:
    """Rows of services and topics in the order given, and the states of the topics."""

    def __init__(self, states: dict[Topic, SubscriptionState]) -> None:
        self.states = states
        self.looks = 0
        self.register = Register()
        self.changed: set[Topic] = set()
        self.board = TopicBoard(self._status, self._take)

    def _status(self, topic: Topic) -> TopicStatus | None:
        self.looks += 1
        return TopicStatus(topic, self.states[topic], None, 0.0, is_desired=True)

    def _take(self) -> set[Topic]:
        changed, self.changed = self.changed, set()
        return changed

    def put(self, *wishes: tuple[Topic, str]) -> None:
        """Store rows; their ids rise."""
        first = self.register.fingerprint.rows
        self.changed |= self.register.put(
            Subscription(
                UUID(int=number), topic, name, ACTIVE, "explicit", None, NOW, NOW, revision=number
            )
            for number, (topic, name) in enumerate(wishes, first + 1)
        )

    def page(
        self,
        state: SubscriptionState,
        wanted: SubscriptionFilter,
        after: UUID | None,
        limit: int = 10,
    ) -> list[int]:
        """Return the numbers of a page's rows."""
        rows = page_in_state(self.register, self.board, state, wanted, after=after, limit=limit)
        return [row.id.int for row in rows]

    def expected(
        self,
        state: SubscriptionState,
        wanted: SubscriptionFilter,
        after: UUID | None,
        limit: int = 10,
    ) -> list[int]:
        """Return the same, by looking at every row."""
        rows = self.register.page(
            lambda row: self.states[row.topic] is state and wanted.fits(row),
            after=after,
            limit=limit,
        )
        return [row.id.int for row in rows]


def topics(count: int) -> list[Topic]:
    """Build topics of two endpoints and two channels."""
    return [
        build_topic(
            Channel.TICKER if number % 3 else Channel.TRADES,
            category=Category.LINEAR if number % 2 else Category.SPOT,
            symbol=f"A{number}USDT",
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_every_page_is_what_a_look_at_every_row_would_find(seed: int) -> None:
    """States anywhere in the order, every filter, every cursor; also after states changed."""
    rng = Random(seed)
    known = topics(60)
    weights = rng.choice([(90, 5, 5), (5, 90, 5), (1, 1, 1)])
    ledger = Ledger({one: rng.choices([ACTIVE, REJECTED, STALLED], weights)[0] for one in known})
    wishes = [(topic, f"s{number}") for topic in known for number in range(30)]
    if seed % 2:
        rng.shuffle(wishes)
    ledger.put(*wishes)
    filters = [
        SubscriptionFilter(),
        SubscriptionFilter(requesting_service="s7"),
        SubscriptionFilter(channel=Channel.TRADES),
        SubscriptionFilter(category=Category.SPOT),
        SubscriptionFilter(symbol="A4USDT"),
        SubscriptionFilter(symbol="NOSUCH"),
        SubscriptionFilter(requesting_service="nobody"),
        SubscriptionFilter(services=frozenset({"s1", "s2", "nobody"})),
        SubscriptionFilter(requesting_service="s3", services=frozenset({"s3"})),
    ]
    for _ in range(3):
        for state in (ACTIVE, REJECTED, STALLED):
            for wanted in filters:
                for at in (None, *(UUID(int=rng.randrange(len(wishes))) for _ in range(5))):
                    found = ledger.page(state, wanted, at)
                    assert found == ledger.expected(state, wanted, at), (wanted, at)
                    # The state of the filter itself is the stored one, which is not believed.
                    lied = replace(wanted, state=STALLED)
                    assert ledger.page(state, lied, at) == found
        for topic in rng.sample(known, 20):
            ledger.states[topic] = rng.choice([ACTIVE, REJECTED, STALLED])
            ledger.changed.add(topic)
        ledger.changed |= ledger.register.drop(
            UUID(int=rng.randrange(1, len(wishes))) for _ in range(50)
        )


class Walked(Register):
    """Counts the rows that are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def behind(self, after: UUID | None):  # type: ignore[no-untyped-def]  # noqa: ANN201 - as above
        """Count."""
        for row in super().behind(after):
            self.rows += 1
            yield row


@pytest.mark.parametrize("state", [ACTIVE, REJECTED, STALLED])
def test_a_page_by_state_does_not_walk_the_table(state: SubscriptionState) -> None:
    """None, few at the far end, or nearly all are in the state: a bounded part is walked."""
    known = topics(200)
    ledger = Ledger(dict.fromkeys(known, ACTIVE) | {known[-1]: REJECTED})
    ledger.register = walked = Walked()
    ledger.put(*((topic, f"s{number}") for topic in known for number in range(50)))
    found = ledger.page(state, SubscriptionFilter(), None, limit=101)
    assert len(found) == {ACTIVE: 101, REJECTED: 50, STALLED: 0}[state]
    assert walked.rows <= SCANNED_ROWS


def test_a_status_is_asked_again_only_where_it_may_have_changed() -> None:
    """Every topic once, then those alone that somebody doubts; a look that finds no doubt none."""
    known = topics(50)
    ledger = Ledger(dict.fromkeys(known, ACTIVE))
    ledger.put(*((topic, "s") for topic in known))
    assert ledger.board.counts() == {"active": 50}
    assert ledger.looks == 50
    ledger.states[known[3]] = REJECTED
    ledger.changed.add(known[3])
    assert ledger.board.counts() == {"active": 49, "rejected": 1}
    assert sum(ledger.board.wanted_counts().values()) == 50
    assert ledger.looks == 51
