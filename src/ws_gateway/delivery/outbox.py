"""Messages the gateway answers for: waiting to be sent, or sent and not yet confirmed.

Each lane waits in a queue of its own, bounded in events and bytes, so that a flood in one takes
nothing from another; private facts may use all that is free. Once a lane was refused it stays
refused until its level has fallen, so that a stream is not torn into crumbs. Private and public
lanes have their own ways to the broker (decision 22).
"""

from __future__ import annotations

from ws_gateway.delivery.flight import PublicFlight
from ws_gateway.delivery.lanes import PUBLIC_SHARE, LaneQueue
from ws_gateway.delivery.latest import LatestValues
from ws_gateway.delivery.message import Message
from ws_gateway.delivery.private_flight import PrivateFlight
from ws_gateway.domain.topic import Lane

# Named once: members are compared with per event, and naming one costs a lookup.
_PRIVATE, _LATEST = Lane.PRIVATE, Lane.LATEST

_RESUME_SHARE = 0.5
_HEAVY_SHARE = 0.5
_SCARCE_SHARE = 0.95


class Outbox:
    """The bounded store between the pipeline and the broker.

    Attributes:
        private, public: the two ways to the broker.
        latest: what newer values may take the place of.
    """

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._lanes = {lane: LaneQueue(lane, max_events, max_bytes) for lane in Lane}
        self._private = self._lanes[_PRIVATE]
        public = [queue for lane, queue in self._lanes.items() if lane is not _PRIVATE]
        self._may_refuse = False
        self._most = (max_events, max_bytes)
        self.latest = LatestValues(self._lanes[_LATEST])
        self.private = PrivateFlight(self._private)
        self.public = PublicFlight(public, self.latest)

    # ── levels ────────────────────────────────────────────────────────────────────────────────

    @property
    def events(self) -> int:
        """Count the observations held."""
        return sum(queue.observed for queue in self._lanes.values())

    @property
    def messages(self) -> int:
        """Count everything held, markers and quarantined frames included."""
        return sum(queue.messages for queue in self._lanes.values())

    @property
    def size_bytes(self) -> int:
        """Sum the bytes held."""
        return sum(queue.size_bytes for queue in self._lanes.values())

    @property
    def unconfirmed(self) -> int:
        """Count what was sent and not yet answered for, on both ways."""
        return self.private.unconfirmed + self.public.unconfirmed

    def lanes(self) -> list[LaneQueue]:
        """Return every lane's queue, to be looked at, private first."""
        for queue in self._lanes.values():
            queue.note_peak()
        return list(self._lanes.values())

    def has_room(self, lane: Lane) -> bool:
        """Say whether a message of this lane would be taken."""
        queue = self._lanes[lane]
        if queue is self._private:
            return self._has_private_room(queue)
        if queue.is_refused:
            queue.is_refused = queue.is_above(_RESUME_SHARE)
        elif queue.messages >= queue.most_messages or queue.size_bytes >= queue.most_bytes:
            queue.is_refused = self._may_refuse = True
        return not queue.is_refused

    def _has_private_room(self, queue: LaneQueue) -> bool:
        if queue.is_refused:
            queue.is_refused = self._is_above(PUBLIC_SHARE)
        elif self._is_above(1.0):
            queue.is_refused = self._may_refuse = True
        return not queue.is_refused

    @property
    def is_refusing(self) -> bool:
        """Say whether a lane was refused and has not been asked again since."""
        if self._may_refuse:
            self._may_refuse = any(queue.is_refused for queue in self._lanes.values())
        return self._may_refuse

    def _is_above(self, share: float) -> bool:
        max_events, max_bytes = self._most
        return self.messages >= max_events * share or self.size_bytes >= max_bytes * share

    # ── in ────────────────────────────────────────────────────────────────────────────────────

    def put(self, message: Message) -> None:
        """Take a message; ask `has_room` first."""
        queue = self._lanes[message.lane]
        queue.waiting.append(message)
        queue.messages += 1
        queue.observed += message.is_observed
        queue.size_bytes += len(message.data)

    def hold(self, message: Message) -> None:
        """Account for a message that is held elsewhere in memory."""
        self._lanes[message.lane].hold(message)

    def release(self, message: Message) -> None:
        """Account for such a message no more."""
        self._lanes[message.lane].release(message)

    # ── what the spool asks ───────────────────────────────────────────────────────────────────

    @property
    def is_private_heavy(self) -> bool:
        """Say whether private messages take up half of memory, or the last of it."""
        private = self._private
        return private.is_above(_HEAVY_SHARE) or (
            private.messages > 0 and self._is_above(_SCARCE_SHARE)
        )

    @property
    def private_held(self) -> int:
        """Count all private messages held."""
        return self._private.messages

    @property
    def private_reserve(self) -> int:
        """Count the messages that no public lane may keep out."""
        return int(self._most[0] * (1 - PUBLIC_SHARE))
