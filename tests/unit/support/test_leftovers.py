"""The guards see what a test leaves behind, and nothing else."""

from __future__ import annotations

import asyncio
import subprocess
import threading

import pytest

from support import leftovers as guards


async def test_a_task_left_running_is_named() -> None:
    """A task is seen while it runs and forgotten when it has ended."""
    before = asyncio.all_tasks()
    task = asyncio.create_task(asyncio.sleep(60), name="forgotten")
    found = guards.leftover_tasks(before)
    assert len(found) == 1
    assert "forgotten" in found[0]
    task.cancel()
    await asyncio.wait([task])
    assert guards.leftover_tasks(before) == []


def test_a_thread_left_running_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that does not end within the grace is told by its name."""
    monkeypatch.setattr(guards, "GRACE_SECONDS", 0.05)
    threads, children = guards.own_threads(), guards.own_children()
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="forgotten")
    thread.start()
    try:
        assert guards.leftovers(threads, children) == ["thread forgotten"]
    finally:
        release.set()
        thread.join()
    assert guards.leftovers(threads, children) == []


def test_a_process_left_running_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process that nobody ended is told by its command line."""
    monkeypatch.setattr(guards, "GRACE_SECONDS", 0.05)
    threads, children = guards.own_threads(), guards.own_children()
    with subprocess.Popen(["sleep", "60"]) as process:
        found = guards.leftovers(threads, children)
        process.kill()
    assert len(found) == 1
    assert "sleep 60" in found[0]
    assert guards.leftovers(threads, children) == []
