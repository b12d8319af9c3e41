"""What all sessions of a feed share, and whom they ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Protocol

from ws_gateway.ports.event_path import FrameRecorder, ObservationSink, UnreadableSink
from ws_gateway.ports.feed import TopicObserver, VenueNotices
from ws_gateway.runtime.counters import VenueTally
from ws_gateway.runtime.sampling import Sampling
from ws_gateway.venue.attempts import Spacing
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.frame_lines import AskedBy
from ws_gateway.venue.protocol import Timing


class LoginDiagnosis(Protocol):
    """Why a login was refused, as far as it could be found out."""

    @property
    def fault(self) -> StrEnum:
        """Name it in one of a few words."""

    @property
    def detail(self) -> str:
        """Say it to a person, with what to do."""

    @property
    def is_mended(self) -> bool:
        """Say whether the next login will fare better, so that it need not wait."""


class LoginDoctor(Protocol):
    """Finds out over REST why a login was refused, and by how much the clocks differ."""

    @property
    def offset_ms(self) -> int:
        """Milliseconds the venue's clock is ahead of ours, as measured last."""

    async def diagnose(self, words: str, credentials: Credentials) -> LoginDiagnosis:
        """Find out why the venue refused with these words; never fails."""


class NoticeBoard(VenueNotices, Protocol):
    """What the venue announced, also as its own stream tells it."""

    def absorb(self, rows: Iterable[object]) -> None:
        """Take note of rows of `system.status`."""


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What every session of a feed shares.

    Attributes:
        sink: where facts and breaks go.
        doctor: asked when a login is refused; None takes the venue's words as they are.
        notices: what the venue announced; None knows of nothing.
        private_sink: where private facts and breaks go; None takes `sink` for them too.
        tally: where attempts, losses and stalls are counted.
        sampling: of which frames there is a log line.
        asked_by: who asked for a topic, for the lines about requests to the venue.
        recorder: where raw frames are recorded; None records nothing.
        connect_deadline_seconds, handshake_deadline_seconds: of TCP, and of TLS and upgrade.
    """

    environment: str
    sink: ObservationSink
    unreadable: UnreadableSink
    observer: TopicObserver
    rng: Random
    clock_us: Callable[[], int]
    new_trace_id: Callable[[], str]
    doctor: LoginDoctor | None = None
    notices: NoticeBoard | None = None
    private_sink: ObservationSink | None = None
    tally: VenueTally = field(default_factory=VenueTally)
    connect_deadline_seconds: float = 10.0
    handshake_deadline_seconds: float = 10.0
    sampling: Sampling = field(default_factory=Sampling)
    asked_by: AskedBy = field(default_factory=AskedBy)
    recorder: FrameRecorder | None = None
    spacing: Spacing = field(default_factory=Spacing)
    timing: Timing = field(default_factory=Timing)
