"""Pages of the subscriptions whose topics are in one state.

The stored state may have been written by others, so the topics' own counts. What a page costs goes
with the page, or with how many topics are in that state, and never with how many rows there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from heapq import heapify, heappop, heapreplace, nsmallest
from itertools import islice
from uuid import UUID

from ws_gateway.control.board import TopicBoard
from ws_gateway.control.register import Register
from ws_gateway.domain.subscription import Subscription, SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.ports.store import SubscriptionFilter

SCANNED_ROWS = 500
"""How many rows are looked at in turn before the topics are: where most are in the state, or are
found near, that is soonest done."""


def page_in_state(
    register: Register,
    board: TopicBoard,
    state: SubscriptionState,
    wanted: SubscriptionFilter,
    *,
    after: UUID | None,
    limit: int,
) -> list[Subscription]:
    """Return up to `limit` in order of creation, beginning behind `after`.

    Args:
        register: every row; it has to be complete.
        board: the topics' states.
        state: of the topics that are wanted.
        wanted: further filters; its own state is left aside.
        after: id behind which to begin, None for the first page.
        limit: most rows of the page.
    """
    wanted = replace(wanted, state=None)
    services = _services(wanted)
    topics = board.wanted_in(state)
    if services is not None:
        ids = (
            one
            for service in services
            for one in _of_service(register, service, board, state, topics)
            if after is None or one > after
        )
        rows = (row for one in ids if (row := register.get(one)) is not None and wanted.fits(row))
        return nsmallest(limit, rows, key=lambda row: row.id)
    found: list[Subscription] = []
    scanned = list(islice(register.behind(after), SCANNED_ROWS))
    for row in scanned:
        status = board.get(row.topic)
        if status is not None and status.state is state and wanted.fits(row):
            found.append(row)
            if len(found) == limit:
                return found
    if len(scanned) == SCANNED_ROWS:
        rest = _of_topics(register, topics, wanted, scanned[-1].id)
        found += islice(rest, limit - len(found))
    return found


def _services(wanted: SubscriptionFilter) -> Collection[str] | None:
    """Name the services whose rows may be shown, None if anybody's may."""
    if wanted.requesting_service is not None:
        return (wanted.requesting_service,)
    return wanted.services


def _of_service(
    register: Register,
    service: str,
    board: TopicBoard,
    state: SubscriptionState,
    topics: Iterable[Collection[Topic]],
) -> Iterator[UUID]:
    """Tell a service's rows whose topics are in a state, by whichever are fewer."""
    own = register.of_service(service)
    if len(own) < sum(len(each) for each in topics):
        for topic, one in own.items():
            status = board.get(topic)
            if status is not None and status.state is state:
                yield one
    else:
        yield from (own[topic] for each in topics for topic in each if topic in own)


def _of_topics(
    register: Register,
    topics: Iterable[Collection[Topic]],
    wanted: SubscriptionFilter,
    after: UUID,
) -> Iterator[Subscription]:
    """Tell the rows of topics in order of creation, beginning behind `after`."""
    first: list[tuple[int, Iterator[Subscription], Subscription]] = []
    for topic in (topic for each in topics for topic in each):
        rows = register.of_topic(topic, after)
        row = next(rows, None)
        # But for the service, which is none's here, all rows of a topic are filtered alike.
        if row is not None and wanted.fits(row):
            first.append((row.id.int, rows, row))
    heapify(first)
    while first:
        _, rows, row = first[0]
        yield row
        if (following := next(rows, None)) is None:
            heappop(first)
        else:
            heapreplace(first, (following.id.int, rows, following))
