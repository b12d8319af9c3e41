"""What a public topic says: one feed per topic, shared by all its subscribers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import msgspec

from bybit_sim.market import SymbolMarket
from bybit_sim.topics import PublicTopic

_encoder = msgspec.json.Encoder()


def encode(frame: dict[str, Any]) -> bytes:
    """Write a frame once, in the key order of the dict; the bytes go to every subscriber."""
    return _encoder.encode(frame)


class Feed(ABC):
    """Turns the state of some symbols into the frames of one topic; knows no sockets.

    Attributes:
        topic: which one.
        markets: the symbols that must live while somebody listens.
        period_ms: how often `beat` wants to be called; None for never.
    """

    period_ms: ClassVar[float | None] = None

    def __init__(self, topic: PublicTopic, markets: tuple[SymbolMarket, ...]) -> None:
        self.topic = topic
        self.markets = markets

    def resume(self, now_ms: int) -> None:  # noqa: B027 - most feeds have nothing to catch up on
        """Catch up with the market before the first subscriber after a pause."""

    def greet(self, now_ms: int) -> bytes | None:  # noqa: ARG002 - the contract of the overrides
        """Return what a new subscriber is told at once; None for nothing.

        It must describe the state every other subscriber has, so that the next frame fits both.
        """
        return None

    @abstractmethod
    def absorb(self, market: SymbolMarket) -> bool:
        """Note a tick of one of `markets`; return whether `collect` may have something."""

    @abstractmethod
    def collect(self, now_ms: int) -> bytes | None:
        """Return the next frame for everybody, None if nothing changed."""

    def beat(self, now_ms: int, last_push_ms: float) -> bytes | None:  # noqa: ARG002 - as greet
        """Return a frame that is due by time alone; called every `period_ms`."""
        return None
