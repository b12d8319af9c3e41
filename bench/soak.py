"""Run a gateway for a long time while exchange, broker and database fail in turn, and judge it.

    make soak MINUTES=10 [ARGS="--seed 7 --json soak.json"]

Gateway, broker, database, exchange and consumer are all real. Exit code 1 if something grows or a
promise is broken, 0 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import platform
import re
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import structlog

from rabbitmq_node import PrivateNode, find_server
from support.outage_account import Comparison, compare
from support.outage_stage import (
    PREFIX,
    Load,
    Outage,
    OutageStage,
    staged,
    until_flowing,
    until_heard,
    until_idle,
)
from support.site import Site
from support.slopes import Slope, fit
from support.soak_faults import FAULTS, schedule
from ws_gateway.storage.embedded import EmbeddedPostgres

LOAD = Load(symbols=10, rate=20, trade_every=0.1, buffer_events=20_000)
LAST_QUIET_SECONDS = 15.0
SETTLED_SECONDS = 5.0
MOST_HELD = 500
_TASKS = re.compile(r"^ws_gateway_tasks (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the gateway's process.

    Attributes:
        at: seconds since the start.
        is_calm: no fault goes on, the last one is over for a while, and nothing is held back.
    """

    at: float
    rss_bytes: int
    descriptors: int
    tasks: int
    is_calm: bool


@dataclass(slots=True)
class Happened:
    """A fault as it was."""

    at: float
    side: str
    name: str
    seconds: float
    back_seconds: float = 0.0


@dataclass
class Run:
    """What a soak saw.

    Attributes:
        calm_since: monotonic time from which the gateway has nothing to recover from.
    """

    began: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    faults: list[Happened] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    calm_since: float | None = None

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began


async def watch_process(stage: OutageStage, run: Run) -> None:
    """Look every second until cancelled."""
    process = psutil.Process(stage.gateway.process.pid)
    due = time.monotonic()
    while True:
        text = (await stage.gateway.http.get("/metrics", timeout=10)).text
        found = _TASKS.search(text)
        assert found is not None, "the gateway tells no tasks"
        calm = run.calm_since is not None and time.monotonic() - run.calm_since > SETTLED_SECONDS
        held = stage.watch.last["broker"]["buffered_events"]
        run.samples.append(
            Sample(
                round(run.now, 2),
                process.memory_info().rss,
                process.num_fds(),
                int(float(found[1])),
                calm and held < MOST_HELD,
            )
        )
        due += 1.0
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def play_faults(stage: OutageStage, run: Run, seconds: float, seed: int) -> None:
    """Let one fault follow the other; each has to be recovered from within a minute."""
    run.calm_since = time.monotonic()
    for turn in schedule(seed):
        left = seconds - LAST_QUIET_SECONDS - run.now
        if turn.quiet + turn.seconds > left:
            break
        await asyncio.sleep(turn.quiet)
        run.calm_since = None
        one = Happened(round(run.now, 1), turn.fault.side, turn.fault.name, round(turn.seconds, 1))
        run.faults.append(one)
        await turn.fault.begin(stage)
        await asyncio.sleep(turn.seconds)
        await turn.fault.end(stage)
        ended = time.monotonic()
        try:
            await until_flowing(stage, ended)
        except AssertionError as exc:
            run.broken.append(f"{one.side} {one.name} at {one.at:.0f} s: {exc}")
        one.back_seconds = round(time.monotonic() - ended, 1)
        run.calm_since = time.monotonic()
        print(
            f"  {one.at:7.1f} s  {one.side:<9} {one.name:<17} for {one.seconds:4.1f} s,"
            f" all flows {one.back_seconds:4.1f} s later",
            flush=True,
        )
    await asyncio.sleep(max(0.0, seconds - run.now))


async def soak(seconds: float, seed: int) -> tuple[Run, OutageStage, Comparison]:
    """Run from nothing to nothing."""
    server = find_server()
    assert server is not None, "needs an installed rabbitmq-server"
    nothing = Outage("soak", _nothing, _nothing, has_own_database=True)
    async with AsyncExitStack() as stack:
        # The name is short for the sake of the database's socket.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wsg-s-")))
        node = PrivateNode(folder / "rabbitmq", print)
        stack.callback(node.stop)
        await asyncio.to_thread(node.start, server)
        postgres = EmbeddedPostgres(folder / "db")
        stack.push_async_callback(postgres.stop)
        site = Site(folder, node.url, await postgres.start(), PREFIX)
        async with staged(site, node, nothing, LOAD, postgres) as stage:
            run = Run()
            watching = asyncio.create_task(watch_process(stage, run), name="watch process")
            try:
                await play_faults(stage, run, seconds, seed)
            finally:
                watching.cancel()
                found = (await asyncio.gather(watching, return_exceptions=True))[0]
            if not isinstance(found, asyncio.CancelledError):
                run.broken.append(f"a look at the process failed: {found!r}")
            told = stage.ear.copy()
            await until_heard(stage, told)
            await stage.close_gateway()
            await until_idle(stage.reader)
            return run, stage, compare(told, stage.reader.private)


async def _nothing(_: OutageStage) -> None:
    """Do nothing."""


def warmed_up_at(run: Run, seconds: float) -> float:
    """Say from when on growth counts: each kind of outage leaves a high-water mark, once."""
    if len(run.faults) > len(FAULTS):
        return run.faults[len(FAULTS)].at
    return seconds / 2


def judge(run: Run, stage: OutageStage, private: Comparison, seconds: float) -> dict[str, Any]:
    """Say what holds, line by line."""
    warm_up = warmed_up_at(run, seconds)
    calm = [one for one in run.samples if one.is_calm and one.at >= warm_up]
    watch, reader = stage.watch, stage.reader
    delivery = watch.last["delivery"]
    lines: list[tuple[str, str, bool]] = []
    slopes: dict[str, Slope] = {}
    for name, unit, values, most in (
        ("memory", "MB", [one.rss_bytes / 1e6 for one in calm], 0.05),
        ("descriptors", "", [float(one.descriptors) for one in calm], 2.0),
        ("tasks", "", [float(one.tasks) for one in calm], 3.0),
    ):
        line = slopes[name] = fit(
            [(one.at, value) for one, value in zip(calm, values, strict=True)]
        )
        limit = most * line.mean if unit else most
        said = (
            f"{line.per_second * 3600:+.1f} {unit}/h".replace(" /h", "/h")
            + f": {line.growth:+.2f} over {line.seconds / 60:.1f} min, mean {line.mean:.1f}"
        )
        lines.append((name, f"{said}; at most {limit:+.1f}", line.growth <= limit))
    counted = {
        "holes unannounced": len(reader.checker.problems),
        "private facts lost": private.lost,
        "private facts out of order": private.disordered,
        "event ids that do not tell": len(reader.private.ambiguous),
        "looks out of balance": len(watch.imbalances),
        "looks without an answer": watch.hangs,
        "faults not recovered from": len(run.broken),
    }
    lines += [(name, f"{count:,}", count == 0) for name, count in counted.items()]
    marked = sum(n for reason, n in reader.checker.markers.items() if reason != "restart")
    return {
        "lines": lines,
        "slopes": {name: asdict(line) | {"growth": line.growth} for name, line in slopes.items()},
        "counts": counted
        | {
            "events_received": delivery["received"],
            "messages_read": reader.messages,
            "holes_announced": marked,
            "private_facts": private.sent,
            "private_repeats": reader.private.repeats,
            "calm_samples": len(calm),
            "warm_up_seconds": warm_up,
        },
        "is_well": all(is_well for *_, is_well in lines),
    }


def main() -> int:
    """Run, print the verdict, and answer the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.minutes < 1:
        parser.error("a soak of less than a minute shows nothing")
    logging.disable(logging.CRITICAL)  # the reader's driver tells every loss of its own connection
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    machine = f"{platform.machine()}, {psutil.cpu_count()} cores, Linux {platform.release()}"
    print(f"soak of {given.minutes:g} minutes, seed {given.seed}, {machine}", flush=True)
    seconds = given.minutes * 60
    run, stage, private = asyncio.run(soak(seconds, given.seed))
    verdict = judge(run, stage, private, seconds)
    counts = verdict["counts"]
    print(
        f"{counts['events_received']:,} events received, {counts['messages_read']:,} messages read,"
        f" {counts['holes_announced']:,} holes announced, {counts['private_facts']:,} private"
        f" facts, {len(run.faults)} faults"
    )
    for name, said, is_well in verdict["lines"]:
        print(f"{'ok    ' if is_well else 'BROKEN'}  {name:<26}  {said}")
    for words in (*run.broken, *stage.reader.checker.problems[:3], *stage.watch.imbalances[:3]):
        print(f"        {words}")
    print("Nothing grows, and every promise held." if verdict["is_well"] else "NOT WELL")
    if given.json:
        said = {
            "minutes": given.minutes,
            "seed": given.seed,
            "machine": machine,
            "verdict": verdict,
            "broken": run.broken,
            "faults": [asdict(one) for one in run.faults],
            "samples": [asdict(one) for one in run.samples],
        }
        given.json.write_text(json.dumps(said, indent=1))
    return int(not verdict["is_well"])


if __name__ == "__main__":
    sys.exit(main())
