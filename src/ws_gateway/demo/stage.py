"""The processes of the demo: simulator, gateway, position manager, as a user would start them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import msgspec

from ws_gateway.config import Settings
from ws_gateway.demo.positions import EXAMPLES, embedded_url, has_position_manager
from ws_gateway.errors import Fatal

READY_SECONDS = 60.0
STOP_SECONDS = 12.0
PREFIX = "ws-gateway-demo"
"""First word of the demo's exchange and queues; each run adds its own, so that two may run."""

_POLL_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_NOT_INHERITED = (
    "WSG_BYBIT_API_KEY_FILE",
    "WSG_BYBIT_API_SECRET_FILE",
    "WSG_API_KEY_FILE",
    "WSG_DATABASE_URL",
    "WSG_DATABASE_URL_FILE",
    "WSG_HTTP_CERTIFICATE_FILE",
    "WSG_HTTP_KEY_FILE",
)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is, once it runs.

    Attributes:
        faults: what was wrong with how the processes ended; complete when the stage is left.
    """

    amqp_prefix: str
    venue_url: str
    gateway_url: str
    api_key: str
    amqp_url: str
    log_file: Path
    gateway: asyncio.subprocess.Process
    data_dir: Path
    faults: list[str]

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Call the gateway's HTTP API; answers the decoded body.

        Raises:
            Fatal: the gateway refused or cannot be reached.
        """
        return await asyncio.to_thread(self._call, self.gateway_url, method, path, body)

    async def positions(self) -> list[dict[str, Any]]:
        """Ask the simulator for the latest state of each position there ever was.

        Raises:
            Fatal: it does not answer.
        """
        venue = self.venue_url.replace("ws:", "http:", 1)
        path = "/sim/ledger?kind=position&latest=true"
        ledger = await asyncio.to_thread(self._call, venue, "GET", path, None)
        found: list[dict[str, Any]] = ledger["entries"]
        return found

    def _call(self, server: str, method: str, path: str, body: object) -> Any:
        request = Request(  # noqa: S310 - our own http address
            server + path,
            method=method,
            data=None if body is None else msgspec.json.encode(body),
            headers={"X-API-Key": self.api_key, "Content-Type": "application/json"},
        )
        try:
            with urlopen(request, timeout=5) as answer:  # noqa: S310 - same
                raw = answer.read()
        except HTTPError as exc:
            with exc:
                words = exc.read().decode("utf-8", "replace")
            raise Fatal(f"{method} {path} was refused with {exc.code}: {words}") from exc
        except (URLError, OSError) as exc:
            raise Fatal(f"{server} does not answer {method} {path}: {exc}") from exc
        return msgspec.json.decode(raw) if raw else None


@asynccontextmanager
async def set_up(
    settings: Settings, amqp_prefix: str, *, seed: int, rate: float
) -> AsyncIterator[Stage]:
    """Start simulator, gateway and position manager; all are stopped at the end, come what may.

    The gateway has a database and AMQP names of its own: nothing of a gateway in earnest is
    touched. The folder with their logs stays only if something went wrong.

    Raises:
        Fatal: one of them did not come up; the text says which, and where its log is.
    """
    parent = settings.data_dir.absolute() / "demo"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    log_file = folder / "gateway.log"
    venue_port, http_port = _free_port(), _preferred_port(settings.http_port)
    key, secret, api_key = "demo-key", secrets.token_hex(16), f"demo-{secrets.token_hex(8)}"
    venue = [sys.executable, "-m", "bybit_sim", "--port", str(venue_port), "--seed", str(seed)]
    venue += ["--rate", str(rate), "--api-key", key, "--api-secret", secret, "--trade-every", "1.5"]
    environ = os.environ | {
        "WSG_BYBIT_WS_URL": f"ws://127.0.0.1:{venue_port}",
        "WSG_BYBIT_REST_URL": f"http://127.0.0.1:{venue_port}",
        "WSG_BYBIT_API_KEY": key,
        "WSG_BYBIT_API_SECRET": secret,
        "WSG_CONNECTION_STRATEGY": "dual",
        "WSG_ENABLED_CATEGORIES": "spot,linear,inverse,option,spread",
        "WSG_AMQP_PREFIX": amqp_prefix,
        "WSG_API_KEY": api_key,
        "WSG_HTTP_HOST": "127.0.0.1",
        "WSG_HTTP_PORT": str(http_port),
        "WSG_DATA_DIR": str(folder),
        "WSG_LOG_FORMAT": "json",
    }
    for name in _NOT_INHERITED:
        environ.pop(name, None)
    serve = [sys.executable, "-m", "ws_gateway", "serve"]
    faults: list[str] = []
    async with (
        _running("simulator", venue, None, folder / "simulator.log", faults),
        _running("gateway", serve, environ, log_file, faults) as gateway,
    ):
        stage = Stage(
            amqp_prefix,
            f"ws://127.0.0.1:{venue_port}",
            f"http://127.0.0.1:{http_port}",
            api_key,
            settings.amqp_url.get_secret_value(),
            log_file,
            gateway,
            folder,
            faults,
        )
        await _until_ready(stage)
        async with AsyncExitStack() as stack:
            if has_position_manager():
                await stack.enter_async_context(_position_manager(stage))
            yield stage
    if faults:
        return
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@asynccontextmanager
async def _running(
    name: str,
    words: list[str],
    environ: dict[str, str] | None,
    log_file: Path,
    faults: list[str],
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            # Its own group: Ctrl-C is for the demo, which stops the others in order.
            *words,
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    try:
        yield process
    finally:
        was_killed = await _end(process)
        code = process.returncode
        if was_killed:
            faults.append(f"the {name} had to be killed; see {log_file}")
        elif code:
            faults.append(f"the {name} ended with code {code}; see {log_file}")
        elif lost := await asyncio.to_thread(_told_loss, log_file):
            faults.append(f"the {name} ended with {lost} events undelivered; see {log_file}")


@asynccontextmanager
async def _position_manager(stage: Stage) -> AsyncIterator[None]:
    """Run the reference consumer, with nothing of ours but three settings."""
    environ = os.environ | {
        "WSG_AMQP_URL": stage.amqp_url,
        "WSG_AMQP_PREFIX": stage.amqp_prefix,
        "WSG_DATABASE_URL": embedded_url(stage.data_dir),
        "PYTHONPATH": str(EXAMPLES),
    }
    words = [sys.executable, "-m", "position_manager"]
    log_file = stage.data_dir / "position_manager.log"
    async with _running("position manager", words, environ, log_file, stage.faults):
        yield


def _die_with_parent() -> None:
    """Let the kernel send SIGTERM when the demo is gone, however it went (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _end(process: asyncio.subprocess.Process) -> bool:
    """Ask the process to end; answers whether that was not enough."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        return True
    return False


def _told_loss(log_file: Path) -> int:
    """Read from a gateway's log how much it could not deliver before its end."""
    for line in reversed(log_file.read_text(encoding="utf-8", errors="replace").splitlines()):
        if "gateway.stopped_with_loss" in line:
            return int(msgspec.json.decode(line)["lost"])
    return 0


async def _until_ready(stage: Stage) -> None:
    """Wait until the gateway is ready; a gateway that ended says why in its log."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            while True:
                if stage.gateway.returncode is not None:
                    raise Fatal(f"the gateway ended at once: {_last_line(stage.log_file)}")
                try:
                    await stage.call("GET", "/readyz")
                except Fatal:
                    await asyncio.sleep(_POLL_SECONDS)
                else:
                    return
    except TimeoutError as exc:
        raise Fatal(
            f"the gateway did not come up in {READY_SECONDS:.0f} s; see {stage.log_file}"
        ) from exc


def _last_line(log_file: Path) -> str:
    lines = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"without a word; see {log_file}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _preferred_port(wanted: int) -> int:
    """Take the configured port if nobody has it: addresses people know are easier to try."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return _free_port()
        port: int = probe.getsockname()[1]
        return port
