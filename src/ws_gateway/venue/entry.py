"""What is known of one topic on one socket."""

from __future__ import annotations

from dataclasses import dataclass

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.venue.pace import Pace


@dataclass(frozen=True, slots=True)
class TopicChange:
    """A topic has a new state.

    Attributes:
        error: why, if that needs words; the venue's own if it was refused.
        retry_at: monotonic time at which a refused one is asked for again, None if it is not.
    """

    topic: Topic
    state: SubscriptionState
    error: str | None = None
    retry_at: float | None = None


@dataclass(slots=True)
class Entry:
    """One topic of the intent.

    Attributes:
        error: why the state is what it is, if that needs words.
        pace: how often data come.
        frames: how many came on the sockets so far.
        acked_at: monotonic time of an ack that proves nothing, None if there was none.
        frames_before: frames that had come when it was last asked for.
        is_judged: it was refused by us for its silence, not by the venue.
        refusals: how often in a row it was refused and is to be asked for again.
        words: the venue's, of the newest of these refusals.
        retry_at: when it is asked for again after such a refusal, 0 if it need not be.
        group: names those that were refused with it.
        is_doubted: it was silent on another socket, so that an ack is not enough.
        silent_since: when its newest data came, while it is stalled.
        marked_frames: how many had come when it was last called missed with its whole socket.
        due: when the next step against its silence is to be taken.
        pause: seconds to the step after that.
    """

    topic: Topic
    state: SubscriptionState
    pace: Pace
    error: str | None = None
    frames: int = 0
    acked_at: float | None = None
    frames_before: int = 0
    is_judged: bool = False
    is_doubted: bool = False
    refusals: int = 0
    words: str | None = None
    retry_at: float = 0.0
    group: str = ""
    silent_since: float = 0.0
    marked_frames: int = -1
    due: float = 0.0
    pause: float = 0.0

    @property
    def has_data(self) -> bool:
        """Say whether data came since it was last asked for."""
        return self.frames > self.frames_before
