"""The command bybit-sim, as a process."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process

import pytest

from bybit_sim import SimulatorConfig, SimulatorError


async def start(*arguments: str) -> Process:
    """Start the command."""
    program = "from bybit_sim.cli import main; main()"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, stdout=PIPE, stderr=PIPE
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_prints_urls_and_ends_on_signals(number: signal.Signals) -> None:
    """It says where it serves, and exits 0 soon after a signal."""
    process = await start("--port", "0", "--seed", "3")
    assert process.stdout is not None
    async with asyncio.timeout(30):
        first = (await process.stdout.readline()).decode()
        lines = [(await process.stdout.readline()).decode() for _ in range(7)]
    assert first == "bybit-sim is ready (seed 3, rate 20/s per symbol)\n"
    assert "/v5/public/spot" in lines[0]
    process.send_signal(number)
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


async def test_port_in_use_is_one_sentence() -> None:
    """A taken port ends with exit code 2 and one line that names it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await start("--port", str(port))
        async with asyncio.timeout(30):
            _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.decode() == (
        f"bybit-sim: 127.0.0.1:{port} is in use; "
        "choose another with --port, or 0 for any free one\n"
    )


@pytest.mark.parametrize("arguments", [("--rate", "0"), ("--symbols", "10000"), ("--api-key", "k")])
async def test_bad_numbers_are_one_sentence(arguments: tuple[str, str]) -> None:
    """A setting that makes no sense ends with exit code 2 and one line."""
    process = await start(*arguments)
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.startswith(b"bybit-sim: ")
    assert errors.count(b"\n") == 1


def test_config_refuses_half_a_credential() -> None:
    """A key without a secret is a mistake, not a default."""
    with pytest.raises(SimulatorError, match="together"):
        SimulatorConfig(api_key="k")
