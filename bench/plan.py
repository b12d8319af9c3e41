"""What is to be measured, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    """One run.

    Attributes:
        amqp_url: of a broker on this machine.
        queue_types: those measured, in this order.
        rounds: how often ceiling and gateway are measured in turn, for each queue type.
        slow_rounds: the same of the plain stack and cryptofeed.
        seconds: of one measurement at full speed.
        events: of the memory part.
        cryptofeed_python: interpreter that has cryptofeed, None without.
    """

    amqp_url: str
    queue_types: tuple[str, ...]
    rounds: int
    slow_rounds: int
    seconds: float
    events: int
    cryptofeed_python: Path | None
