"""Measure how sockets come back, what topics and sockets cost, and what a lasting fault does.

    python bench/venue_life.py [--parts reconnect,cost,soak] [--faults drop,stall|all]

Venue and reader are processes of their own; the reader is the venue room, the pipeline and the
envelope with the settings of production. The broker is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
SIZES = ((10, 1), (100, 1), (1_000, 1), (5_000, 5), (1_000, 5), (1_000, 20), (5_000, 20))
"""Topics and sockets whose cost is compared; the first is the measure."""

RATE = 25_000
SYMBOLS = 30
BOOK, TICKER = "orderbook.50.BTCUSDT", "tickers.BTCUSDT"
LASTING: dict[str, dict[str, Any]] = {
    "drop": {"count": None, "every_seconds": 1.0},
    "half_open": {},
    "refuse_handshake": {"status": 403},
    "slow_handshake": {"delay_seconds": 30.0},
    "accept_then_drop": {},
    "connection_limit": {"most": 1, "window_seconds": 60.0},
    "missing_pongs": {},
    "late_acks": {"delay_seconds": 15.0},
    "missing_acks": {},
    "refused_acks": {},
    "args_size": {"most": 1},
    "handler_not_found": {"topic": BOOK},
    "login_refused": {"reason": "wrong_key"},
    "clock_skew": {"by_seconds": 30},
    "stall": {"topic": TICKER},
    "update_gap": {"probability": 0.05, "count": None},
    "duplicate_frame": {"probability": 0.1, "count": None},
    "reorder_frames": {"probability": 0.02, "count": None},
    "book_restart": {"topic": BOOK, "count": None, "every_seconds": 0.5},
    "snapshot": {"topic": BOOK, "count": None, "every_seconds": 0.2},
    "malformed_frame": {"count": None, "every_seconds": 0.1},
    "oversized_frame": {"count": None, "every_seconds": 1.0, "size_bytes": 5_000_000},
    "unknown_topic": {"count": None, "every_seconds": 0.1},
    "maintenance": {},
    "duplicate_orders": {},
    "cancel_race": {},
    "private_out_of_order": {},
    "private_loss": {},
}
"""Each fault so that it lasts, or strikes again and again."""

NEEDS_A_LOSS = ("refuse_handshake", "slow_handshake", "accept_then_drop", "connection_limit",
                "late_acks", "missing_acks", "refused_acks", "args_size", "handler_not_found",
                "login_refused", "clock_skew")  # fmt: skip
"""These strike who connects or asks, so every socket is dropped when they begin."""

STRIKES_ONCE = ("half_open", "private_loss")
"""These are begun anew every few seconds."""


def reader(mode: str, **given: Any) -> dict[str, Any]:
    """Run one measurement in a process of its own."""
    words = [sys.executable, str(HERE / "life_reader.py"), mode, json.dumps(given)]
    answer: dict[str, Any] = json.loads(subprocess.check_output(words, text=True))
    return answer


def bench_reconnect(rounds: int) -> tuple[Table, dict[str, Any]]:
    """Drop one socket with 1,000 topics again and again."""
    result = reader("reconnect", port=_free_port(), topics=1_000, rate=RATE, rounds=rounds)
    table = Table(title=f"socket with 1,000 topics dropped, {rounds} times (ms)")
    for name in ("", "median", "worst", "budget"):
        table.add_column(name, justify="right")
    for name, budget in (("first_attempt", 100), ("all_acknowledged", 1000), ("all_flowing", 1000)):
        times = result[name]
        table.add_row(
            name.replace("_", " "),
            f"{statistics.median(times):.1f}",
            f"{max(times):.1f}",
            str(budget),
        )
    return table, result


def bench_cost(rounds: int, seconds: float, rate: int) -> tuple[Table, dict[str, Any]]:
    """Compare sizes in turn, so that a noisy minute strikes all of them."""
    runs: dict[tuple[int, int], list[dict[str, Any]]] = {size: [] for size in SIZES}
    for number in range(rounds):
        for topics, sockets in SIZES:
            _say(f"cost, round {number + 1} of {rounds}: {topics} topics on {sockets} sockets")
            runs[topics, sockets].append(
                reader(
                    "cost",
                    port=_free_port(),
                    topics=topics,
                    sockets=sockets,
                    rate=rate,
                    seconds=seconds,
                )
            )
    table = Table(
        title=f"CPU per event at {rate:,}/s, medians of {rounds}; the goal is 0.85 … 1.15"
    )
    for name in ("topics", "sockets", "events/s", "CPU µs/event", "of the first", "RSS MB"):
        table.add_column(name, justify="right")
    base = _median(runs[SIZES[0]], "cpu_us")
    for (topics, _), found in runs.items():
        table.add_row(
            f"{topics:,}",
            str(found[0]["sockets"]),
            f"{_median(found, 'rate'):,.0f}",
            f"{_median(found, 'cpu_us'):.2f}",
            f"{_median(found, 'cpu_us') / base:.2f}",
            f"{_median(found, 'rss_mb'):.0f}",
        )
    return table, {"runs": [each for found in runs.values() for each in found]}


def bench_soak(faults: list[str], seconds: float, at_once: int) -> tuple[Table, dict[str, Any]]:
    """Live with each fault for a while, several at the same time."""
    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(lambda fault: soak(fault, seconds), faults))
    table = Table(title=f"each fault for {seconds:g} s; the budget is 100 attempts in 300 s")
    for name in (
        "fault", "attempts", "most in 300 s", "RSS MB at start", "at end", "events", "markers",
        "unexplained", "whole again after s",
    ):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=name == "fault")
    for each in found:
        healed = each["healed_after_seconds"]
        table.add_row(
            each["fault"],
            str(each["attempts"]),
            str(each["most_attempts_in_300_s"]),
            f"{each['rss_start_mb']:.1f}",
            f"{each['rss_end_mb']:.1f}",
            f"{each['events']:,}",
            str(sum(each["markers"].values())),
            str(len(each["problems"])),
            "never" if healed is None else f"{healed:.1f}",
        )
    return table, {"soaks": found}


def soak(fault: str, seconds: float) -> dict[str, Any]:
    """Live with one fault, against a simulator of its own."""
    _say(f"soak: {fault} for {seconds:g} s")
    port, key = _free_port(), secrets.token_hex(8)
    words = [sys.executable, "-m", "bybit_sim", "--port", str(port), "--rate", "10"]
    words += [
        "--api-key",
        key,
        "--api-secret",
        key,
        "--symbols",
        str(SYMBOLS),
        "--trade-every",
        "1",
    ]
    venue = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        _await_port(port)
        return reader(
            "soak",
            url=f"ws://127.0.0.1:{port}",
            rest_url=f"http://127.0.0.1:{port}",
            key=key,
            secret=key,
            fault=fault,
            given=LASTING[fault],
            needs_a_loss=fault in NEEDS_A_LOSS,
            is_repeated=fault in STRIKES_ONCE,
            seconds=seconds,
            symbols=SYMBOLS,
        )
    finally:
        venue.terminate()
        venue.wait(20)


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/sim/state", timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _median(runs: list[dict[str, Any]], name: str) -> float:
    return float(statistics.median(each[name] for each in runs))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _say(text: str) -> None:
    print(f"{text} …", file=sys.stderr)


def main() -> None:
    """Run the parts that were asked for, print their tables, and keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", default="reconnect,cost", help="of: reconnect, cost, soak")
    parser.add_argument("--rounds", type=int, default=5, help="of reconnect and cost")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement of cost")
    parser.add_argument("--rate", type=int, default=RATE, help="events a second, in cost")
    parser.add_argument("--faults", default="drop", help="to soak in: names, or all")
    parser.add_argument("--soak-seconds", type=float, default=600.0, help="of each fault")
    parser.add_argument("--at-once", type=int, default=4, help="how many soaks at the same time")
    chosen = parser.parse_args()
    parts = chosen.parts.split(",")
    faults = list(LASTING) if chosen.faults == "all" else chosen.faults.split(",")
    if unknown := [each for each in faults if each not in LASTING]:
        parser.error(f"no fault {', '.join(unknown)}; there are: {', '.join(LASTING)}")
    results: dict[str, Any] = {"machine": f"{platform.processor()} x{os.cpu_count()}"}
    console = Console(width=120)
    for part in parts:
        if part == "reconnect":
            table, found = bench_reconnect(chosen.rounds)
        elif part == "cost":
            table, found = bench_cost(chosen.rounds, chosen.seconds, chosen.rate)
        elif part == "soak":
            table, found = bench_soak(faults, chosen.soak_seconds, chosen.at_once)
        else:
            parser.error(f"no part {part!r}; there are: reconnect, cost, soak")
        console.print(table)
        results[part] = found
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    target = folder / f"venue-life-{time.strftime('%Y%m%dT%H%M%S')}.json"
    target.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(f"written to {target.relative_to(HERE.parent)}", file=sys.stderr)


if __name__ == "__main__":
    main()
