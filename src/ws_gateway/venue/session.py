"""One socket's life: connect, converse, back off, again; moves bytes and sets timers only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

import structlog

from ws_gateway.domain.event import GapReason
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Endpoint, Topic
from ws_gateway.errors import Quarantine, VenueLost
from ws_gateway.ports.event_path import FrameLine
from ws_gateway.ports.feed import ConnectionStatus, SessionState
from ws_gateway.venue.attempts import Attempts
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.condition import Condition, time_of_day
from ws_gateway.venue.connection import VenueSocket, open_socket
from ws_gateway.venue.context import SessionContext
from ws_gateway.venue.entry import TopicChange
from ws_gateway.venue.frame_lines import FrameLines
from ws_gateway.venue.login_refusal import ask_why, is_worth_asking
from ws_gateway.venue.observations import read_observations
from ws_gateway.venue.owner import FactSink, SessionOwner
from ws_gateway.venue.protocol import Conversation, Phase
from ws_gateway.venue.refusals import explained

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


_MOST_NAMED = 5
_STREAMING = SessionState.STREAMING  # named once: it is compared with per frame


class Session:
    """Keeps one conversation with the venue alive until it is stopped.

    Attributes:
        name: tells sockets apart in logs and in `/health`.
        sink: where its facts go; its owner may put something in between.
        opened_at: monotonic time the present socket was opened, None without one.
        heard_at: monotonic time of the newest frame of any kind, which proves that all before it
            was read.
    """

    def __init__(
        self,
        name: str,
        url: str,
        conversation: Conversation,
        context: SessionContext,
        *,
        attempts: Attempts,
        owner: SessionOwner,
        account: str | None = None,
    ) -> None:
        self.name = name
        self._account = account
        self.sink: FactSink = context.sink
        self.opened_at: float | None = None
        self.heard_at = 0.0
        self._url = url
        self._conversation = conversation
        self._context = context
        self._sampling = context.sampling
        self._lines = FrameLines(name, conversation.endpoint, context.sampling, context.asked_by)
        self._attempts = attempts
        self._owner = owner
        self._endpoint = conversation.endpoint.value
        self._log = log.bind(connection=name)
        self._condition = Condition(name, context.environment, account, self._log)
        self._socket: VenueSocket | None = None
        self._recorded: FrameLine | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._proof: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._connecting: asyncio.Timeout | None = None

    # ── intent ────────────────────────────────────────────────────────────────────────────────

    def want(self, topics: Iterable[Topic]) -> None:
        """Subscribe to these now and after every reconnect."""
        self._conversation.want(topics, time.monotonic())
        self._carry_out()

    def doubt(self, topics: Iterable[Topic]) -> None:
        """Call these active only when data come, for they were silent on another socket."""
        self._conversation.doubt(topics)

    def succeed(self, former: Session) -> None:
        """Take over how lively the topics were on a socket that this one replaces."""
        self._conversation.succeed(former._conversation)

    def drop(self, topics: Iterable[Topic]) -> None:
        """Unsubscribe from these."""
        self._conversation.drop(topics, time.monotonic())
        self._carry_out()

    def resync(self, topic: Topic) -> None:
        """Ask for a fresh snapshot of one topic."""
        self._conversation.resync(topic, time.monotonic())
        self._carry_out()

    def states(self) -> dict[Topic, SubscriptionState]:
        """Return every topic of the intent with its state."""
        return self._conversation.states()

    def take_credentials(self, credentials: Credentials) -> None:
        """Log in with these from the next socket on, and wait no longer if one is waited for."""
        self._conversation.credentials = credentials
        self._condition.forget_findings()
        self._attempts.start_anew()
        self._wake.set()

    def try_now(self, why: str) -> None:
        """Wait no longer for the next attempt to connect, if one is waited for.

        The pause that the venue asked for is kept, for it is about all that come from here.
        """
        self._log.info("venue.attempt_hastened", why=why)
        self._attempts.start_anew()
        self._wake.set()

    def silences(self, now: float) -> Iterator[tuple[Topic, float]]:
        """Tell for how long each topic that is active or stalled has been silent, in seconds."""
        return self._conversation.silences(now)

    @property
    def is_streaming(self) -> bool:
        """Say whether the socket is up and everything asked is answered."""
        return self._condition.state is _STREAMING

    @property
    def answered_ping_at(self) -> float:
        """Monotonic time the newest answered ping was sent."""
        return self._conversation.answered_ping_at

    @property
    def last_data_at(self) -> float:
        """Monotonic time of the newest data frame of the present socket, minus infinity if none."""
        newest = self._conversation.last_data_at
        return float("-inf") if newest is None else newest

    def ping(self) -> None:
        """Send a heartbeat now; its answer proves that everything before it was read."""
        self._conversation.ping(time.monotonic())
        self._carry_out()

    def lacks_first_data(self) -> Iterable[Topic]:
        """Name the acknowledged topics whose first data have not come, though they come at once."""
        return self._conversation.lacks_first_data()

    @property
    def has_socket(self) -> bool:
        """Say whether a socket is open."""
        return self._socket is not None

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Live until `stop`; a lost socket is replaced as soon as `Attempts` allows it."""
        while not self._stopping.is_set():
            if not await self._wait_for_turn():
                break
            credentials = self._conversation.credentials
            try:
                await self._live_once()
            except VenueLost as exc:
                self._lose(exc)
                understood = await self._understand(exc)
                self._attempts.failed(time.monotonic(), understood)
                if self._conversation.credentials is not credentials:
                    self._attempts.start_anew()  # what was refused is of the past
                    self._condition.forget_findings()
            else:
                self._attempts.left(time.monotonic())
        self._condition.enter(SessionState.CLOSED)

    def stop(self) -> None:
        """Close the socket and let `run` end."""
        self._stopping.set()
        self._wake.set()
        if self._connecting is not None:
            self._connecting.reschedule(asyncio.get_running_loop().time())
            self._connecting = None
        if self._socket is not None:
            self._socket.close("stopped")

    async def _wait_for_turn(self) -> bool:
        """Wait until an attempt may be made; answers False if the session was stopped meanwhile."""
        while not self._stopping.is_set():
            now = time.monotonic()
            wait = self._attempts.wait_seconds(now)
            if wait <= 0:
                self._condition.retry_at = None
                self._attempts.begin(now)
                self._context.tally.attempts[self._endpoint] += 1
                return True
            self._condition.wait(now + wait, self._attempts.obstacle(now))
            self._wake.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue  # the wait is over, which is what was waited for
        return False

    async def _understand(self, exc: VenueLost) -> VenueLost:
        """Find out why a login was refused, so that it is said and mended where it can be."""
        credentials = self._conversation.credentials
        if credentials is None or not is_worth_asking(exc, credentials, self._context):
            return exc
        self._condition.ask_why(exc.detail)
        found = await ask_why(exc.detail, credentials, self._context, self._stopping)
        if found is None:
            return exc
        self._condition.understand(exc.detail, found.detail)
        self._conversation.lost(found.detail)
        self._report_changes()
        self._log.warning("venue.login_diagnosed", why=found.detail, is_mended=found.is_mended)
        return VenueLost("login", found.detail, is_mended=found.is_mended)

    async def _live_once(self) -> None:
        """Open a socket and converse until it is gone.

        Raises:
            VenueLost: always, unless the session was stopped.
        """
        self._condition.begin_life()
        socket = await self._connect()
        if socket is None:
            return
        self._socket = socket
        self.opened_at = time.monotonic()
        self._begin_recording()
        why = "left"
        try:
            doctor = self._context.doctor
            offset_ms = 0 if doctor is None else doctor.offset_ms
            self._conversation.opened(self.opened_at, self._context.clock_us() // 1000 + offset_ms)
            self._await_proof()
            self._carry_out()
            if self._stopping.is_set():
                socket.close("stopped")
            why = await socket.wait_closed()
        finally:
            self._socket = self.opened_at = None
            if self._recorded is not None:
                self._recorded.closed(str(socket.failure or why), self._context.clock_us())
                self._recorded = None
            self._disarm()
            self._stop_proof()
            socket.close("left")
        if socket.failure is not None:
            raise socket.failure
        if not self._stopping.is_set():
            raise VenueLost("closed", why)
        self._conversation.lost()
        self._report_changes()

    def _begin_recording(self) -> None:
        recorder, endpoint = self._context.recorder, self._conversation.endpoint
        if recorder is not None:
            path = self._url[self._url.index("/v5/") :]
            self._recorded = recorder.open_line(
                self.name,
                path,
                self._context.clock_us(),
                is_private=endpoint is Endpoint.PRIVATE,
                account=self._account,
            )

    async def _connect(self) -> VenueSocket | None:
        """Open a socket; answers None if the session was stopped meanwhile."""
        try:
            async with asyncio.timeout(None) as self._connecting:
                return await open_socket(
                    self._url,
                    self._take_frame,
                    connect_deadline_seconds=self._context.connect_deadline_seconds,
                    handshake_deadline_seconds=self._context.handshake_deadline_seconds,
                )
        except TimeoutError:
            return None  # only `stop` sets this limit; the deadline of connecting is a VenueLost
        finally:
            self._connecting = None

    def _lose(self, exc: VenueLost) -> None:
        self._condition.lose(exc)
        self._context.tally.losses[self._endpoint, exc.reason] += 1
        broken = self._conversation.lost(exc.detail)
        self._break(broken, GapReason.DISCONNECT, exc.detail)
        self._report_changes()
        tell = self._log.info if self._is_excused() else self._log.warning
        tell("venue.connection_lost", reason=exc.reason, why=exc.detail, topics=len(broken))
        self._owner.socket_lost(self)

    def _await_proof(self) -> None:
        """Call the connection good once good messages came and it has lived for a while."""
        loop = asyncio.get_running_loop()
        self._proof = loop.call_later(self._context.spacing.proven, self._on_lived)

    def _on_lived(self) -> None:
        if self._conversation.made_progress:
            self._proof = None
            self._attempts.proved()
        else:
            self._await_proof()

    # ── bytes in, bytes out ───────────────────────────────────────────────────────────────────

    def _take_frame(self, raw: bytes) -> None:
        context = self._context
        received_at = context.clock_us()
        if self._recorded is not None:
            self._recorded.received(raw, received_at)
        topic: Topic | None = None
        trace_id: str | None = None
        try:
            self.heard_at = now = time.monotonic()
            data = self._conversation.receive(raw, now)
            if data is not None:
                topic, frame = data
                trace_id = context.new_trace_id()
                for fact in read_observations(topic, frame, received_at, trace_id):
                    self.sink.accept(fact)
        except Quarantine as exc:
            trace_id = trace_id or context.new_trace_id()
            self._quarantine(exc, topic, raw, trace_id)
        if self._sampling.is_on:
            self._lines.received(topic, len(raw), trace_id)
        if self._conversation.has_results:
            self._carry_out()
        elif self._condition.state is not _STREAMING:
            self._note_phase()

    def _quarantine(self, exc: Quarantine, topic: Topic | None, raw: bytes, trace_id: str) -> None:
        self._context.unreadable.quarantine(
            reason=exc.reason, origin=self.name, detail=exc.detail, raw=raw, trace_id=trace_id
        )
        broken = [topic] if topic is not None else []
        if exc.is_lost:
            broken = self._conversation.suspects(exc.topic)
        self._break(broken, GapReason.SEQUENCE, f"a frame could not be read: {exc.detail}")

    def _break(self, topics: Iterable[Topic], reason: GapReason, detail: str) -> None:
        self._owner.streams_broken(self, topics, reason, detail, self.heard_at)

    def _carry_out(self) -> None:
        """Send and report what the conversation decided, and set the timer it needs."""
        for request in self._conversation.take_output():
            if self._socket is not None:
                self._socket.send(request)
                if self._recorded is not None:
                    self._recorded.sent(request, self._context.clock_us())
                if self._sampling.is_on:
                    self._lines.sent(request)
        self._report_changes()
        self._note_phase()
        self._arm()

    def _report_changes(self) -> None:
        for change in self._conversation.take_changes():
            if change.state is SubscriptionState.REJECTED:
                self._log.warning(
                    "venue.subscription_rejected", topic=change.topic.name, words=change.error
                )
            self._owner.topic_changed(self, change.topic, change.state, _words_of(change))

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

    def _stop_proof(self) -> None:
        if self._proof is not None:
            self._proof.cancel()
            self._proof = None

    def _on_timer(self) -> None:
        try:
            self._conversation.is_excused = self._is_excused()
            self._conversation.tick(time.monotonic())
            self._report_stalls()
            self._carry_out()
        except Exception as exc:  # noqa: BLE001 - out of a callback: carried to `run`, which raises it
            if self._socket is not None:
                self._socket.fail(exc)

    def _is_excused(self) -> bool:
        """Say whether the venue announced that it takes data from this endpoint now."""
        notices = self._context.notices
        return notices is not None and notices.is_ongoing(self._conversation.endpoint)

    def _report_stalls(self) -> None:
        stalls = self._conversation.take_stalls()
        if stalls:
            self._context.tally.stalls[self._endpoint] += len(stalls)
            tell = self._log.info if self._is_excused() else self._log.warning
            named = [stall.topic.name for stall in stalls[:_MOST_NAMED]]
            tell("venue.topics_stalled", count=len(stalls), topics=named, why=stalls[0].detail)
        for stall in stalls:
            self._owner.streams_broken(
                self, [stall.topic], GapReason.RESUBSCRIBE, stall.detail, stall.since
            )
        hopeless = self._conversation.take_hopeless()
        if hopeless is not None:
            self._owner.socket_hopeless(self, hopeless)

    # ── state ─────────────────────────────────────────────────────────────────────────────────

    def _note_phase(self) -> None:
        if self._socket is None:
            return
        if self._conversation.phase is Phase.AUTHENTICATING:
            self._condition.enter(SessionState.AUTHENTICATING)
        elif self._conversation.awaits_acks and not self.is_streaming:
            self._condition.enter(SessionState.SUBSCRIBING)
        elif self._conversation.made_progress:
            self._condition.enter(SessionState.STREAMING)

    def status(self) -> ConnectionStatus:
        """Return the full `websocket_state` of this connection."""
        return self._condition.status(self._conversation, self._attempts, self.opened_at)


def _words_of(change: TopicChange) -> str | None:
    """Say what a topic's state means and what is done about it."""
    if change.error is None:
        return None
    retry_at = time_of_day(change.retry_at, time.monotonic())
    return explained(
        change.error,
        None if retry_at is None else retry_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        is_final=change.state is SubscriptionState.REJECTED,
    )
