"""How long topics take to become active: newly asked for, and after their connection was lost."""

from __future__ import annotations

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.runtime.histogram import PATIENT_SECONDS, Histograms

_FLOWING = frozenset({SubscriptionState.ACTIVE, SubscriptionState.STALLED})


class TopicTimes:
    """Takes the times of topics by what is said of them; `now` is monotonic seconds.

    Attributes:
        subscribing: from the wish to the first time active, by endpoint.
        resubscribing: from the loss of the connection to active again, by endpoint.
    """

    def __init__(self) -> None:
        self.subscribing = Histograms(PATIENT_SECONDS)
        self.resubscribing = Histograms(PATIENT_SECONDS)
        self._asked_at: dict[Topic, float] = {}
        self._lost_at: dict[Topic, float] = {}

    def asked(self, topic: Topic, now: float) -> None:
        """Take note that a topic is wanted that was not, or that had been refused."""
        # There from the start, so that the first value is a rise.
        self.subscribing.of(topic.endpoint.value)
        self.resubscribing.of(topic.endpoint.value)
        if topic not in self._lost_at:
            self._asked_at.setdefault(topic, now)

    def changed(
        self, topic: Topic, before: SubscriptionState, after: SubscriptionState, now: float
    ) -> None:
        """Take note of a topic's new state."""
        if after is SubscriptionState.ACTIVE:
            if (asked_at := self._asked_at.pop(topic, None)) is not None:
                self.subscribing.of(topic.endpoint.value).observe(now - asked_at)
            if (lost_at := self._lost_at.pop(topic, None)) is not None:
                self.resubscribing.of(topic.endpoint.value).observe(now - lost_at)
        elif after is SubscriptionState.REJECTED:
            self.forget(topic)
        elif after is SubscriptionState.REQUESTED and before in _FLOWING:
            self._lost_at.setdefault(topic, now)

    def forget(self, topic: Topic) -> None:
        """Wait for nothing of a topic any more."""
        self._asked_at.pop(topic, None)
        self._lost_at.pop(topic, None)
