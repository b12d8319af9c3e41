"""Run a gateway for a long time while exchange, broker and database fail in turn, and judge it.

    make soak MINUTES=10 [ARGS="--seed 7 --json soak.json --publish"]

Gateway, broker, database, exchange and consumer are all real. Exit code 1 if something grows, a
promise is broken, or too little happened to tell; 0 if not. `--publish` puts what is printed into
docs/soak.md.
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
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

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
from support.soak_faults import FAULTS, Turn, schedule
from support.soak_page import DOCUMENT, publish
from support.soak_verdict import Happened, Run, Sample, Seen, judge, remembered
from ws_gateway.storage.embedded import EmbeddedPostgres

LOAD = Load(symbols=10, rate=20, trade_every=0.1, buffer_events=20_000)
LAST_QUIET_SECONDS = 15.0
SETTLED_SECONDS = 5.0
MOST_HELD = 500
LEAST_MINUTES = 8.0
_TASKS = re.compile(r"^ws_gateway_tasks (\S+)", re.MULTILINE)


async def watch_process(stage: OutageStage, run: Run) -> None:
    """Look every second until cancelled."""
    process = psutil.Process(stage.gateway.process.pid)
    orders: set[str] = set()
    heard = 0
    due = time.monotonic()
    while True:
        text = (await stage.gateway.http.get("/metrics", timeout=10)).text
        found = _TASKS.search(text)
        assert found is not None, "the gateway tells no tasks"
        calm = run.calm_since is not None and time.monotonic() - run.calm_since > SETTLED_SECONDS
        held = stage.watch.last["broker"]["buffered_events"]
        states = stage.ear.told["order"]
        orders.update(str(one.key[0]) for one in states[heard:])
        heard = len(states)
        run.samples.append(
            Sample(
                round(run.now, 2),
                process.memory_info().rss,
                process.num_fds(),
                int(float(found[1])),
                sum(lane["peak_bytes"] for lane in stage.watch.last["broker"]["lanes"]),
                remembered(len(orders), heard, len(stage.ear.told["execution"])),
                calm and held < MOST_HELD,
            )
        )
        due += 1.0
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def play_faults(
    stage: OutageStage, run: Run, seconds: float, seed: int, tell: Callable[[str], None]
) -> None:
    """Let one fault follow the other; each has to be recovered from within a minute."""
    run.calm_since = time.monotonic()
    for turn in schedule(seed):
        left = seconds - LAST_QUIET_SECONDS - run.now
        if turn.quiet + turn.seconds > left:
            break
        await asyncio.sleep(turn.quiet)
        run.calm_since = None
        one = await play(stage, run, turn)
        run.calm_since = time.monotonic()
        back = "NOT back" if one.back_seconds is None else f"all flows {one.back_seconds:4.1f}"
        tell(
            f"  {one.at:7.1f} s  {one.side:<9} {one.name:<17} for {one.seconds:4.1f} s,"
            f" {back} s later{'' if one.effects else ', WITHOUT EFFECT'}"
        )
    await asyncio.sleep(max(0.0, seconds - run.now))


async def play(stage: OutageStage, run: Run, turn: Turn) -> Happened:
    """Let one fault happen, and wait until all flows again."""
    fault = turn.fault
    one = Happened(round(run.now, 1), fault.side, fault.name, round(turn.seconds, 1))
    run.faults.append(one)
    before = await fault.effects(stage)
    await fault.begin(stage)
    await asyncio.sleep(turn.seconds)
    one.effects = max(0, await fault.effects(stage) - before)
    await fault.end(stage)
    ended = time.monotonic()
    try:
        await until_flowing(stage, ended)
    except AssertionError as exc:
        run.broken.append(f"{one.side} {one.name} at {one.at:.0f} s: {exc}")
    else:
        one.back_seconds = round(time.monotonic() - ended, 1)
    return one


async def soak(
    seconds: float, seed: int, tell: Callable[[str], None]
) -> tuple[Run, OutageStage, Comparison]:
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
                await play_faults(stage, run, seconds, seed, tell)
            finally:
                watching.cancel()
                found = (await asyncio.gather(watching, return_exceptions=True))[0]
            if not isinstance(found, asyncio.CancelledError):
                run.broken.append(f"a look at the process failed: {found!r}")
            told = stage.ear.copy()
            await until_heard(stage, told)
            await stage.close_gateway()
            await until_idle(stage)
            return run, stage, compare(told, stage.reader.private)


async def _nothing(_: OutageStage) -> None:
    """Do nothing."""


def seen_of(stage: OutageStage, private: Comparison) -> Seen:
    """Gather what watch and consumer counted."""
    watch, reader = stage.watch, stage.reader
    return Seen(
        received=watch.last["delivery"]["received"],
        read=reader.messages,
        facts=private.sent,
        looks=watch.scrapes,
        announced=sum(n for reason, n in reader.checker.markers.items() if reason != "restart"),
        faultless={
            "holes unannounced": len(reader.checker.problems),
            "private facts lost": private.lost,
            "private facts out of order": private.disordered,
            "event ids that do not tell": len(reader.private.ambiguous),
            "looks out of balance": len(watch.imbalances),
            "looks without an answer": watch.hangs,
        },
    )


def main() -> int:
    """Run, print the verdict, and answer the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write every sample and fault there")
    parser.add_argument("--publish", action="store_true", help=f"put it into {DOCUMENT.name}")
    given = parser.parse_args()
    if given.minutes < LEAST_MINUTES:
        parser.error(
            f"in less than {LEAST_MINUTES:g} minutes not each kind of fault happens, nor anything"
            " after them that growth could be told from"
        )
    logging.disable(logging.CRITICAL)  # the reader's driver tells every loss of its own connection
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    said: list[str] = []

    def tell(words: str) -> None:
        said.append(words)
        print(words, flush=True)

    tell(
        f"soak of {given.minutes:g} minutes, seed {given.seed}: {platform.machine()}, "
        f"{psutil.cpu_count()} cores, Linux {platform.release()}, Python "
        f"{platform.python_version()}"
    )
    seconds = given.minutes * 60
    run, stage, private = asyncio.run(soak(seconds, given.seed, tell))
    seen = seen_of(stage, private)
    kinds = [(fault.side, fault.name) for fault in FAULTS]
    lines = judge(run, seen, kinds, seconds)
    is_well = all(line.is_well for line in lines) and not run.broken
    load = ", ".join(f"{one:.1f}" for one in psutil.getloadavg())
    tell(f"{len(run.faults)} faults, {seen.announced:,} holes announced; load average {load}")
    for line in lines:
        tell(str(line))
    for words in (*run.broken, *stage.reader.checker.problems[:3], *stage.watch.imbalances[:3]):
        tell(f"        {words}")
    tell("Nothing grows, and every promise held." if is_well else "NOT WELL")
    if given.json:
        whole = {
            "said": said,
            "is_well": is_well,
            "lines": [asdict(line) for line in lines],
            "seen": asdict(seen),
            "broken": run.broken,
            "faults": [asdict(one) for one in run.faults],
            "samples": [asdict(one) for one in run.samples],
        }
        given.json.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    if given.publish:
        publish("\n".join(said), DOCUMENT)
    return int(not is_well)


if __name__ == "__main__":
    sys.exit(main())
