"""What every measurement stands on: processes that are asked, the venue, the broker, one sample."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aio_pika
import psutil

from ws_gateway.config import QueueType
from ws_gateway.delivery.link import Deaf, open_link
from ws_gateway.delivery.topology import Names, declare_topology

HERE = Path(__file__).parent
SYMBOLS = [f"SIM{number:04}USDT" for number in range(10)]
FIRST_POLL_SECONDS = 0.2
POLL_SHARE = 0.4
"""Of the venue's credit that may be used up before it is told what is confirmed: asking the gateway
costs it milliseconds, which are no part of an event's price."""

PATIENCE_SECONDS = 60.0

Sample = dict[str, float]
"""One measurement: `rate` (events/s), `cpu_us` and `broker_cpu_us` per event, `rss_mb`, `shed`,
and of the newest 8,192 events `p50_us` and `p99_us`."""


def say(text: str) -> None:
    """Tell whoever waits what is being done."""
    print(f"{text} …", file=sys.stderr, flush=True)


class Child:
    """A process of the bench that takes lines; ended with the stack it was started on."""

    def __init__(self, stack: ExitStack, words: list[str], **given: Any) -> None:
        search = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(search)}
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **({"env": environ} | given),
        )
        stack.callback(self._end)
        self.usage = psutil.Process(self._process.pid)

    @property
    def is_running(self) -> bool:
        """Say whether it still runs."""
        return self._process.poll() is None

    def tell(self, line: str) -> None:
        """Send it a line."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def hear(self) -> str:
        """Read its next line."""
        line = "" if self._process.stdout is None else self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended by itself; its words are above")
        return line

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(20)


class Venue:
    """The flooding venue (venue.py)."""

    def __init__(self, stack: ExitStack, *, payload_bytes: int = 160) -> None:
        port = free_port()
        self.url = f"ws://127.0.0.1:{port}"
        words = [sys.executable, str(HERE / "venue.py"), str(port)]
        self._child = Child(stack, [*words, "--payload-bytes", str(payload_bytes)])
        self._child.hear()
        self.credit = 0

    def give(self, credit: int) -> None:
        """Let it send as long as less than so many frames are unconfirmed."""
        self.credit = credit
        self.tell(f"credit {credit}")

    def tell(self, line: str) -> None:
        """Send it a command."""
        self._child.tell(line)


class Contender(Protocol):
    """Somebody whose publishing is measured."""

    @property
    def usage(self) -> psutil.Process:
        """Its process."""

    def figures(self) -> dict[str, Any]:
        """Ask for `confirmed`, `p50_us`, `p99_us` and `shed`."""


class Script:
    """A contender that is a script of ours, asked over its standard input."""

    def __init__(
        self, stack: ExitStack, module: str, *words: str, python: str = sys.executable
    ) -> None:
        self._child = Child(stack, [python, "-m", f"contenders.{module}", *words])
        self.usage = self._child.usage

    def figures(self) -> dict[str, Any]:
        """Ask for the figures."""
        return self.say("look")

    def say(self, line: str) -> dict[str, Any]:
        """Send a line; it is answered with the figures."""
        self._child.tell(line)
        answer: dict[str, Any] = json.loads(self._child.hear())
        return answer | {"shed": 0}


@dataclass(frozen=True, slots=True)
class Stage:
    """One broker with the gateway's topology of one queue type, used by all contenders in turn."""

    amqp_url: str
    prefix: str
    queue_type: str
    broker: psutil.Process | None

    @property
    def exchange(self) -> str:
        """The exchange all publish to."""
        return Names(self.prefix).exchange


@contextmanager
def stage(amqp_url: str, queue_type: str) -> Iterator[Stage]:
    """Declare as the gateway does, by its own code, and delete all at the end."""
    prefix = f"bench-{secrets.token_hex(4)}"
    asyncio.run(_declare(amqp_url, prefix, queue_type))
    try:
        yield Stage(amqp_url, prefix, queue_type, _broker_process(amqp_url))
    finally:
        asyncio.run(remove_topology(amqp_url, prefix))


async def _declare(amqp_url: str, prefix: str, queue_type: str) -> None:
    link = await open_link(amqp_url, Deaf(), deadline_seconds=10)
    await declare_topology(link, Names(prefix), QueueType(queue_type))
    await link.close(1)


async def remove_topology(amqp_url: str, prefix: str) -> None:
    """Delete what a gateway with that prefix declared."""
    names = Names(prefix)
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        for queue in names.queues():
            await channel.queue_delete(queue)
        await channel.exchange_delete(names.exchange)


def _broker_process(amqp_url: str) -> psutil.Process | None:
    """Find who listens at the URL's port on this machine, to count its CPU time too."""
    port = urlsplit(amqp_url).port or 5672
    for seen in psutil.net_connections("tcp"):
        if seen.status == psutil.CONN_LISTEN and seen.laddr and seen.laddr.port == port:
            return psutil.Process(seen.pid) if seen.pid else None
    return None


def measure(
    contender: Contender, on: Stage, seconds: float, *, venue: Venue | None = None
) -> Sample:
    """Let it run for so long; a venue is told what is confirmed, for it sends on credit."""
    before, began = contender.figures(), time.monotonic()
    cpu, broker_cpu = cpu_seconds(contender.usage), cpu_seconds(on.broker)
    pause = FIRST_POLL_SECONDS if venue is not None else seconds
    while (left := began + seconds - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        if venue is not None:
            confirmed = contender.figures()["confirmed"]
            venue.tell(f"confirmed {confirmed}")
            rate = (confirmed - before["confirmed"]) / (time.monotonic() - began)
            pause = min(2.0, venue.credit * POLL_SHARE / max(rate, 1.0))
    after, elapsed = contender.figures(), time.monotonic() - began
    events = max(1, after["confirmed"] - before["confirmed"])
    return {
        "rate": events / elapsed,
        "cpu_us": (cpu_seconds(contender.usage) - cpu) / events * 1e6,
        "broker_cpu_us": (cpu_seconds(on.broker) - broker_cpu) / events * 1e6,
        "rss_mb": contender.usage.memory_info().rss / 1e6,
        "shed": after["shed"] - before["shed"],
        "p50_us": after["p50_us"],
        "p99_us": after["p99_us"],
    }


def cpu_seconds(process: psutil.Process | None) -> float:
    """Return the CPU time a process has used; 0 of one that is not here."""
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def free_port() -> int:
    """Find a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
