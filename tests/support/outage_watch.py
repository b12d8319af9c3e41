"""Asks a gateway how it is without a pause, from a thread of its own, and checks every answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from support.programs import check_balance

_PAUSE_SECONDS = 0.05
_HANG_SECONDS = 10.0


@dataclass
class Watch:
    """What was seen.

    Attributes:
        scrapes: answers of `/health`.
        imbalances: answers in which the counters did not add up.
        negatives: answers with a counter below zero.
        longest_seconds: slowest answer.
        hangs: questions that got no answer in time.
        most_rss_bytes: highest memory of the process.
        most_spooled: highest count on disk.
        states: every state of the broker that was told.
        last: newest answer.
    """

    scrapes: int = 0
    imbalances: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0
    hangs: int = 0
    most_rss_bytes: int = 0
    first_rss_bytes: int = 0
    most_spooled: int = 0
    states: set[str] = field(default_factory=set)
    errors: set[str] = field(default_factory=set)
    last: dict[str, Any] = field(default_factory=dict)

    def take(self, health: dict[str, Any]) -> None:
        """Judge an answer."""
        delivery = health["delivery"]
        self.scrapes += 1
        try:
            check_balance(delivery)
        except AssertionError as exc:
            self.imbalances.append(str(exc))
        counts = (delivery["confirmed"], delivery["in_flight"], delivery["spooled"])
        parts = (delivery["suppressed"], delivery["shed"], delivery["rejected"])
        if min(*counts, *(n for part in parts for n in part.values())) < 0:
            self.imbalances.append(f"below zero: {delivery}")
        self.most_spooled = max(self.most_spooled, delivery["spooled"])
        self.states.add(health["broker"]["status"])
        if health["broker"]["last_error"]:
            self.errors.add(health["broker"]["last_error"])
        self.last = health


@contextmanager
def watching(url: str, pid: int) -> Iterator[Watch]:
    """Ask meanwhile; a gateway that is killed ends it."""
    watch, stop = Watch(), threading.Event()
    process = psutil.Process(pid)

    def look() -> None:
        with httpx.Client(base_url=url, timeout=_HANG_SECONDS, trust_env=False) as http:
            while not stop.is_set():
                asked_at = time.monotonic()
                try:
                    answer = http.get("/health").json()
                    rss = int(process.memory_info().rss)
                except httpx.TimeoutException:
                    watch.hangs += 1
                    continue
                except (httpx.HTTPError, psutil.Error):
                    stop.wait(_PAUSE_SECONDS)  # killed, or ending
                    continue
                watch.longest_seconds = max(watch.longest_seconds, time.monotonic() - asked_at)
                watch.first_rss_bytes = watch.first_rss_bytes or rss
                watch.most_rss_bytes = max(watch.most_rss_bytes, rss)
                watch.take(answer)
                stop.wait(_PAUSE_SECONDS)

    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join(_HANG_SECONDS + 1)
