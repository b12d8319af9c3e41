"""Real processes of a test: started in a session of their own, watched, and surely ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import psutil

T = TypeVar("T")

API_KEY = "e2e-key"
START_SECONDS = 90.0
STOP_SECONDS = 10.0
"""What an orchestrator grants after SIGTERM."""

_POLL_SECONDS = 0.02


def crowd() -> float:
    """Say how many times more time than on a free machine things may take.

    Tests that run at the same time count from their start; the load is of the last minute.
    """
    beside = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1.0, max(os.getloadavg()[0], beside) / (os.cpu_count() or 1))


async def until(
    probe: Callable[[], Awaitable[T | None]], *, seconds: float, what: str | Callable[[], str]
) -> T:
    """Ask a process again and again until it answers something; processes offer no event."""
    deadline = time.monotonic() + seconds
    while not (answer := await probe()):
        if time.monotonic() > deadline:
            words = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds:g} s: {words}")
        await asyncio.sleep(_POLL_SECONDS)
    return answer


def clean_environ(settings: Mapping[str, str]) -> dict[str, str]:
    """Take this process's environment without its own settings, and add the given ones."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WSG_")}
    return {**inherited, "COLUMNS": "100", **settings}


class Program:
    """One running `python -m MODULE …`; its output goes to files.

    Attributes:
        process: the process, leader of its own group.
        out, err: files with what it wrote.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], environ: Mapping[str, str], folder: Path
    ) -> None:
        name = f"{module}-{uuid4().hex[:6]}"
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=clean_environ(environ),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def words(self) -> str:
        """What it wrote to standard error so far."""
        return self.err.read_text(encoding="utf-8", errors="replace")

    @property
    def records(self) -> list[dict[str, Any]]:
        """The log lines so far, as objects."""
        return [json.loads(line) for line in self.words.splitlines() if line.startswith("{")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        return [record for record in self.records if record["event"] == event]

    @property
    def rss_bytes(self) -> int:
        """Return the memory it holds now."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def descendants(self) -> list[psutil.Process]:
        """List every process that came of it, itself included."""
        one = psutil.Process(self.process.pid)
        return [one, *one.children(recursive=True)]

    async def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the exit code; a crowded machine gets more time."""
        seconds *= crowd()
        try:
            return await asyncio.to_thread(self.process.wait, seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still alive after {seconds:g} s:\n{self.words}") from None

    async def terminate(self, seconds: float = STOP_SECONDS) -> int:
        """Ask it to end and wait for the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended(seconds)

    async def kill(self) -> None:
        """End the whole group at once, without a goodbye."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.ended()


async def until_gone(family: Sequence[psutil.Process]) -> None:
    """Wait until none of these processes is left; one that nobody reaped has ended, too."""

    def left() -> list[int]:
        found = []
        for process in family:
            with suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found

    async def gone() -> bool:
        return not left()

    await until(gone, seconds=STOP_SECONDS, what=lambda: f"all gone, but {left()}")


async def run_command(
    arguments: Sequence[str], environ: Mapping[str, str], folder: Path, *, seconds: float = 60
) -> tuple[int, str, str]:
    """Run one command of the gateway to its end; answers exit code, output and errors."""
    program = Program("ws_gateway", arguments, environ, folder)
    try:
        code = await program.ended(seconds)
    finally:
        await program.kill()
    return code, program.out.read_text(encoding="utf-8"), program.words


class Venue(Program):
    """A simulator process; a restart on `port` is another one."""

    port = 0

    @property
    def url(self) -> str:
        """Where its sockets are."""
        return f"ws://127.0.0.1:{self.port}"


@asynccontextmanager
async def venue(folder: Path, *, port: int = 0, **options: object) -> AsyncIterator[Venue]:
    """Run a simulator meanwhile; options are those of its command line."""
    arguments = ["--port", str(port)]
    for name, value in {"seed": 7, "rate": 20, **options}.items():
        values = value if isinstance(value, tuple) else (value,)
        for one in values:
            arguments += [f"--{name.replace('_', '-')}", str(one)]
    program = Venue("bybit_sim", arguments, {}, folder)
    try:

        async def listening() -> str | None:
            assert program.process.poll() is None, program.words
            words = program.out.read_text(encoding="utf-8")
            return words if "REST" in words else None

        words = await until(listening, seconds=START_SECONDS, what="the simulator is ready")
        program.port = int(words.partition("ws://127.0.0.1:")[2].partition("/")[0])
        yield program
    finally:
        await program.kill()


class Gateway(Program):
    """A gateway process and its HTTP API."""

    http: httpx.AsyncClient

    async def add(self, channel: str, symbol: str | None = None, **wish: object) -> dict[str, Any]:
        """Subscribe as a service would with curl."""
        answer = await self.post(channel, symbol, **wish)
        assert answer.status_code in {200, 201}, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def post(self, channel: str, symbol: str | None = None, **wish: object) -> httpx.Response:
        """Send the wish, whatever the answer."""
        body = {"channel": channel, "requesting_service": "e2e", **wish}
        if symbol is not None:
            body["symbol"] = symbol
        return await self.http.post("/api/v1/subscriptions", json=body)

    async def remove(self, subscription: Mapping[str, Any]) -> None:
        """Delete one."""
        answer = await self.http.delete(f"/api/v1/subscriptions/{subscription['id']}")
        assert answer.status_code == 204, answer.text

    async def subscriptions(self) -> dict[str, dict[str, Any]]:
        """Return the stored subscriptions by topic."""
        answer = await self.http.get("/api/v1/subscriptions")
        return {item["topic"]: item for item in answer.json()["items"]}

    async def health(self) -> dict[str, Any]:
        """Return `/health`, having checked that the counters add up."""
        health: dict[str, Any] = (await self.http.get("/health")).json()
        check_balance(health["delivery"])
        return health

    async def connections(self) -> dict[str, dict[str, Any]]:
        """Return the `websocket_state` of each connection by category."""
        states = [one["websocket_state"] for one in (await self.health())["connections"]]
        return {state["category"]: state for state in states}

    async def until_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until `/readyz` says that data flow."""
        last = ""

        async def ready() -> bool:
            nonlocal last
            answer = await self.http.get("/readyz")
            last = answer.text
            return answer.status_code == 200

        await until(ready, seconds=seconds, what=lambda: f"ready, but {last}")

    async def until_not_ready(
        self, code: str, seconds: float = START_SECONDS, *, says: str = ""
    ) -> dict[str, Any]:
        """Wait until `/readyz` answers 503 with a reason of this code that says something."""
        last = ""

        async def refused() -> dict[str, Any] | None:
            nonlocal last
            answer = await self.http.get("/readyz")
            last = answer.text
            reasons = answer.json()["reasons"]
            assert (answer.status_code == 503) is bool(reasons)
            of_code = (one for one in reasons if one["code"] == code)
            return next((one for one in of_code if says in one["detail"]), None)

        return await until(refused, seconds=seconds, what=lambda: f"{code} {says}, but {last}")

    async def until_health(
        self, holds: Callable[[dict[str, Any]], object], seconds: float = START_SECONDS
    ) -> dict[str, Any]:
        """Wait until `/health` shows something; answers it."""
        last: dict[str, Any] = {}

        async def shown() -> dict[str, Any] | None:
            nonlocal last
            last = await self.health()
            return last if holds(last) else None

        return await until(shown, seconds=seconds, what=lambda: f"health shows it, but {last}")


def check_balance(delivery: Mapping[str, Any]) -> None:
    """Everything received is where observations are or ended."""
    whereabouts = (
        delivery["confirmed"]
        + delivery["in_flight"]
        + delivery["spooled"]
        + sum(delivery["suppressed"].values())
        + sum(delivery["shed"].values())
        + sum(delivery["rejected"].values())
    )
    assert delivery["received"] == whereabouts, delivery


@asynccontextmanager
async def gateway(
    folder: Path, settings: Mapping[str, str], *, trusted: ssl.SSLContext | None = None
) -> AsyncIterator[Gateway]:
    """Run a gateway meanwhile; it must end well by SIGTERM unless the test ended it before.

    Over TLS it is believed what `trusted` believes.
    """
    environ = {
        "WSG_API_KEY": API_KEY,
        "WSG_HTTP_PORT": "0",
        "WSG_DATA_DIR": str(folder / "data"),
        **settings,
    }
    program = Gateway("ws_gateway", ["serve"], environ, folder)
    try:

        async def started() -> str | None:
            assert program.process.poll() is None, program.words
            lines = program.logged("gateway.started")
            return str(lines[0]["url"]) if lines else None

        url = await until(started, seconds=START_SECONDS, what=lambda: program.words)
        async with httpx.AsyncClient(
            base_url=url,
            headers={"X-API-Key": API_KEY},
            timeout=START_SECONDS,
            trust_env=False,
            verify=trusted or True,
        ) as http:
            program.http = http
            # From here on the queues exist, so that consumers find them.
            await program.until_health(
                lambda health: health["broker"]["status"] == "ready", START_SECONDS
            )
            yield program
        if program.process.poll() is None:
            assert await program.terminate() == 0, program.words
        assert "Traceback" not in program.words, program.words
    finally:
        await program.kill()
