"""What a fault is: a named misbehaviour with parameters, which begins, takes effect and ends."""

from __future__ import annotations

import dataclasses
import random
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Protocol, get_type_hints

import msgspec

from bybit_sim.config import SimulatorConfig, SimulatorError
from bybit_sim.topics import PRIVATE_PATH, PRIVATE_TOPICS, SOCKET_KINDS

if TYPE_CHECKING:
    from bybit_sim.broadcaster import Broadcaster, Stream
    from bybit_sim.connection import LiveConnection
    from bybit_sim.market import Market
    from bybit_sim.orders import Order
    from bybit_sim.pulse import Pulse
    from bybit_sim.signing import RestRefusal
    from bybit_sim.status import StatusBoard

LONGEST_HANDSHAKE_SECONDS = 100.0

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e7)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

_TYPE_NAMES = {str: "text", bool: "true/false", int: "whole number", float: "number"}


class FaultError(SimulatorError):
    """A fault cannot be had as asked.

    Attributes:
        parameter: which parameter is at fault, None if it is the name of the fault.
    """

    def __init__(self, text: str, parameter: str | None = None) -> None:
        super().__init__(text)
        self.parameter = parameter


class Hook(Enum):
    """Where the server asks active faults before it acts."""

    HANDSHAKE = auto()
    OPENED = auto()
    PONG = auto()
    REQUEST = auto()
    ACK = auto()
    REST = auto()
    PAGE = auto()
    STREAM = auto()
    PRIVATE = auto()


class HandshakeRefusal(NamedTuple):
    """How a handshake is refused."""

    status: int
    retry_after_seconds: float | None = None


class Venue(Protocol):
    """What faults reach of the exchange."""

    config: SimulatorConfig
    connections: list[LiveConnection]
    broadcaster: Broadcaster
    market: Market
    status: StatusBoard
    pulse: Pulse

    def now_ms(self) -> int:
        """Return server time in milliseconds."""
        ...

    def send_raw(self, path: str | None, raw: str | bytes) -> None:
        """Send a raw frame to all connections of a path: text for str, binary for bytes."""
        ...

    def place_market_order(self, symbol: str, side: str, qty: str, category: str) -> Order:
        """Place an order on the account and let its events play."""
        ...


class Board(Protocol):
    """What a fault needs of the place where the active ones are kept."""

    def end(self, fault: Fault) -> None:
        """End a fault; nothing happens if it has ended."""
        ...


@dataclass(kw_only=True, eq=False)
class Fault:
    """A misbehaviour; the fields of a subclass are its parameters, its docstring says what it does.

    The board calls `begin` once and `end` once. In between the server asks the methods of the
    `hooks` the fault names.

    Attributes:
        name: what it is asked for by.
        hooks: where it wants to be asked.
        hits: how often it took effect.
        ends_ms: when it ends by itself, on the agenda's clock; None if it does not by time.
    """

    name: ClassVar[str]
    hooks: ClassVar[frozenset[Hook]] = frozenset()
    hits: int = field(default=0, init=False)
    ends_ms: float | None = field(default=None, init=False)
    number: int = field(default=0, init=False)
    is_active: bool = field(default=False, init=False)
    venue: Venue = field(init=False)
    board: Board = field(init=False)

    def check(self) -> None:
        """Refuse parameters that make no sense here.

        Raises:
            FaultError: naming the parameter.
        """

    def begin(self) -> None:
        """Take effect; hooks are asked from now on."""

    def end(self) -> None:
        """Undo what outlasts the hooks."""

    async def settle(self) -> None:
        """Wait until what `begin` started has come about."""

    def hit(self) -> None:
        """Count an effect."""
        self.hits += 1

    def handshake_refusal(self, path: str, address: str) -> HandshakeRefusal | None:  # noqa: ARG002 - for those that do
        """Return how a handshake is refused, None to let it pass."""
        return None

    def handshake_delay(self, path: str) -> float:  # noqa: ARG002 - for those that do
        """Return how many seconds a handshake is kept waiting."""
        return 0.0

    def opened(self, connection: LiveConnection) -> None:
        """Look at a connection that was accepted just now."""

    def swallows_pong(self, connection: LiveConnection) -> bool:  # noqa: ARG002 - for those that do
        """Tell whether a ping goes unanswered."""
        return False

    def refusal(self, connection: LiveConnection, op: str, args: list[str]) -> str | None:  # noqa: ARG002 - for those that do
        """Return the text a request is refused with, None to let it pass."""
        return None

    def hides(self, connection: LiveConnection, topic: str) -> bool:  # noqa: ARG002 - for those that do
        """Tell whether a topic does not exist on a connection."""
        return False

    def ack_delay(self, connection: LiveConnection) -> float | None:  # noqa: ARG002 - for those that do
        """Return how late an answer is sent, in seconds; None for never."""
        return 0.0

    def rest_refusal(self, path: str, *, is_signed: bool) -> RestRefusal | None:  # noqa: ARG002 - for those that do
        """Return how a REST call is refused, None to let it pass."""
        return None

    def rest_delay(self, path: str, *, is_signed: bool) -> float:  # noqa: ARG002 - for those that do
        """Return how many seconds a REST answer is late."""
        return 0.0

    def rearrange(self, path: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: ARG002 - for those that do
        """Return the rows of a page of a signed list as they are sent."""
        return rows

    def hides_row_of(self, path: str, changed_ms: int) -> bool:  # noqa: ARG002 - for those that do
        """Tell whether a signed list does not know yet of what changed at a time."""
        return False

    def parameters(self) -> dict[str, Any]:
        """Return the values it was given, defaults included."""
        return {each.name: getattr(self, each.name) for each in parameters_of(type(self))}


@dataclass(kw_only=True, eq=False)
class TimedFault(Fault):
    """One that goes on until its time is over, or until it is cleared."""

    duration_seconds: Annotated[Seconds | None, "ends by itself after so long"] = None


@dataclass(kw_only=True, eq=False)
class LastingFault(TimedFault):
    """One that also ends when it has taken effect often enough."""

    count: Annotated[Positive | None, "ends by itself after it took effect so often"] = None

    def hit(self) -> None:
        """Count an effect and end at the last."""
        self.hits += 1
        if self.count is not None and self.hits >= self.count:
            self.board.end(self)


@dataclass(kw_only=True, eq=False)
class SocketFault(LastingFault):
    """One of the sockets of one path, or of all."""

    path: Annotated[str | None, "sockets of this path only"] = None

    def check(self) -> None:
        """Refuse a path that does not exist."""
        check_path(self.path)

    def concerns_path(self, path: str) -> bool:
        """Tell whether it is about a path."""
        return self.path in {None, path}


class Chance:
    """Seeded draws, one source per key: what one topic draws does not depend on the others."""

    def __init__(self, seed: int, probability: float) -> None:
        self._seed = seed
        self._probability = probability
        self._sources: dict[str, random.Random] = {}

    def strikes(self, key: str) -> bool:
        """Draw."""
        if self._probability >= 1.0:
            return True
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = random.Random(f"{self._seed}:{key}")
        return source.random() < self._probability


@dataclass(kw_only=True, eq=False)
class RepeatedFault(Fault):
    """One that acts at once, and again every so often until it has acted `count` times."""

    count: Annotated[Positive | None, "how often it acts; null until cleared"] = 1
    every_seconds: Annotated[Seconds, "between two times"] = 1.0
    path: Annotated[str | None, "sockets of this path only"] = None

    def check(self) -> None:
        """Refuse a path that does not exist."""
        check_path(self.path)

    def begin(self) -> None:
        """Act for the first time."""
        self._again(self.venue.pulse.now_ms())

    @abstractmethod
    def act(self) -> None:
        """Do it once."""

    def _again(self, now_ms: float) -> None:
        if not self.is_active:
            return
        self.act()
        self.hit()
        if self.count is not None and self.hits >= self.count:
            self.board.end(self)
        else:
            self.venue.pulse.at(now_ms + max(self.every_seconds, 0.001) * 1000.0, self._again)


class Parameter(NamedTuple):
    """One parameter of a kind of fault, for people to read."""

    name: str
    type: str
    default: Any
    is_required: bool
    description: str


def parameters_of(kind: type[Fault]) -> list[Parameter]:
    """List the parameters of a kind of fault: its own first, then those it shares."""
    hints = get_type_hints(kind, include_extras=True)
    own = [each for each in dataclasses.fields(kind) if each.init]
    shared = {each.name for base in (LastingFault, RepeatedFault, SocketFault)
              for each in dataclasses.fields(base) if each.init}  # fmt: skip
    own.sort(key=lambda each: each.name in shared)
    return [
        Parameter(
            each.name,
            _type_name(hints[each.name]),
            _default_of(each),
            each.default is each.default_factory is dataclasses.MISSING,
            next((text for text in hints[each.name].__metadata__ if isinstance(text, str)), ""),
        )
        for each in own
    ]


def _default_of(each: dataclasses.Field[Any]) -> Any:
    if each.default_factory is not dataclasses.MISSING:
        return each.default_factory()
    return None if each.default is dataclasses.MISSING else each.default


def make_fault(kind: type[Fault], given: Mapping[str, Any]) -> Fault:
    """Make a fault from parameters as they came over the network; texts are read leniently.

    Raises:
        FaultError: naming the first bad parameter.
    """
    known = parameters_of(kind)
    names = ", ".join(each.name for each in known) or "none"
    for name in given:
        if name not in {each.name for each in known}:
            raise FaultError(f"{kind.name} has no parameter {name!r}; it has: {names}", name)
    hints = get_type_hints(kind, include_extras=True)
    values = {}
    for each in known:
        if each.name not in given:
            if each.is_required:
                raise FaultError(f"{kind.name} needs the parameter {each.name!r}", each.name)
            continue
        try:
            values[each.name] = msgspec.convert(given[each.name], hints[each.name], strict=False)
        except msgspec.ValidationError as exc:
            raise FaultError(f"parameter {each.name!r} of {kind.name}: {exc}", each.name) from None
    fault = kind(**values)
    fault.check()
    return fault


def oldest(
    connections: Iterable[LiveConnection], path: str | None, most: int | None
) -> list[LiveConnection]:
    """Return the connections of one path (None: of all), at most so many, oldest first."""
    return [each for each in connections if path in {None, each.path}][:most]


def check_path(path: str | None) -> None:
    """Refuse a path that has no socket.

    Raises:
        FaultError: naming `path`.
    """
    if path is not None and path not in SOCKET_KINDS:
        raise FaultError(
            f"no sockets at path {path!r}; there are: {', '.join(SOCKET_KINDS)}", "path"
        )


def streams_of(venue: Venue, topic: str, path: str | None) -> list[Stream]:
    """Return the public streams of a topic on one path, or on all.

    Raises:
        FaultError: naming `topic`, if no socket of that path has it.
    """
    kind = None if path is None else SOCKET_KINDS[path]
    streams = [] if kind == "private" else venue.broadcaster.streams_of(topic, kind)
    if not streams and (topic not in PRIVATE_TOPICS or path not in {None, PRIVATE_PATH}):
        raise FaultError(f"no such topic: {topic!r}" + (f" at {path}" if path else ""), "topic")
    return streams


def _type_name(hint: Any) -> str:
    """Write a type for people: `number or null`."""
    while hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    if (name := _TYPE_NAMES.get(hint)) is not None:
        return name
    if hint is type(None):
        return "null"
    parts: tuple[Any, ...] = getattr(hint, "__args__", ())
    if all(isinstance(part, str) for part in parts):
        return ", ".join(parts)
    if getattr(hint, "__origin__", None) in {list, tuple}:
        return f"list of {_type_name(parts[0])}"
    return " or ".join(_type_name(part) for part in parts)
