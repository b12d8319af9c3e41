"""Measure the gateway beside the broker's own ceiling, in one run on one machine.

    python bench/run.py [--queues quorum,classic] [--seconds 15] [--rounds 3]

Every figure is of the whole gateway process, HTTP and database included, as an operator would see
it: confirmed events from its own counters, CPU time from the operating system.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import aio_pika
import psutil
from rich.console import Console
from rich.table import Table

from ws_gateway.delivery.topology import Names

HERE = Path(__file__).parent
TOPICS = 10
SYMBOLS = [f"SIM{number:04}USDT" for number in range(TOPICS)]
PACED = 5_000
WARM_UP_SECONDS = 3.0
POLL_SECONDS = 0.25


class Gateway:
    """A gateway process fed by a flooding venue, for the length of a `with`."""

    def __init__(self, stack: ExitStack, amqp_url: str, prefix: str, queue_type: str) -> None:
        venue_port, http_port = _free_port(), _free_port()
        self._key = secrets.token_hex(8)
        self._url = f"http://127.0.0.1:{http_port}"
        self._venue = subprocess.Popen(
            [sys.executable, str(HERE / "venue.py"), str(venue_port)],
            stdin=subprocess.PIPE,
            text=True,
        )
        stack.callback(_end, self._venue)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wsg-bench-"))
        environ = {k: v for k, v in os.environ.items() if not k.startswith("WSG_")} | {
            "WSG_AMQP_URL": amqp_url,
            "WSG_AMQP_PREFIX": prefix,
            "WSG_QUEUE_TYPE": queue_type,
            "WSG_BYBIT_WS_URL": f"ws://127.0.0.1:{venue_port}",
            "WSG_HTTP_PORT": str(http_port),
            "WSG_DATA_DIR": folder,
            "WSG_API_KEY": self._key,
            "WSG_LOG_LEVEL": "warning",
        }
        self._process = subprocess.Popen([sys.executable, "-m", "ws_gateway", "serve"], env=environ)
        stack.callback(_end, self._process)
        self._usage = psutil.Process(self._process.pid)

    def subscribe(self) -> None:
        """Wait until it is ready, then ask for the books of all symbols."""
        deadline = time.monotonic() + 60
        while True:
            try:
                self._call("GET", "/readyz")
                break
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.1)
        for symbol in SYMBOLS:
            self._call(
                "POST",
                "/api/v1/subscriptions",
                {
                    "channel": "orderbook",
                    "symbol": symbol,
                    "category": "linear",
                    "requesting_service": "bench",
                },
            )

    def tell_venue(self, line: str) -> None:
        """Send the venue one line."""
        if self._venue.stdin is not None:
            self._venue.stdin.write(f"{line}\n")
            self._venue.stdin.flush()

    def figures(self) -> dict[str, Any]:
        """Read the delivery counters."""
        answer: dict[str, Any] = self._call("GET", "/health")["delivery"]
        return answer

    def measure(self, seconds: float) -> dict[str, float]:
        """Let it run for so long; answers rate, CPU per event in µs, memory in MB."""
        before, cpu_before, started = self.figures(), self._cpu(), time.monotonic()
        while time.monotonic() - started < seconds:
            self.tell_venue(str(self.figures()["confirmed"]))
            time.sleep(POLL_SECONDS)
        after, cpu, elapsed = self.figures(), self._cpu(), time.monotonic() - started
        events = after["confirmed"] - before["confirmed"]
        return {
            "rate": events / elapsed,
            "cpu_us": (cpu - cpu_before) / max(events, 1) * 1e6,
            "rss_mb": self._usage.memory_info().rss / 1e6,
            "shed": sum(after["shed"].values()) - sum(before["shed"].values()),
            "p50_us": after["latency_p50_us"] or 0,
            "p99_us": after["latency_p99_us"] or 0,
        }

    def _cpu(self) -> float:
        times = self._usage.cpu_times()
        return float(times.user + times.system)

    def _call(self, method: str, path: str, body: object = None) -> Any:
        request = Request(  # noqa: S310 - our own http address
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": self._key, "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - same
            return json.loads(answer.read() or b"null")


def bench_gateway(amqp_url: str, queue_type: str, seconds: float) -> dict[str, dict[str, float]]:
    """Measure one gateway at full speed and at a paced rate."""
    prefix = f"bench-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        stack.callback(lambda: asyncio.run(_remove(amqp_url, prefix)))
        gateway = Gateway(stack, amqp_url, prefix, queue_type)
        gateway.subscribe()
        gateway.measure(WARM_UP_SECONDS)
        full = gateway.measure(seconds)
        gateway.tell_venue(f"rate {PACED}")
        gateway.measure(WARM_UP_SECONDS)
        paced = gateway.measure(seconds / 2)
        gateway.tell_venue("rate 0")
    return {"full": full, "paced": paced}


def bench_ceiling(amqp_url: str, queue_type: str, seconds: float) -> dict[str, dict[str, float]]:
    """Measure the raw publisher into the same exchange and queue."""
    prefix = f"bench-{secrets.token_hex(4)}"
    asyncio.run(_declare(amqp_url, prefix, queue_type))
    try:
        _raw(amqp_url, prefix, WARM_UP_SECONDS, 0)
        full = _raw(amqp_url, prefix, seconds, 0)
        return {"full": full, "paced": _raw(amqp_url, prefix, seconds / 2, PACED)}
    finally:
        asyncio.run(_remove(amqp_url, prefix))


def _raw(amqp_url: str, prefix: str, seconds: float, rate: int) -> dict[str, float]:
    words = [sys.executable, str(HERE / "raw_publisher.py"), amqp_url, Names(prefix).exchange]
    words += [",".join(SYMBOLS), str(seconds), str(rate)]
    answer: dict[str, float] = json.loads(subprocess.check_output(words, text=True))
    return answer


async def _declare(amqp_url: str, prefix: str, queue_type: str) -> None:
    """Declare as the gateway does, by the gateway's own code."""
    from ws_gateway.config import QueueType  # noqa: PLC0415 - only here
    from ws_gateway.delivery.link import Deaf, open_link  # noqa: PLC0415 - only here
    from ws_gateway.delivery.topology import declare_topology  # noqa: PLC0415 - only here

    link = await open_link(amqp_url, Deaf(), deadline_seconds=10)
    await declare_topology(link, Names(prefix), QueueType(queue_type))
    await link.close(1)


async def _remove(amqp_url: str, prefix: str) -> None:
    names = Names(prefix)
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        for queue in names.queues():
            await channel.queue_delete(queue)
        await channel.exchange_delete(names.exchange)


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    process.wait(20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _median(rounds: list[dict[str, dict[str, float]]], part: str, name: str) -> float:
    return statistics.median(one[part][name] for one in rounds)


def main() -> None:
    """Run the rounds, gateway and ceiling in turn, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--queues", default="quorum")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    amqp_url = os.environ["WSG_AMQP_URL"]
    table = Table(title="gateway beside the broker's ceiling (medians)")
    for name in (
        "queue type",
        "ceiling /s",
        "gateway /s",
        "of ceiling",
        "CPU/event µs",
        "RSS MB",
        f"p99 ms at {PACED}/s",
        "raw p99 ms",
        "shed",
    ):
        table.add_column(name, justify="right")
    results: dict[str, Any] = {"machine": f"{platform.processor()} x{os.cpu_count()}"}
    for queue_type in chosen.queues.split(","):
        gateways, ceilings = [], []
        for number in range(chosen.rounds):
            print(f"{queue_type}, round {number + 1} of {chosen.rounds} …", file=sys.stderr)
            ceilings.append(bench_ceiling(amqp_url, queue_type, chosen.seconds))
            gateways.append(bench_gateway(amqp_url, queue_type, chosen.seconds))
        share = statistics.median(
            g["full"]["rate"] / c["full"]["rate"] for g, c in zip(gateways, ceilings, strict=True)
        )
        table.add_row(
            queue_type,
            f"{_median(ceilings, 'full', 'rate'):,.0f}",
            f"{_median(gateways, 'full', 'rate'):,.0f}",
            f"{share:.0%}",
            f"{_median(gateways, 'full', 'cpu_us'):.1f}",
            f"{_median(gateways, 'full', 'rss_mb'):.0f}",
            f"{_median(gateways, 'paced', 'p99_us') / 1000:.1f}",
            f"{_median(ceilings, 'paced', 'p99_us') / 1000:.1f}",
            f"{sum(one['full']['shed'] for one in gateways):.0f}",
        )
        results[queue_type] = {"gateway": gateways, "ceiling": ceilings}
    Console(width=120).print(table)
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    target = folder / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    target.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(f"written to {target.relative_to(HERE.parent)}", file=sys.stderr)


if __name__ == "__main__":
    main()
