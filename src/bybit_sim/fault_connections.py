"""Faults of connecting and of connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar

import msgspec

from bybit_sim.connection import LiveConnection
from bybit_sim.fault import (
    LONGEST_HANDSHAKE_SECONDS,
    Chance,
    HandshakeRefusal,
    Hook,
    Positive,
    RepeatedFault,
    Seconds,
    Share,
    SocketFault,
    TimedFault,
    check_path,
    oldest,
)
from bybit_sim.limiter import ConnectionLimiter

_GOODBYE_MS = 1_000.0
_CloseCode = Annotated[int, msgspec.Meta(ge=1000, le=4999)]
_HandshakeSeconds = Annotated[float, msgspec.Meta(ge=0, le=LONGEST_HANDSHAKE_SECONDS)]
_HttpStatus = Annotated[int, msgspec.Meta(ge=400, le=599)]


@dataclass(kw_only=True, eq=False)
class Drop(RepeatedFault):
    """Ends connections: by cutting TCP (clients see 1006), or with a close frame."""

    name: ClassVar[str] = "drop"
    close_frame: Annotated[bool, "say goodbye first"] = False
    code: Annotated[_CloseCode, "of the close frame"] = 1001
    most: Annotated[Positive | None, "so many connections, oldest first; null is all"] = None
    _gone: list[LiveConnection] = field(default_factory=list, init=False)

    def act(self) -> None:
        """End them."""
        self._gone = oldest(self.venue.connections, self.path, self.most)
        for each in self._gone:
            if self.close_frame:
                each.socket.say_goodbye(self.code)
                cut = partial(_cut, each)
                self.venue.pulse.at(self.venue.pulse.now_ms() + _GOODBYE_MS, cut)
            else:
                each.socket.transport.abort()

    async def settle(self) -> None:
        """Wait until they are gone."""
        await asyncio.gather(*(each.socket.wait_closed() for each in self._gone))


def _cut(connection: LiveConnection, _now_ms: float) -> None:
    connection.socket.transport.abort()


@dataclass(kw_only=True, eq=False)
class HalfOpen(TimedFault):
    """Keeps TCP of the present connections and neither reads nor sends; at the end they are cut."""

    name: ClassVar[str] = "half_open"
    path: Annotated[str | None, "sockets of this path only"] = None
    most: Annotated[Positive | None, "so many connections, oldest first; null is all"] = None
    _deaf: list[LiveConnection] = field(default_factory=list, init=False)

    def check(self) -> None:
        """Refuse a path that does not exist."""
        check_path(self.path)

    def begin(self) -> None:
        """Make them deaf."""
        self._deaf = oldest(self.venue.connections, self.path, self.most)
        for each in self._deaf:
            each.socket.go_deaf()
            self.hits += 1

    def end(self) -> None:
        """Cut them: what a peer that is gone leaves behind does not come back."""
        for each in self._deaf:
            each.socket.transport.abort()


@dataclass(kw_only=True, eq=False)
class RefuseHandshake(SocketFault):
    """Answers handshakes with an HTTP error, 429 with Retry-After."""

    name: ClassVar[str] = "refuse_handshake"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.HANDSHAKE})
    status: Annotated[_HttpStatus, "of the answer"] = 403
    retry_after_seconds: Annotated[Seconds | None, "the header; null is 1 on 429, else none"] = None
    probability: Annotated[Share, "share of handshakes"] = 1.0
    seed: Annotated[int, "of the draws"] = 1

    def begin(self) -> None:
        """Make the draws ready."""
        self._chance = Chance(self.seed, self.probability)

    def handshake_refusal(self, path: str, address: str) -> HandshakeRefusal | None:  # noqa: ARG002 - whoever it is
        """Refuse."""
        if not self.concerns_path(path) or not self._chance.strikes(""):
            return None
        self.hit()
        wait = self.retry_after_seconds
        return HandshakeRefusal(self.status, 1.0 if wait is None and self.status == 429 else wait)  # noqa: PLR2004 - HTTP


@dataclass(kw_only=True, eq=False)
class SlowHandshake(SocketFault):
    """Keeps each handshake waiting before it is answered; one that waits at the end waits on."""

    name: ClassVar[str] = "slow_handshake"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.HANDSHAKE})
    delay_seconds: Annotated[_HandshakeSeconds, "of each"] = 5.0

    def handshake_delay(self, path: str) -> float:
        """Delay it."""
        if not self.concerns_path(path):
            return 0.0
        self.hit()
        return self.delay_seconds


@dataclass(kw_only=True, eq=False)
class AcceptThenDrop(SocketFault):
    """Accepts connections and cuts each soon after."""

    name: ClassVar[str] = "accept_then_drop"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.OPENED})
    after_seconds: Annotated[Seconds, "how long each lives"] = 0.0

    def opened(self, connection: LiveConnection) -> None:
        """Cut it, now or in a while."""
        if not self.concerns_path(connection.path):
            return
        self.hit()
        if self.after_seconds:
            due = self.venue.pulse.now_ms() + self.after_seconds * 1000.0
            self.venue.pulse.at(due, partial(_cut, connection))
        else:
            connection.socket.transport.abort()


@dataclass(kw_only=True, eq=False)
class ConnectionLimit(SocketFault):
    """Allows so many new connections per window from now on; those beyond are refused."""

    name: ClassVar[str] = "connection_limit"
    hooks: ClassVar[frozenset[Hook]] = frozenset({Hook.HANDSHAKE})
    most: Annotated[Positive, "new connections per window and IP"] = 5
    window_seconds: Annotated[Seconds, "length of the window"] = 300.0
    status: Annotated[_HttpStatus, "of the refusal"] = 403

    def begin(self) -> None:
        """Begin to count."""
        self._limiter = ConnectionLimiter(self.most, self.window_seconds)

    def handshake_refusal(self, path: str, address: str) -> HandshakeRefusal | None:
        """Refuse what is too much."""
        if not self.concerns_path(path):
            return None
        if self._limiter.admit(address, self.venue.config.clock()):
            return None
        self.hit()
        return HandshakeRefusal(self.status)
