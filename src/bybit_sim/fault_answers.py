"""Faults of what is answered: pongs, acks, refusals, logins, and the server's own clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import msgspec

from bybit_sim.connection import LiveConnection
from bybit_sim.fault import Hook, LastingFault, Positive, Seconds, SocketFault, TimedFault
from bybit_sim.signing import RestRefusal
from bybit_sim.wire import handler_not_found, speaks_commands

_Reason = Literal[
    "expired", "wrong_key", "wrong_signature", "wrong_environment", "expired_key", "ip_not_allowed"
]
_Skew = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
_REST_CODES = {
    "expired": 10002,
    "wrong_key": 10003,
    "wrong_signature": 10004,
    "wrong_environment": 10003,
    "expired_key": 33004,
    "ip_not_allowed": 10010,
}


@dataclass(kw_only=True, eq=False)
class MissingPongs(SocketFault):
    """Reads pings and does not answer them."""

    name: ClassVar[str] = "missing_pongs"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.PONG})

    def swallows_pong(self, connection: LiveConnection) -> bool:
        """Swallow it."""
        if not self.concerns_path(connection.path):
            return False
        self.hit()
        return True


@dataclass(kw_only=True, eq=False)
class MissingAcks(SocketFault):
    """Carries out subscribe, unsubscribe and auth without an answer."""

    name: ClassVar[str] = "missing_acks"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.ACK})

    def ack_delay(self, connection: LiveConnection) -> float | None:
        """Never."""
        if not self.concerns_path(connection.path):
            return 0.0
        self.hit()
        return None


@dataclass(kw_only=True, eq=False)
class LateAcks(SocketFault):
    """Carries out subscribe, unsubscribe and auth at once and answers late."""

    name: ClassVar[str] = "late_acks"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.ACK})
    delay_seconds: Annotated[Seconds, "of each answer"] = 5.0

    def ack_delay(self, connection: LiveConnection) -> float | None:
        """Later."""
        if not self.concerns_path(connection.path):
            return 0.0
        self.hit()
        return self.delay_seconds


@dataclass(kw_only=True, eq=False)
class RefusedAcks(SocketFault):
    """Refuses requests with a given text and does not carry them out."""

    name: ClassVar[str] = "refused_acks"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.REQUEST})
    text: Annotated[str, "`ret_msg` of the refusal"] = "error:service unavailable"
    op: Annotated[Literal["subscribe", "unsubscribe", "auth"], "which requests"] = "subscribe"

    def refusal(self, connection: LiveConnection, op: str, args: list[str]) -> str | None:  # noqa: ARG002 - any
        """Refuse."""
        if op != self.op or not self.concerns_path(connection.path):
            return None
        self.hit()
        return self.text


@dataclass(kw_only=True, eq=False)
class ArgsSize(SocketFault):
    """Refuses subscribe requests with more topics than allowed, as spot does above ten."""

    name: ClassVar[str] = "args_size"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.REQUEST})
    most: Annotated[Positive, "topics per request"] = 5
    path: Annotated[str | None, "sockets of this path only"] = "/v5/public/spot"

    def refusal(self, connection: LiveConnection, op: str, args: list[str]) -> str | None:
        """Refuse what is too long."""
        short = op != "subscribe" or len(args) <= self.most
        if short or not self.concerns_path(connection.path):
            return None
        self.hit()
        return f"args size >{self.most}"


@dataclass(kw_only=True, eq=False)
class HandlerNotFound(SocketFault):
    """Takes a topic away: subscribing to it is refused from now on, what runs goes on."""

    name: ClassVar[str] = "handler_not_found"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.REQUEST})
    topic: Annotated[str, "the topic, as in a subscribe"]

    def refusal(self, connection: LiveConnection, op: str, args: list[str]) -> str | None:
        """Refuse the whole request."""
        if op != "subscribe" or self.topic not in args or speaks_commands(connection.kind):
            return None
        if not self.concerns_path(connection.path):
            return None
        self.hit()
        return handler_not_found(self.topic)

    def hides(self, connection: LiveConnection, topic: str) -> bool:
        """Hide it where answers do not tell: option and spread."""
        if topic != self.topic or not self.concerns_path(connection.path):
            return False
        self.hit()
        return True


@dataclass(kw_only=True, eq=False)
class LoginRefused(LastingFault):
    """Refuses logins, and signed REST calls, for a reason, however right they are."""

    name: ClassVar[str] = "login_refused"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.REQUEST, Hook.REST})
    reason: Annotated[_Reason, "which; `expired` is `Params Error`"] = "expired"
    text: Annotated[str | None, "`ret_msg` instead of the configured one"] = None

    def refusal(self, connection: LiveConnection, op: str, args: list[str]) -> str | None:  # noqa: ARG002 - any
        """Refuse."""
        if op != "auth":
            return None
        self.hit()
        return self._words()

    def rest_refusal(self, path: str, *, is_signed: bool) -> RestRefusal | None:  # noqa: ARG002 - any
        """Refuse with the code REST has for the reason."""
        if not is_signed:
            return None
        return RestRefusal(200, _REST_CODES[self.reason], self._words())

    def _words(self) -> str:
        if self.text is not None:
            return self.text
        texts = self.venue.config.texts
        return {
            "expired": "Params Error",
            "wrong_key": texts.invalid_key,
            "wrong_signature": texts.invalid_signature,
            "wrong_environment": texts.wrong_environment,
            "expired_key": texts.expired_key,
            "ip_not_allowed": texts.ip_not_allowed,
        }[self.reason]


@dataclass(kw_only=True, eq=False)
class ClockSkew(TimedFault):
    """Moves the server's clock: logins, stamps of all frames, REST and its time."""

    name: ClassVar[str] = "clock_skew"
    by_seconds: Annotated[_Skew, "forwards if above 0"]

    def begin(self) -> None:
        """Move it."""
        self.venue.pulse.skew_ms += self.by_seconds * 1000.0

    def end(self) -> None:
        """Move it back."""
        self.venue.pulse.skew_ms -= self.by_seconds * 1000.0
