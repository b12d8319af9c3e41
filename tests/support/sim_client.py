"""A plain client for the simulator's tests, and the reference's own literals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from bybit_sim import Simulator, SimulatorConfig
from bybit_sim.signing import sign, websocket_text

KEY = "bybit_test_key"
SECRET = "bybit_test_secret"
PATIENCE_SECONDS = 30.0

LINEAR = "/v5/public/linear"
SPOT = "/v5/public/spot"
OPTION = "/v5/public/option"
PRIVATE = "/v5/private"


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Simulator]:
    """Run a simulator on a free port."""
    defaults: dict[str, Any] = {"seed": 7, "rate": 50.0, "api_key": KEY, "api_secret": SECRET}
    simulator = Simulator(SimulatorConfig(**defaults | settings))
    await simulator.start(port=0)
    try:
        yield simulator
    finally:
        await simulator.stop()


class Client:
    """Sends requests and reads frames, each within a deadline."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, **request: Any) -> None:
        """Send a request as JSON."""
        await self.socket.send(json.dumps(request))

    async def raw(self) -> str | bytes:
        """Read the next frame as it came."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.socket.recv()

    async def frame(self) -> dict[str, Any]:
        """Read the next frame."""
        frame = json.loads(await self.raw())
        assert isinstance(frame, dict)
        return frame

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read frames up to one that is wanted."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                frame = await self.frame()
                if wanted(frame):
                    return frame

    async def topic(self, name: str, kind: str | None = None) -> dict[str, Any]:
        """Read frames up to one of a topic (and type)."""
        return await self.until(
            lambda frame: frame.get("topic") == name and kind in {None, frame.get("type")}
        )

    async def reply(self) -> dict[str, Any]:
        """Read frames up to one that is no market data."""
        return await self.until(lambda frame: "topic" not in frame)

    async def subscribe(self, *topics: str, **extra: Any) -> dict[str, Any]:
        """Subscribe and return the reply."""
        await self.send(**extra, op="subscribe", args=list(topics))
        return await self.reply()

    async def log_in(self, simulator: Simulator) -> dict[str, Any]:
        """Log in on the private socket and return the reply."""
        expires = simulator.now_ms() + 10_000
        await self.send(op="auth", args=[KEY, expires, sign(SECRET, websocket_text(expires))])
        return await self.reply()


@asynccontextmanager
async def client_of(simulator: Simulator, path: str) -> AsyncIterator[Client]:
    """Connect to a path."""
    async with connect(
        simulator.ws_url + path, ping_interval=None, compression=None, max_size=None
    ) as socket:
        yield Client(socket)


async def eventually(holds: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a fact that has no event of its own."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - the simulator's state has no event to wait for
            await asyncio.sleep(0.005)
