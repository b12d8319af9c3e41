"""Each of the venue's endpoints as control sees it, and what keeps its data from flowing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import nsmallest

from ws_gateway.control.board import ByState
from ws_gateway.control.reasons import Reason
from ws_gateway.control.topic_states import TopicStatus
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Endpoint
from ws_gateway.ports.feed import ConnectionStatus, MaintenanceNotice, SessionState, VenueNotices
from ws_gateway.runtime.breaker import BreakerState

GRACE_SECONDS = 12.0
"""How long a topic may be on its way over a connection that streams before that is a reason.

Longer than the venue room waits for acks and first data (10 s each): where an ack proves nothing
it decides by then whether a topic is only quiet or does not exist, and neither is a reason."""

_COMING = (SubscriptionState.REQUESTED, SubscriptionState.PENDING)
_ONGOING = "ongoing"
_NAMED_TOPICS = 5  # how many topics a reason names

_WORST_FIRST = (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED)


@dataclass(frozen=True, slots=True)
class EndpointView:
    """What is wanted of an endpoint, of one account where it is private, and what there is.

    Attributes:
        account: whose, by name; None of public ones.
        is_first: whether that account is the first one.
        connections: all that exist to it.
        topics: what the ledger wants of it, by state; true until something is awaited.
        maintenance: what takes data from it right now, None if nothing does that was announced.
    """

    endpoint: Endpoint
    connections: tuple[ConnectionStatus, ...]
    topics: ByState
    maintenance: MaintenanceNotice | None
    account: str | None = None
    is_first: bool = True

    @property
    def subject(self) -> str:
        """Name it in reasons, as its first connection is named."""
        return self.endpoint.value if self.is_first else f"{self.endpoint}@{self.account}"

    def of(self, *states: SubscriptionState) -> list[TopicStatus]:
        """Return its wanted topics in these states."""
        return [one for state in states for one in self.topics.get(state, ())]

    def count(self, *states: SubscriptionState) -> int:
        """Say how many of its wanted topics are in these states."""
        return sum(len(self.topics.get(state, ())) for state in states)

    @property
    def desired(self) -> int:
        """Say how many topics are wanted of it."""
        return self.count(*self.topics)

    @property
    def streaming(self) -> int:
        """Say how many of its connections stream."""
        return sum(_streams(one) for one in self.connections)

    @property
    def breaker(self) -> BreakerState:
        """Name the worst of its connections' breakers."""
        states = {one.breaker for one in self.connections}
        return next((one for one in _WORST_FIRST if one in states), BreakerState.CLOSED)

    @property
    def is_flowing(self) -> bool:
        """Say whether anything that is wanted can come."""
        brings = any(_brings(one) for one in self.connections)
        return brings and self.count(SubscriptionState.ACTIVE) > 0

    def reasons(self, now: float) -> list[Reason]:
        """Tell what is wrong with it; `now` is monotonic seconds.

        What counts is whether wanted topics bring data. A connection that is down is blocking only
        if topics are missing for it, and topics that were refused are missed by nobody.
        """
        found = [*self._missing(now), *self._stalled(), *self._bringing_nothing()]
        if self.maintenance is None:
            return found
        why = _announcement(self.maintenance)
        return [replace(one, detail=f"{why}; {one.detail}", is_announced=True) for one in found]

    def _missing(self, now: float) -> Iterator[Reason]:
        if refused := self._refused_login():
            yield self._login_refused(refused)
            return
        lost = [one for one in self.connections if _is_lost(one)]
        if self.desired == self.count(SubscriptionState.REJECTED):
            # Nobody misses anything; but what keeps a login from being taken will not mend itself.
            if self.endpoint is Endpoint.PRIVATE:
                yield from self._not_streaming(lost, is_blocking=False)
            return
        if not self.connections:
            detail = "topics are wanted, no connection exists yet"
            yield Reason("connection_missing", self.subject, detail)
            return
        if not any(_brings(one) for one in self.connections):
            yield from self._not_streaming(self.connections, is_blocking=True)
            return
        overdue = [one for one in self.of(*_COMING) if now - one.since >= GRACE_SECONDS]
        # The feed takes topics back to `requested` where no other connection carries them.
        unsent = self.count(SubscriptionState.REQUESTED) > 0
        is_blocking = bool(lost) and (unsent or bool(overdue))
        yield from self._not_streaming(lost, is_blocking=is_blocking)
        if overdue and not is_blocking:
            detail = f"asked for and not active: {_named(overdue)}{_words(overdue)}"
            yield Reason("topics_not_active", self.subject, detail)

    def _not_streaming(
        self, connections: Iterable[ConnectionStatus], *, is_blocking: bool
    ) -> Iterator[Reason]:
        waiting = self.count(*_COMING)
        connections = list(connections)
        known = {one.last_error for one in connections}
        if is_blocking:
            why = _words(one for one in self.of(*_COMING) if one.error not in known)
            consequence = f"{waiting} of {self.desired} topics of {self.subject} wait{why}"
        else:
            consequence = "no wanted topic is missing for it"
        for one in connections:
            because = f": {one.last_error}" if one.last_error else ""
            words = (f"connection is {one.connection_status}{because}", _retry(one), consequence)
            detail = "; ".join(word for word in words if word)
            code = "login_refused" if one.is_login_refused else "connection_not_streaming"
            yield Reason(code, one.name, detail, is_blocking=is_blocking)

    def _refused_login(self) -> ConnectionStatus | None:
        """Find a connection that the venue takes no login from, unless another serves."""
        if self.endpoint is not Endpoint.PRIVATE or self.streaming:
            return None
        if not self.desired:
            return None
        return next((one for one in self.connections if one.is_login_refused), None)

    def _login_refused(self, connection: ConnectionStatus) -> Reason:
        whose = "" if self.is_first else f" of {self.account}"
        consequence = f"no private data{whose} until it is mended"
        words = (connection.last_error, _retry(connection), consequence)
        detail = "; ".join(word for word in words if word)
        return Reason("login_refused", self.subject, detail)

    def _stalled(self) -> Iterator[Reason]:
        stalled = self.of(SubscriptionState.STALLED)
        if stalled:
            detail = f"no data although acknowledged: {_named(stalled)}"
            yield Reason("topics_stalled", self.subject, detail)

    def _bringing_nothing(self) -> Iterator[Reason]:
        """Tell what is connected and brings nothing, although readiness does not hang on it."""
        refused = self.of(SubscriptionState.REJECTED)
        if refused and len(refused) == self.desired:
            words = refused[0].error or "no reason given"
            detail = f"every wanted topic was refused ({words}): {_named(refused)}"
            yield Reason("topics_refused", self.subject, detail, is_blocking=False)
        for one in self.connections:
            lived = one.connection_duration_seconds or 0.0
            is_idle = one.wanted_subscriptions and not one.active_subscriptions
            if _streams(one) and is_idle and lived >= GRACE_SECONDS and self.is_flowing:
                detail = f"none of its {one.wanted_subscriptions} topics is active on it"
                yield Reason("connection_idle", one.name, detail, is_blocking=False)


def view_endpoints(
    wanted: Callable[[Endpoint], ByState],
    connections: Iterable[ConnectionStatus],
    notices: VenueNotices | None,
    only: Endpoint | None = None,
    first_account: str | None = None,
) -> list[EndpointView]:
    """Sort what there is by endpoint; tells of those that something is wanted of or known of.

    The private endpoint is told of once per account.

    Args:
        wanted: answers the wanted topics of an endpoint.
        connections: all that exist.
        notices: None if nobody listens to the venue's announcements.
        only: tell of this one, whether or not there is anything to tell.
        first_account: name of the account whose topics name none.
    """
    of_connections: dict[str, list[ConnectionStatus]] = defaultdict(list)
    for connection in connections:
        of_connections[connection.category].append(connection)
    views = []
    for endpoint in Endpoint if only is None else (only,):
        whole = EndpointView(
            endpoint,
            tuple(of_connections.get(endpoint.value, ())),
            wanted(endpoint),
            None if notices is None else _ongoing(notices, endpoint),
        )
        parts = _by_account(whole, first_account) if endpoint is Endpoint.PRIVATE else [whole]
        views += [
            view
            for view in parts
            if only is not None or view.desired or view.connections or view.maintenance
        ]
    return views


def _by_account(whole: EndpointView, first: str | None) -> list[EndpointView]:
    """Split the private endpoint, so that one account's trouble is seen beside another's data."""
    topics: dict[str | None, dict[SubscriptionState, list[TopicStatus]]] = {first: {}}
    for state, group in whole.topics.items():
        for one in group:
            own = topics.setdefault(one.topic.account or first, {})
            own.setdefault(state, []).append(one)
    for connection in whole.connections:
        topics.setdefault(connection.account or first, {})
    return [
        replace(
            whole,
            connections=tuple(
                one for one in whole.connections if (one.account or first) == account
            ),
            topics=own,
            account=account,
            is_first=account == first,
        )
        for account, own in topics.items()
    ]


def _ongoing(notices: VenueNotices, endpoint: Endpoint) -> MaintenanceNotice | None:
    if not notices.is_ongoing(endpoint):
        return None
    concerning = [one for one in notices.notices() if endpoint in one.endpoints]
    ongoing = [one for one in concerning if one.state == _ONGOING]
    # One that was scheduled may have begun without a word of it.
    return next(iter(ongoing or concerning), None)


def _announcement(notice: MaintenanceNotice) -> str:
    until = "further notice" if notice.ends_at is None else _time(notice.ends_at)
    title = notice.title or "without a title"
    return f"maintenance: {title} until {until}, announced by Bybit"


def _retry(connection: ConnectionStatus) -> str:
    """Say when the next attempt to connect is made; empty if nothing is known."""
    due = "" if connection.retry_at is None else f"next attempt at {_time(connection.retry_at)}"
    if connection.breaker is BreakerState.OPEN:
        return f"breaker is open{', ' if due else ''}{due}"
    if connection.breaker is BreakerState.HALF_OPEN:
        return "breaker is half open, one attempt is being made to see"
    return due


def _named(topics: Collection[TopicStatus]) -> str:
    names = nsmallest(_NAMED_TOPICS, (one.topic.key for one in topics))
    more = len(topics) - _NAMED_TOPICS
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _words(topics: Iterable[TopicStatus]) -> str:
    """Say why the first of these is not there, if any says it."""
    words = next((one.error for one in topics if one.error is not None), None)
    return "" if words is None else f" ({words})"


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _streams(connection: ConnectionStatus) -> bool:
    return connection.connection_status is SessionState.STREAMING


def _brings(connection: ConnectionStatus) -> bool:
    """Say whether data can come over it: an answer that is still owed keeps back no others."""
    is_half_open = connection.connection_status is SessionState.SUBSCRIBING
    return _streams(connection) or (is_half_open and connection.active_subscriptions > 0)


def _is_lost(connection: ConnectionStatus) -> bool:
    """Say whether it failed; one that is only being opened or was left for good did not."""
    return connection.connection_status not in (SessionState.STREAMING, SessionState.CLOSED) and (
        connection.connection_status is SessionState.BACKING_OFF
        or connection.last_error is not None
        or connection.breaker is not BreakerState.CLOSED
    )
