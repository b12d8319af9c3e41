"""What a contender counts of itself, told when it is asked; standard library only.

The same sums as the gateway's own counters: confirmed messages, and the newest receive→confirm
times.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque

KEPT = 8192
"""How many latencies are kept; the gateway keeps as many."""


class Tally:
    """Confirmed messages and the newest latencies."""

    def __init__(self) -> None:
        self.confirmed = 0
        self.latencies: deque[float] = deque(maxlen=KEPT)

    def note(self, seconds: float, messages: int = 1) -> None:
        """Count messages that took so long from receipt to confirm."""
        self.confirmed += messages
        self.latencies.extend([seconds] * messages)

    def line(self) -> str:
        """Return the figures as one line of JSON."""
        ordered = sorted(self.latencies)
        figures = {"confirmed": self.confirmed}
        for name, share in (("p50_us", 0.5), ("p99_us", 0.99)):
            place = min(len(ordered) - 1, int(share * len(ordered)))
            figures[name] = round(ordered[place] * 1e6) if ordered else 0
        return json.dumps(figures)


async def answer(tally: Tally) -> None:
    """Tell the figures for every line, after `forget` without the latencies so far."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if line == b"forget\n":
            tally.latencies.clear()
        print(tally.line(), flush=True)
