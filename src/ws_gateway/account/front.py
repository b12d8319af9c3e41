"""What venue and control see of an account."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import structlog

from ws_gateway.account.reconcile import Reconciliation
from ws_gateway.account.stage import AccountStage
from ws_gateway.domain.event import GapReason, Observation
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.ports.feed import TopicObserver

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def _by_account(topics: Iterable[Topic]) -> Mapping[str | None, list[Topic]]:
    of_account: defaultdict[str | None, list[Topic]] = defaultdict(list)
    for topic in topics:
        of_account[topic.account].append(topic)
    return of_account


class PrivateFronts:
    """The fronts of all accounts; each topic goes to its own account's.

    Args:
        fronts: by the account of topics, None the first, which also hears of public topics.
    """

    def __init__(self, fronts: Mapping[str | None, PrivateFront]) -> None:
        self._fronts = fronts

    def accept(self, observation: Observation) -> None:
        """Take one private fact."""
        self._fronts[observation.topic.account].accept(observation)

    def suppress(self, observation: Observation) -> None:
        """Take note of a repeat."""
        self._fronts[observation.topic.account].suppress(observation)

    def last_update_id(self, topic: Topic) -> int | None:
        """Return what the pipeline last took of a book."""
        return self._fronts[topic.account].last_update_id(topic)

    def break_streams(
        self,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        *,
        is_announced: bool = True,
    ) -> None:
        """Take note that facts are being missed, account by account."""
        for account, broken in _by_account(topics).items():
            self._fronts[account].break_streams(broken, reason, detail, is_announced=is_announced)

    def facts_lost(self, topics: Iterable[Topic] | None, since: int | None = None) -> None:
        """Take note that what was told did not arrive, account by account; None is all of it.

        The disk may hold losses of an account that has been taken out of the settings since: nobody
        can read those again, and they must not cost the accounts that are there.
        """
        if topics is None:
            for front in self._fronts.values():
                front.facts_lost(None, since)
            return
        for account, lost in _by_account(topics).items():
            if account in self._fronts:
                self._fronts[account].facts_lost(lost, since)
            else:
                named = sorted(topic.name for topic in lost)
                log.warning("account.loss_of_unknown", account=account, topics=named)

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        """Pass a topic's state on."""
        self._fronts[topic.account].topic_changed(topic, state, error)


class PrivateFront:
    """What the venue sees of the account: the stage, with an ear for breaks; a sink.

    Also a `TopicObserver`, before the one that control has.
    """

    def __init__(
        self, stage: AccountStage, reconciliation: Reconciliation, observer: TopicObserver
    ) -> None:
        self._stage = stage
        self._reconciliation = reconciliation
        self._observer = observer
        self.accept = stage.accept
        self.suppress = stage.suppress
        self.last_update_id = stage.last_update_id

    def break_streams(
        self,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        *,
        is_announced: bool = True,
    ) -> None:
        """Take note that facts are being missed from now on; they will be asked for over REST."""
        broken = list(topics)
        if is_announced:
            self._reconciliation.streams_broken(broken, reason)
        self._stage.break_streams(broken, reason, detail, is_announced=is_announced)

    def facts_lost(self, topics: Iterable[Topic] | None, since: int | None = None) -> None:
        """Let what was told and did not arrive, None for all of it, be told again by a reading."""
        lost = None if topics is None else list(topics)
        self._stage.facts_lost(self._reconciliation.wanted() if lost is None else lost)
        self._reconciliation.facts_lost(lost, since)

    def topic_changed(self, topic: Topic, state: SubscriptionState, error: str | None) -> None:
        """Pass a topic's state on."""
        self._reconciliation.topic_changed(topic, state)
        self._observer.topic_changed(topic, state, error)
