"""The offset of the venue's clock: what is measured, and what is not believed."""

from __future__ import annotations

import asyncio

import pytest

from ws_gateway.errors import VenueLost
from ws_gateway.venue.clock import VenueClock

NOW_MS = 1_800_000_000_000


class Server:
    """A venue whose answer takes a while, on a clock of the test's own."""

    def __init__(self, *, ahead_ms: int = 0, takes_ms: int = 0, steps_ms: int = 0) -> None:
        self.ahead_ms = ahead_ms
        self.takes_ms = takes_ms
        self.steps_ms = steps_ms
        self.wall_ms = float(NOW_MS)
        self.passed_ms = 0.0

    async def server_time_ms(self) -> int:
        """Answer half way through the call."""
        told = int(self.wall_ms + self.takes_ms / 2 + self.ahead_ms)
        self.wall_ms += self.takes_ms + self.steps_ms
        self.passed_ms += self.takes_ms
        return told

    def clock(self) -> VenueClock:
        """Return a clock that measures this server."""
        return VenueClock(
            self,
            clock_us=lambda: int(self.wall_ms * 1000),
            monotonic=lambda: self.passed_ms / 1000,
        )


@pytest.mark.parametrize("ahead", [-3_600_000, -1, 0, 30_000, 86_400_000])
async def test_the_way_there_and_back_is_halved(ahead: int) -> None:
    """However long the answer took, what remains is the difference of the clocks."""
    clock = Server(ahead_ms=ahead, takes_ms=800).clock()
    assert await clock.measure() == ahead
    assert clock.uncertainty_ms == pytest.approx(400, abs=2)
    assert clock.now_ms() == NOW_MS + 800 + ahead
    assert clock.measured_at is not None


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (Server(takes_ms=6_000), "too long"),
        (Server(steps_ms=5_000), "clock was set"),
        (Server(steps_ms=-5_000), "clock was set"),
        (Server(ahead_ms=-NOW_MS), "no sensible year"),
        (Server(ahead_ms=9 * NOW_MS), "no sensible year"),
    ],
)
async def test_what_cannot_be_believed_changes_nothing(server: Server, why: str) -> None:
    """A measurement that says too little is refused, and the offset stays."""
    clock = server.clock()
    clock.offset_ms = 7
    with pytest.raises(VenueLost, match=why):
        await clock.measure()
    assert (clock.offset_ms, clock.measured_at) == (7, None)


async def test_it_is_measured_again_and_again_and_the_offset_outlives_an_outage() -> None:
    """While the venue does not tell, what was measured last stays; later it is measured anew."""
    server, asked = Server(ahead_ms=100), []

    class Away:
        async def server_time_ms(self) -> int:
            asked.append(clock.offset_ms)
            if len(asked) == 2:
                raise VenueLost("closed", "away")
            server.ahead_ms = 100 * len(asked)
            return await server.server_time_ms()

    clock = VenueClock(
        Away(),
        clock_us=lambda: int(server.wall_ms * 1000),
        monotonic=lambda: server.passed_ms / 1000,
        measure_seconds=0.0,
        retry_seconds=0.0,
    )
    measuring = asyncio.create_task(clock.run())
    async with asyncio.timeout(30):
        while len(asked) < 5:  # noqa: ASYNC110 - nothing tells when it was asked
            await asyncio.sleep(0)
    measuring.cancel()
    await asyncio.gather(measuring, return_exceptions=True)
    assert asked[:5] == [0, 100, 100, 300, 400]
