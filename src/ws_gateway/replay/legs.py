"""The connections of a recording, as their topics were carried: one, two, or a successor too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ws_gateway.domain.event import GapReason, Observation
from ws_gateway.domain.topic import Category, Topic
from ws_gateway.ports.event_path import ObservationSink
from ws_gateway.venue.merge import Merge
from ws_gateway.venue.succession import Replacing

_LINGER_US = int(Replacing().linger * 1e6)


@dataclass(eq=False)
class PlayedLeg:
    """One connection of a recording.

    Attributes:
        name: as it was called.
        category: of its socket; None for the private one and that of the system status.
        shard: what it shares its topics with.
        account: the further account it is of, None for the first and for public ones.
        wanted: topics it was asked for, by name.
        left: names of topics it was asked for no more.
        requests: topics of subscribes that are not answered, by request id.
        carried_since: since when it carried each topic, Unix µs.
        heard_at: when its newest frame came, Unix µs.
    """

    name: str
    category: Category | None
    shard: PlayedShard
    account: str | None = None
    wanted: dict[str, Topic] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    requests: dict[str, list[str]] = field(default_factory=dict)
    carried_since: dict[str, int] = field(default_factory=dict)
    heard_at: int = 0

    def carry(self, names: Iterable[str], at: int) -> None:
        """Take note that it carries topics, unless it does so for longer."""
        for name in names:
            if name in self.wanted:
                self.carried_since.setdefault(name, at)

    def suspects(self, name: str | None) -> list[Topic]:
        """Name the topics an unreadable frame may have belonged to."""
        if name is not None:
            return [self.wanted[name]] if name in self.wanted else []
        flowing = (self.wanted[each] for each in self.carried_since if each in self.wanted)
        return [topic for topic in flowing if not topic.has_update_ids]


class PlayedShard:
    """Connections that carried the same topics; two at once are joined as the live path does."""

    def __init__(self, sink: ObservationSink) -> None:
        self._sink = sink
        self.legs: dict[str, PlayedLeg] = {}
        self._merge: Merge | None = None
        self._merge_ends_at: int | None = None

    def join(self, leg: PlayedLeg) -> None:
        """Take a connection in."""
        self._merge_ends_at = None
        if self.legs and leg.name not in self.legs and self._merge is None:
            self._merge = Merge(self._sink, lambda _leg, _topic: None, list(self.legs))
        self.legs[leg.name] = leg

    def asked(self, leg: PlayedLeg) -> None:
        """Take note that a connection asked for topics, so that its copies are awaited."""
        if self._merge is not None:
            self._merge.join(leg.name)

    def accept(self, leg: PlayedLeg, fact: Observation) -> None:
        """Take a fact of a connection."""
        ends_at = self._merge_ends_at
        if ends_at is not None and fact.received_at >= ends_at:
            self._merge = self._merge_ends_at = None
        if self._merge is None:
            self._sink.accept(fact)
        else:
            self._merge.take(leg.name, fact)

    def await_snapshot(self, topic: Topic) -> None:
        """Take note that the pipeline asked for a snapshot."""
        if self._merge is None:
            return
        for leg in self.legs.values():
            if topic.name in leg.carried_since:
                self._merge.await_snapshot(leg.name, topic)
                return

    def unsubscribed(self, leg: PlayedLeg, topic: Topic) -> None:
        """Take note that a connection asks for a topic no more."""
        if any(topic.name in other.wanted for other in self.legs.values() if other is not leg):
            return
        reason = GapReason.RESUBSCRIBE
        self._sink.break_streams([topic], reason, "it was unsubscribed", is_announced=False)
        if self._merge is not None:
            self._merge.forget(topic)

    def broken(
        self,
        leg: PlayedLeg,
        topics: list[Topic],
        reason: GapReason,
        detail: str,
        *,
        is_told_by_others: bool = True,
    ) -> None:
        """Break what a connection missed, as far as no other carried it."""
        if self._merge is None:
            self._sink.break_streams(topics, reason, detail)
            return
        is_unreadable = reason is GapReason.SEQUENCE
        self._merge.break_streams(
            leg.name,
            topics,
            reason,
            detail,
            is_told_by_others=lambda topic: (
                is_told_by_others
                and not (is_unreadable and not topic.has_update_ids)
                and self._is_told(topic, leg)
            ),
            for_good=leg.name not in self.legs,
        )

    def leave(self, leg: PlayedLeg, why: str, at: int) -> None:
        """Let a connection go that was closed on purpose."""
        topics = list(leg.wanted.values())
        self.legs.pop(leg.name, None)
        if self.legs:
            self.broken(leg, topics, GapReason.DISCONNECT, why)
            if len(self.legs) == 1:
                self._merge_ends_at = at + _LINGER_US
        else:
            self._merge = None
            self._sink.break_streams(topics, GapReason.DISCONNECT, why, is_announced=False)

    def _is_told(self, topic: Topic, besides: PlayedLeg) -> bool:
        return any(
            leg is not besides
            and leg.carried_since.get(topic.name, besides.heard_at + 1) <= besides.heard_at
            for leg in self.legs.values()
        )
