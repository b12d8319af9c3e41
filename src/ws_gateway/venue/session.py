"""One socket's life: connect, converse, back off, again; moves bytes and sets timers only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

import structlog

from ws_gateway.domain.event import GapReason
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Topic
from ws_gateway.errors import Quarantine, VenueLost
from ws_gateway.ports import (
    ConnectionStatus,
    ObservationSink,
    SessionState,
    TopicObserver,
    UnreadableSink,
)
from ws_gateway.runtime.backoff import full_jitter
from ws_gateway.venue.connection import VenueSocket, open_socket
from ws_gateway.venue.observations import read_observations
from ws_gateway.venue.protocol import Conversation, Phase

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


_STREAMING = SessionState.STREAMING  # named once: it is compared with per frame


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What every session of a feed shares.

    Attributes:
        connect_deadline_seconds: how long TCP, TLS and handshake may take together.
        backoff_base_seconds, backoff_cap_seconds: width of the first and of every delay.
        proven_seconds: how long a connection with a good message must have lived for the delays to
            start anew; 2 s keep a venue that answers and then drops far below its limit of 500
            connections in 5 minutes.
        login_pause_seconds: least delay after a refused login, which will hardly be taken at once.
    """

    environment: str
    sink: ObservationSink
    unreadable: UnreadableSink
    observer: TopicObserver
    rng: Random
    clock_us: Callable[[], int]
    new_trace_id: Callable[[], str]
    connect_deadline_seconds: float = 10.0
    backoff_base_seconds: float = 0.5
    backoff_cap_seconds: float = 10.0
    proven_seconds: float = 2.0
    login_pause_seconds: float = 10.0


class Session:
    """Keeps one conversation with the venue alive until it is stopped."""

    def __init__(
        self, name: str, url: str, conversation: Conversation, context: SessionContext
    ) -> None:
        self.name = name
        self._url = url
        self._conversation = conversation
        self._context = context
        self._log = log.bind(connection=name)
        self._socket: VenueSocket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self._connecting: asyncio.Timeout | None = None
        self._state = SessionState.IDLE
        self._opened_at: float | None = None
        self._lived = 0.0
        self._lives = 0
        self._last_error: str | None = None

    # ── intent ────────────────────────────────────────────────────────────────────────────────

    def want(self, topics: Iterable[Topic]) -> None:
        """Subscribe to these now and after every reconnect."""
        self._conversation.want(topics, time.monotonic())
        self._carry_out()

    def drop(self, topics: Iterable[Topic]) -> None:
        """Unsubscribe from these."""
        gone = list(topics)
        self._conversation.drop(gone, time.monotonic())
        self._context.sink.break_streams(gone, GapReason.RESUBSCRIBE, "it was unsubscribed")
        self._carry_out()

    def resync(self, topic: Topic) -> None:
        """Ask for a fresh snapshot of one topic."""
        self._conversation.resync(topic, time.monotonic())
        self._carry_out()

    def states(self) -> dict[Topic, SubscriptionState]:
        """Return every topic of the intent with its state."""
        return self._conversation.states()

    @property
    def is_unused(self) -> bool:
        """Say whether nobody wants anything of it."""
        return not self._conversation.states()

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Live until `stop`; a lost socket is replaced with full-jitter backoff."""
        delays = self._fresh_delays()
        while not self._stopping.is_set():
            at_least = 0.0
            try:
                await self._live_once()
            except VenueLost as exc:
                self._lose(exc)
                at_least = self._context.login_pause_seconds if exc.reason == "login" else 0.0
            if self._conversation.made_progress and self._lived >= self._context.proven_seconds:
                delays = self._fresh_delays()
            self._conversation.made_progress = False
            if not self._stopping.is_set():
                await self._back_off(max(at_least, next(delays)))
        self._enter(SessionState.CLOSED)

    def stop(self) -> None:
        """Close the socket and let `run` end."""
        self._stopping.set()
        if self._connecting is not None:
            self._connecting.reschedule(asyncio.get_running_loop().time())
            self._connecting = None
        if self._socket is not None:
            self._socket.close("stopped")

    async def _live_once(self) -> None:
        """Open a socket and converse until it is gone.

        Raises:
            VenueLost: always, unless the session was stopped.
        """
        self._enter(SessionState.CONNECTING)
        self._lives += 1
        socket = await self._connect()
        if socket is None:
            return
        self._socket = socket
        self._opened_at = time.monotonic()
        try:
            self._conversation.opened(self._opened_at, self._context.clock_us() // 1000)
            self._carry_out()
            if self._stopping.is_set():
                socket.close("stopped")
            why = await socket.wait_closed()
        finally:
            self._socket = None
            self._lived = time.monotonic() - self._opened_at
            self._opened_at = None
            self._disarm()
            socket.close("left")
        if socket.failure is not None:
            raise socket.failure
        if not self._stopping.is_set():
            raise VenueLost("closed", why)
        self._conversation.lost()
        self._report_changes()

    async def _connect(self) -> VenueSocket | None:
        """Open a socket; answers None if the session was stopped meanwhile."""
        try:
            async with asyncio.timeout(None) as self._connecting:
                return await open_socket(
                    self._url,
                    self._take_frame,
                    deadline_seconds=self._context.connect_deadline_seconds,
                )
        except TimeoutError:
            return None  # only `stop` sets this limit; the deadline of connecting is a VenueLost
        finally:
            self._connecting = None

    def _lose(self, exc: VenueLost) -> None:
        self._last_error = exc.detail
        broken = self._conversation.lost(exc.detail if exc.reason == "login" else None)
        self._context.sink.break_streams(broken, GapReason.DISCONNECT, exc.detail)
        self._report_changes()
        self._log.warning(
            "venue.connection_lost", reason=exc.reason, why=exc.detail, topics=len(broken)
        )

    async def _back_off(self, delay: float) -> None:
        self._enter(SessionState.BACKING_OFF)
        try:
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        except TimeoutError:
            return  # the delay is over, which is what was waited for

    # ── bytes in, bytes out ───────────────────────────────────────────────────────────────────

    def _take_frame(self, raw: bytes) -> None:
        context = self._context
        received_at = context.clock_us()
        topic: Topic | None = None
        try:
            data = self._conversation.receive(raw, time.monotonic())
            if data is not None:
                topic, frame = data
                for fact in read_observations(topic, frame, received_at, context.new_trace_id()):
                    context.sink.accept(fact)
        except Quarantine as exc:
            self._quarantine(exc, topic, raw)
        if self._conversation.has_results:
            self._carry_out()
        elif self._state is not _STREAMING:
            self._note_phase()

    def _quarantine(self, exc: Quarantine, topic: Topic | None, raw: bytes) -> None:
        self._context.unreadable.quarantine(
            reason=exc.reason, origin=self.name, detail=exc.detail, raw=raw
        )
        broken = [topic] if topic is not None else []
        if exc.is_lost:
            broken = self._conversation.suspects(exc.topic)
        self._context.sink.break_streams(
            broken, GapReason.SEQUENCE, f"a frame could not be read: {exc.detail}"
        )

    def _carry_out(self) -> None:
        """Send and report what the conversation decided, and set the timer it needs."""
        for request in self._conversation.take_output():
            if self._socket is not None:
                self._socket.send(request)
        self._report_changes()
        self._note_phase()
        self._arm()

    def _report_changes(self) -> None:
        for change in self._conversation.take_changes():
            if change.state is SubscriptionState.REJECTED:
                self._log.warning(
                    "venue.subscription_rejected", topic=change.topic.name, words=change.error
                )
            self._context.observer.topic_changed(change.topic, change.state, change.error)

    def _arm(self) -> None:
        self._disarm()
        due = self._conversation.next_deadline()
        if due is not None and self._socket is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, due - time.monotonic()), self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        try:
            self._conversation.tick(time.monotonic())
            self._carry_out()
        except Exception as exc:  # noqa: BLE001 - out of a callback: carried to `run`, which raises it
            if self._socket is not None:
                self._socket.fail(exc)

    # ── state ─────────────────────────────────────────────────────────────────────────────────

    def _note_phase(self) -> None:
        if self._socket is None:
            return
        if self._conversation.phase is Phase.AUTHENTICATING:
            self._enter(SessionState.AUTHENTICATING)
        elif self._conversation.awaits_acks and self._state is not SessionState.STREAMING:
            self._enter(SessionState.SUBSCRIBING)
        elif self._conversation.made_progress:
            self._enter(SessionState.STREAMING)
            self._last_error = None

    def _enter(self, state: SessionState) -> None:
        if state is not self._state:
            self._state = state
            self._log.info("venue.session_changed", state=state.value)

    def _fresh_delays(self) -> Iterator[float]:
        context = self._context
        return full_jitter(
            base_seconds=context.backoff_base_seconds,
            cap_seconds=context.backoff_cap_seconds,
            rng=context.rng,
        )

    def status(self, category: str) -> ConnectionStatus:
        """Return the full `websocket_state` of this connection."""
        now = time.monotonic()
        pong = self._conversation.last_pong_at
        return ConnectionStatus(
            name=self.name,
            connection_status=self._state,
            environment=self._context.environment,
            category=category,
            connection_duration_seconds=(
                None if self._opened_at is None else round(now - self._opened_at, 3)
            ),
            last_heartbeat_at=(
                None if pong is None else datetime.fromtimestamp(time.time() - (now - pong), tz=UTC)
            ),
            reconnection_count=max(0, self._lives - 1),
            last_error=self._last_error,
            active_subscriptions=sum(
                state is SubscriptionState.ACTIVE for state in self._conversation.states().values()
            ),
        )
