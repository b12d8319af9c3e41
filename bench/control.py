"""Measure control: pages, the way from POST to the first event, reads beside a load, a full start.

    python bench/control.py [--parts pages,first,load,start] [--seconds 12]

Every figure is taken from outside, over HTTP, AMQP and SQL, of a whole gateway process with a
PostgreSQL of its own. Broker, venue, gateway and what asks share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import asyncpg
import httpx
from rich.console import Console
from rich.table import Table

from stand import free_port, remove_topology
from ws_gateway.storage.database import migrate
from ws_gateway.storage.embedded import EmbeddedPostgres

HERE = Path(__file__).parent
LIST = "/api/v1/subscriptions"
ROWS, SERVICES = 100_000, 100
FULL_ROWS, FULL_SYMBOLS = 10_000, 500
RATE, LOAD_TOPICS, READS_PER_SECOND = 5_000, 100, 40

# What 500 symbols have to make 10,000 topics: 20 of each.
_KINDS = [
    ("publicTrade", "trades", None),
    ("tickers", "ticker", None),
    ("allLiquidation", "liquidation", None),
    *(("orderbook", "orderbook", depth) for depth in ("1", "50", "200", "1000")),
    *(
        ("kline", "kline", each)
        for each in ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M")
    ),
]

Figures = list[tuple[str, str, str]]
"""What, how much, and the budget."""


class Stage:
    """A gateway to ask, and what stands around it."""

    def __init__(self, http: httpx.AsyncClient, database_url: str, prefix: str) -> None:
        self.http = http
        self.database_url = database_url
        self.prefix = prefix

    async def timed(self, path: str, **query: Any) -> tuple[float, Any]:
        """Read something; answers ms and body."""
        began = time.perf_counter()
        answer = await self.http.get(path, params=query)
        took = (time.perf_counter() - began) * 1000
        answer.raise_for_status()
        return took, answer.json()


@asynccontextmanager
async def process(
    *words: str, environ: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program of this interpreter meanwhile."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, *words, env=environ, stdin=asyncio.subprocess.PIPE, stdout=2
    )
    try:
        yield program
    finally:
        if program.returncode is None:
            program.terminate()
        await program.wait()


@asynccontextmanager
async def stage(
    venue: list[str],
    fill: Callable[[asyncpg.Connection], Coroutine[Any, Any, None]] | None = None,
) -> AsyncIterator[tuple[Stage, asyncio.subprocess.Process, float]]:
    """Open database, venue and gateway; also answers when the gateway was started."""
    prefix, key = f"bench-{secrets.token_hex(4)}", secrets.token_hex(8)
    venue_port, http_port = free_port(), free_port()
    amqp_url = os.environ["WSG_AMQP_URL"]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WSG_")}
    with tempfile.TemporaryDirectory(prefix="wsg-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        url = await postgres.start()
        try:
            await migrate(url)
            if fill is not None:
                connection = await asyncpg.connect(url)
                await fill(connection)
                await connection.execute("ANALYZE subscriptions")
                await connection.close()
            environ = bare | {
                "WSG_AMQP_URL": amqp_url,
                "WSG_AMQP_PREFIX": prefix,
                "WSG_BYBIT_WS_URL": f"ws://127.0.0.1:{venue_port}",
                "WSG_DATABASE_URL": url,
                "WSG_HTTP_PORT": str(http_port),
                "WSG_DATA_DIR": folder,
                "WSG_API_KEY": key,
                "WSG_LOG_LEVEL": "warning",
            }
            words = [word.replace("{port}", str(venue_port)) for word in venue]
            async with process(*words, environ=bare) as venue_process:
                await _listens(venue_port)
                began = time.monotonic()
                async with (
                    process("-m", "ws_gateway", "serve", environ=environ),
                    httpx.AsyncClient(
                        base_url=f"http://127.0.0.1:{http_port}",
                        headers={"X-API-Key": key},
                        timeout=30,
                        trust_env=False,
                    ) as http,
                ):
                    await _listens(http_port)
                    yield Stage(http, url, prefix), venue_process, began
        finally:
            await postgres.stop()
            await remove_topology(amqp_url, prefix)


# ── the parts ─────────────────────────────────────────────────────────────────────────────────


async def pages(seconds: float) -> Figures:  # noqa: ARG001 - it walks the whole table instead
    """Walk 100,000 rows page by page, and ask for filtered pages."""

    async def fill(connection: asyncpg.Connection) -> None:
        await connection.execute(
            """
            INSERT INTO subscriptions (category, topic, channel, symbol, requesting_service)
            SELECT 'linear', 'tickers.' || symbol, 'ticker', symbol, 'service-' || s
            FROM generate_series(1, $1) AS s, generate_series(1, $2) AS n,
                 LATERAL (SELECT 'SIM' || lpad(n::text, 4, '0') || 'USDT' AS symbol) AS named
            """,
            SERVICES,
            ROWS // SERVICES,
        )

    simulator = ["-m", "bybit_sim", "--port", "{port}", "--rate", "0.01"]
    simulator += ["--symbols", str(ROWS // SERVICES)]
    async with stage(simulator, fill) as (gateway, _, _):
        await _until_ready(gateway)
        walked: list[float] = []
        query: dict[str, Any] = {"limit": 100}
        seen = 0
        while True:
            took, body = await gateway.timed(LIST, **query)
            walked.append(took)
            seen += len(body["items"])
            if body["next_cursor"] is None:
                break
            query["cursor"] = body["next_cursor"]
        filtered: dict[str, list[float]] = defaultdict(list)
        for number in range(1, 101):
            filters = {
                "service": {"requesting_service": f"service-{number}"},
                "symbol": {"symbol": f"SIM{number:04}USDT"},
                "channel": {"channel": "ticker"},
                "state": {"state": "rejected"},
                "none": {"symbol": "NOSUCH"},
            }
            for name, wanted in filters.items():
                filtered[name].append((await gateway.timed(LIST, limit=100, **wanted))[0])
    figures = [(f"pages of 100, {seen:,} rows, p99", _ms(_p99(walked)), "< 50 ms")]
    figures += [
        (f"filtered by {name}, p99", _ms(_p99(times)), "< 50 ms")
        for name, times in filtered.items()
    ]
    return figures


async def first(seconds: float) -> Figures:  # noqa: ARG001 - it is counted, not timed
    """Ask for topics one after the other, and wait for the first event of each."""
    simulator = ["-m", "bybit_sim", "--port", "{port}", "--symbols", "60", "--rate", "4"]
    async with stage(simulator) as (gateway, _, _):
        await _until_ready(gateway)
        connection = await aio_pika.connect(os.environ["WSG_AMQP_URL"])
        async with connection:
            channel = await connection.channel()
            queue = await channel.get_queue(f"{gateway.prefix}.orderbook")
            arrived: dict[str, asyncio.Future[float]] = {}

            async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                event = json.loads(message.body)
                waiting = arrived.get(event["topic"])
                if event["kind"] == "snapshot" and waiting is not None and not waiting.done():
                    waiting.set_result(time.perf_counter())

            await queue.consume(take, no_ack=True)
            took: list[float] = []
            for number in range(1, 61):
                symbol = f"SIM{number:04}USDT"
                waiting = arrived[f"orderbook.50.{symbol}"] = (
                    asyncio.get_running_loop().create_future()
                )
                began = time.perf_counter()
                wish = {
                    "channel": "orderbook",
                    "symbol": symbol,
                    "category": "linear",
                    "requesting_service": "bench",
                }
                (await gateway.http.post(LIST, json=wish)).raise_for_status()
                took.append((await asyncio.wait_for(waiting, 10) - began) * 1000)
    return [
        ("POST to first event, opening the socket", _ms(took[0]), "< 300 ms"),
        ("POST to first event, then, p50", _ms(statistics.median(took[1:])), "< 300 ms"),
        ("POST to first event, then, worst", _ms(max(took[1:])), "< 300 ms"),
    ]


async def load(seconds: float) -> Figures:
    """Read every endpoint beside 5,000 events/s, and look what that does to the events."""
    async with stage([str(HERE / "venue.py"), "{port}"]) as (gateway, venue, _):
        await _until_ready(gateway)
        wishes = [
            {"channel": "orderbook", "symbol": f"SIM{number:04}USDT", "category": "linear"}
            for number in range(LOAD_TOPICS)
        ]
        answer = await gateway.http.put(
            "/api/v1/services/bench/subscriptions",
            json={"subscriptions": wishes},
            params={"wait": 10},
        )
        answer.raise_for_status()
        one = answer.json()["added"][0]["id"]
        if venue.stdin is not None:
            venue.stdin.write(f"rate {RATE}\n".encode())
        await asyncio.sleep(3)
        reads: dict[str, list[float]] = defaultdict(list)
        alone: list[float] = []
        beside: list[float] = []
        for _ in range(3):  # in turn, because the machine is not the same all the time
            alone += await _latencies(gateway, seconds / 3)
            reading = asyncio.create_task(_read_all(gateway, one, reads))
            beside += await _latencies(gateway, seconds / 3)
            reading.cancel()
            await asyncio.wait({reading})
        health = (await gateway.http.get("/health")).json()["delivery"]
    figures = [
        (f"GET {path}, p99 of {len(times)}", _ms(_p99(times)), "< 20 ms")
        for path, times in reads.items()
    ]
    quiet, busy = statistics.median(alone), statistics.median(beside)
    figures += [
        ("delivery p99, alone", _ms(quiet), ""),
        (f"delivery p99, beside {READS_PER_SECOND} reads/s", _ms(busy), f"< {_ms(quiet * 1.2)}"),
        ("events shed", str(sum(health["shed"].values())), "0"),
    ]
    return figures


async def _latencies(gateway: Stage, seconds: float) -> list[float]:
    """Sample the p99 of the newest events, in ms."""
    found = []
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        await asyncio.sleep(1)
        health = (await gateway.http.get("/health")).json()
        found.append(health["delivery"]["latency_p99_us"] / 1000)
    return found[1:]


async def _read_all(gateway: Stage, one: str, reads: dict[str, list[float]]) -> None:
    """Read one endpoint after the other at an even pace, until cancelled."""
    paths = (LIST, f"{LIST}/{one}", "/api/v1/connections", "/api/v1/queues", "/health", "/readyz")
    while True:
        for path in paths:
            due = time.monotonic() + 1 / READS_PER_SECOND
            took, _ = await gateway.timed(path)
            reads[path.replace(one, "{id}")].append(took)
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def start(seconds: float) -> Figures:  # noqa: ARG001 - it ends when all is active
    """Start on 10,000 stored topics against the simulator, within its limits."""

    async def fill(connection: asyncpg.Connection) -> None:
        rows = [
            (
                ".".join(part for part in (prefix, parameter, symbol) if part),
                channel,
                symbol,
                parameter,
            )
            for number in range(1, FULL_SYMBOLS + 1)
            for prefix, channel, parameter in _KINDS
            for symbol in (f"SIM{number:04}USDT",)
        ]
        await connection.executemany(
            """
            INSERT INTO subscriptions
                (category, topic, channel, symbol, parameter, requesting_service)
            VALUES ('linear', $1, $2, $3, $4, 'bench')
            """,
            rows,
        )

    simulator = ["-m", "bybit_sim", "--port", "{port}", "--rate", "0.05"]
    simulator += ["--symbols", str(FULL_SYMBOLS)]
    async with stage(simulator, fill) as (gateway, _, began):
        connection = await asyncpg.connect(gateway.database_url)
        marks: dict[int, float] = {}
        while time.monotonic() - began < 120:
            count = "SELECT count(*) FROM subscriptions WHERE state = 'active'"
            active = await connection.fetchval(count)
            for share in (1, FULL_ROWS // 2, FULL_ROWS):
                if active >= share:
                    marks.setdefault(share, time.monotonic() - began)
            if active == FULL_ROWS:
                break
            await asyncio.sleep(0.1)
        await connection.close()
    told = ", ".join(f"{share:,} after {at:.1f} s" for share, at in marks.items())
    whole = marks.get(FULL_ROWS)
    shown = "not within 120 s" if whole is None else f"{whole:.1f} s"
    return [(f"start to {FULL_ROWS:,} active ({told})", shown, "< 15 s")]


# ── small things ──────────────────────────────────────────────────────────────────────────────


async def _until_ready(gateway: Stage) -> None:
    async with asyncio.timeout(60):
        while (await gateway.http.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(0.1)


async def _listens(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return


def _p99(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(0.99 * len(times)))]


def _ms(value: float) -> str:
    return f"{value:.1f} ms"


PARTS = {"pages": pages, "first": first, "load": load, "start": start}


def main() -> None:
    """Run the parts and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=24.0)
    chosen = parser.parse_args()
    table = Table(title="control")
    for name in ("what", "measured", "budget"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for name in chosen.parts.split(","):
        print(f"{name} …", file=sys.stderr)
        for row in asyncio.run(PARTS[name](chosen.seconds)):
            table.add_row(*row)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
