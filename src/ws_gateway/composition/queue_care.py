"""What looks after the queues, joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import SystemRandom

from ws_gateway.composition.data_path import DataPath
from ws_gateway.config import Settings
from ws_gateway.delivery.backlog import BacklogMonitor
from ws_gateway.delivery.dedicated import DedicatedKeeper
from ws_gateway.delivery.management import ManagementApi
from ws_gateway.delivery.steward import QueueSteward
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.event import GapReason
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Channel, Topic
from ws_gateway.storage.queues import PostgresQueues
from ws_gateway.storage.subscriptions import PostgresSubscriptions

_TOLD_IN_DELTAS = frozenset({Channel.ORDERBOOK, Channel.ORDERBOOK_RPI, Channel.TICKER})


@dataclass(frozen=True, slots=True)
class QueueCare:
    """What looks after the queues, joined.

    Attributes:
        management: the broker's management API, None without its address.
    """

    steward: QueueSteward
    monitor: BacklogMonitor
    management: ManagementApi | None

    async def run(self) -> None:
        """Look after the queues until cancelled."""
        try:
            await self.steward.run()
        finally:
            if self.management is not None:
                await self.management.close()


def build_queue_care(settings: Settings, store: PostgresSubscriptions, path: DataPath) -> QueueCare:
    """Join what looks after the queues; nothing connects until it is run."""
    names = Names(settings.amqp_prefix)

    def begin(topics: Sequence[Topic], why: str) -> None:
        states = path.feed.wanted()
        for topic in topics:
            if states.get(topic) is SubscriptionState.ACTIVE:
                path.runner.break_streams([topic], GapReason.RESUBSCRIBE, why)
                if topic.channel in _TOLD_IN_DELTAS:
                    path.feed.resync(topic)

    def begun(topics: Sequence[Topic]) -> None:
        """Let a queue that joins a flowing stream begin with a snapshot: deltas are of no use."""
        told_in_deltas = [topic for topic in topics if topic.channel in _TOLD_IN_DELTAS]
        begin(told_in_deltas, "asked for again, because a further queue begins here")

    def emptied(topics: Sequence[Topic]) -> None:
        """Mark all that was in a queue that vanished, whatever it is told in."""
        begin(topics, "a queue of one service was deleted and is declared again, empty")

    url = settings.amqp_url.get_secret_value()
    keeper = DedicatedKeeper(
        PostgresQueues(store), names, settings.queue_type, begun, emptied=emptied
    )
    management = None
    if settings.rabbitmq_management_url is not None:
        management = ManagementApi(
            settings.rabbitmq_management_url.get_secret_value(), url, settings.amqp_prefix
        )
    monitor = BacklogMonitor(
        names,
        settings.queue_type,
        keeper,
        path.counters,
        management=management,
        missed=path.publisher.doubt_queues,
        is_declared=path.publisher.has_declared,
    )
    return QueueCare(
        QueueSteward(url, names, keeper, monitor, rng=SystemRandom()), monitor, management
    )
