"""What is told about one connection: its state, how long it was up, and why it is down."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import structlog

from ws_gateway.errors import VenueLost
from ws_gateway.ports.feed import ConnectionStatus, SessionState
from ws_gateway.venue.attempts import Attempts
from ws_gateway.venue.protocol import Conversation
from ws_gateway.venue.uptime import Uptime

_STREAMING = SessionState.STREAMING


class Condition:
    """Keeps what people are told about one connection; decides nothing.

    Args:
        log: where each change of state is told.

    Attributes:
        state: of its life, now.
        retry_at: monotonic time of the next attempt, None unless it waits for one.
    """

    def __init__(
        self,
        name: str,
        environment: str,
        account: str | None,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.state = SessionState.IDLE
        self.retry_at: float | None = None
        self._name = name
        self._environment = environment
        self._account = account
        self._log = log
        self._uptime = Uptime()
        self._lives = 0
        self._last_error: str | None = None
        self._last_loss: str | None = None
        self._is_login_refused = False
        self._found: tuple[str, str] | None = None

    def enter(self, state: SessionState) -> None:
        """Take note of a state; what went wrong before is over once it streams."""
        if state is _STREAMING:
            self._last_error = self._last_loss = self._found = None
            self._is_login_refused = False
        if state is not self.state:
            self.state = state
            self._uptime.note(time.monotonic(), is_up=state is _STREAMING)
            self._log.info("venue.session_changed", state=state.value)

    def begin_life(self) -> None:
        """Take note that a socket is about to be opened."""
        self._lives += 1
        self.enter(SessionState.CONNECTING)

    def wait(self, until: float, obstacle: str | None) -> None:
        """Take note that the next attempt waits, and for what if that is not the last error."""
        self.retry_at = until
        self._last_error = obstacle or self._last_error
        self.enter(SessionState.BACKING_OFF)

    def lose(self, loss: VenueLost) -> None:
        """Take note of why the socket, or the attempt to have one, is lost."""
        self._last_error, self._last_loss = loss.detail, loss.reason
        self._is_login_refused = loss.reason == "login"

    def ask_why(self, words: str) -> None:
        """Take note that it is being found out what the venue meant by these words.

        Until that ends, what the same words were found to mean last is told.
        """
        known = self._found
        if known is not None and known[0] == words:
            self._last_error = known[1]
        else:
            self._last_error = f"{words}; why is being asked over REST"

    def understand(self, words: str, meaning: str) -> None:
        """Take note of what the venue meant by these words."""
        self._found = (words, meaning)
        self._last_error = meaning

    def forget_findings(self) -> None:
        """Forget what was found out, for what it was about has changed."""
        self._found = None

    def status(
        self, conversation: Conversation, attempts: Attempts, opened_at: float | None
    ) -> ConnectionStatus:
        """Return the full `websocket_state`.

        Args:
            conversation: what is asked for on the connection, and what came of it.
            attempts: the rhythm of its attempts.
            opened_at: monotonic time the present socket was opened, None without one.
        """
        now = time.monotonic()
        wanted, active = conversation.counts()
        return ConnectionStatus(
            name=self._name,
            connection_status=self.state,
            environment=self._environment,
            category=conversation.endpoint.value,
            connection_duration_seconds=None if opened_at is None else round(now - opened_at, 3),
            last_heartbeat_at=time_of_day(conversation.last_pong_at, now),
            reconnection_count=max(0, self._lives - 1),
            last_error=self._last_error,
            active_subscriptions=active,
            breaker=attempts.breaker.state(now),
            wanted_subscriptions=wanted,
            last_event_at=time_of_day(conversation.last_data_at, now),
            retry_at=time_of_day(self.retry_at, now),
            is_login_refused=self._is_login_refused,
            uptime_ratio=self._uptime.ratio(now),
            last_loss=self._last_loss,
            account=self._account,
        )


def time_of_day(at: float | None, now: float) -> datetime | None:
    """Turn monotonic seconds into a time of day, given the monotonic seconds of now."""
    if at is None:
        return None
    return datetime.fromtimestamp(round(time.time() + (at - now), 2), tz=UTC)
