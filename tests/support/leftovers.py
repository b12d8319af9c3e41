"""What a test must not leave behind: tasks, threads, processes."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

GRACE_SECONDS = 10.0
"""How long something that is already ending may take to be gone."""

_CHILDREN = Path(f"/proc/{os.getpid()}/task")
_EXECUTOR_THREADS = ("asyncio_", "fixture")  # end with their loop, or with the fixture


def leftover_tasks(before: set[asyncio.Task[object]]) -> list[str]:
    """Name the tasks of the running loop that were not there before and are not this one."""
    current = asyncio.current_task()
    return [
        f"task {task.get_name()}: {task.get_coro()}"
        for task in asyncio.all_tasks()
        if task not in before and task is not current and not task.done()
    ]


def own_threads() -> set[threading.Thread]:
    """List the living threads of this process that a test may be asked about."""
    return {
        thread
        for thread in threading.enumerate()
        if thread.is_alive() and not thread.name.startswith(_EXECUTOR_THREADS)
    }


def own_children() -> set[int]:
    """List the living child processes; empty where the system does not tell cheaply."""
    children: set[int] = set()
    for task in _CHILDREN.iterdir() if _CHILDREN.exists() else ():
        try:
            children.update(map(int, (task / "children").read_text().split()))
        except OSError:  # the thread ended, or the kernel does not keep the list
            continue
    return children


def leftovers(threads: set[threading.Thread], children: set[int]) -> list[str]:
    """Name what is there now and was not there before, after a short grace."""
    deadline = time.monotonic() + GRACE_SECONDS
    while True:
        found = [f"thread {thread.name}" for thread in own_threads() - threads]
        found += [f"process {pid}: {_command_line(pid)}" for pid in own_children() - children]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def _command_line(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "already gone"
    return raw.replace(b"\0", b" ").decode(errors="replace")[:120] or "ended, but nobody waited"
