"""Measure how long a balance push takes until its rows are committed.

    python bench/balances.py [--seconds 10] [--rate 100]

In one process: wallet frames go through decoding, account stage and writer into a real PostgreSQL
that forces every commit to disk; beside it the commit of one bare row, which is the floor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from ws_gateway.account.balance_log import condense
from ws_gateway.account.stage import AccountStage
from ws_gateway.account.writer import BalanceWriter
from ws_gateway.domain.balance import BalanceRecord
from ws_gateway.domain.event import GapReason, Observation
from ws_gateway.domain.topic import Channel, Topic, build_topic
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.spool_log import SpoolLog
from ws_gateway.storage.balances import PostgresBalances
from ws_gateway.storage.database import migrate, open_pool
from ws_gateway.storage.embedded import EmbeddedPostgres
from ws_gateway.storage.statements import Statements
from ws_gateway.venue.messages import decode_frame
from ws_gateway.venue.observations import read_observations

BUDGET_MS = 50.0
WALLET = build_topic(Channel.BALANCE)


class Nowhere:
    """Takes what the stage passes on."""

    def accept(self, observation: Observation) -> None:
        """Take one fact."""

    def suppress(self, observation: Observation) -> None:
        """Take a copy."""

    def last_update_id(self, topic: Topic) -> int | None:  # noqa: ARG002 - it has no books
        """Know of none."""
        return None

    def break_streams(
        self, topics: object, reason: GapReason, detail: str, *, is_announced: bool = True
    ) -> None:
        """Take note."""

    def quarantine(
        self, *, reason: str, origin: str, detail: str, raw: bytes, trace_id: str
    ) -> None:
        """Fail: the frames are good."""
        raise AssertionError((reason, origin, detail, raw, trace_id))


class Watched(PostgresBalances):
    """Notes when each record was committed."""

    def __init__(self, statements: Statements) -> None:
        super().__init__(statements)
        self.latencies_ms: list[float] = []

    async def write(self, records: Sequence[BalanceRecord]) -> None:
        """Write, and note how long ago each was received."""
        await super().write(records)
        now = time.time_ns() // 1000
        self.latencies_ms += [(now - record.received_at) / 1000 for record in records]


def frame(number: int, rng: Random) -> bytes:
    """Make a push of two coins and the totals."""
    coins = [
        {"coin": name, "walletBalance": f"{rng.randrange(10**9)}.{number}", "locked": "0",
         "borrowAmount": "0", "cumRealisedPnl": f"{number}", "totalOrderIM": "1"}
        for name in ("USDT", "BTC")
    ]  # fmt: skip
    record = {"accountType": "UNIFIED", "totalEquity": f"{number}", "coin": coins}
    now_ms = time.time_ns() // 1_000_000
    return json.dumps({"topic": "wallet", "creationTime": now_ms, "data": [record]}).encode()


async def measure(folder: Path, seconds: float, rate: float) -> dict[str, float]:
    """Push at a rate for a while; answers figures in ms."""
    postgres = EmbeddedPostgres(folder)
    url = await postgres.start()
    try:
        await migrate(url)
        pool = await open_pool(url)
        store = Watched(Statements(pool))
        log = SpoolLog(folder / "log", max_bytes=10**8, max_age_seconds=3600, condense=condense)
        sink = Nowhere()
        writer = BalanceWriter("main", store, log, sink)
        stage = AccountStage(
            "main",
            sink=sink,
            unreadable=sink,
            keeper=writer,
            counters=Counters(),
            monotonic=time.monotonic,
        )
        task = asyncio.create_task(writer.run())
        rng, began = Random(1), time.monotonic()
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            raw = frame(number, rng)
            now_us = time.time_ns() // 1000
            for fact in read_observations(WALLET, decode_frame(raw), now_us, "0" * 32):
                stage.accept(fact)
        assert await writer.committed_all(10)
        writer.stop()
        await task
        await writer.close(1.0)
        floor = await bare_commits(pool)
        await pool.close()
    finally:
        await postgres.stop()
    # The first statement on a connection is prepared; it is told apart.
    begun = 3 * int(rate)
    cold, told = store.latencies_ms[:begun], store.latencies_ms[begun:]
    return {
        "first_second_max_ms": round(max(cold), 2),
        "pushes": seconds * rate,
        "rows": len(told),
        "p50_ms": round(statistics.median(told), 2),
        "p99_ms": round(statistics.quantiles(told, n=100)[98], 2),
        "max_ms": round(max(told), 2),
        "floor_p50_ms": round(statistics.median(floor), 2),
        "floor_p99_ms": round(statistics.quantiles(floor, n=100)[98], 2),
        "budget_p99_ms": BUDGET_MS,
    }


async def bare_commits(pool: object) -> list[float]:
    """Time the commit of one small row, again and again."""
    took = []
    async with pool.acquire() as connection:  # type: ignore[attr-defined]
        await connection.execute("CREATE TABLE bare (n int)")
        for number in range(300):
            began = time.perf_counter()
            await connection.execute("INSERT INTO bare VALUES ($1)", number)
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.005)
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=100.0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wsg-", ignore_cleanup_errors=True) as folder:
        figures = asyncio.run(measure(Path(folder), wanted.seconds, wanted.rate))
    print(json.dumps(figures, indent=1))
    if figures["p99_ms"] > BUDGET_MS:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
