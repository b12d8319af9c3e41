"""Find and end processes by what they were started with, never by a remembered number alone.

A pid file lies after a crash and a reboot; the command line of a running process does not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def find_processes(program: str, mark: str) -> list[int]:
    """List the processes whose program name begins so and whose arguments hold `mark` exactly."""
    if (_PROC / "self" / "cmdline").exists():
        return _find_in_proc(program, mark)
    return _find_with_ps(program, mark)


def end_processes(
    program: str, mark: str, *, asked: signal.Signals, patience_seconds: float
) -> None:
    """Ask the matching processes to end, wait for them, and kill those that do not."""
    for demand, patience in ((asked, patience_seconds), (signal.SIGKILL, 5.0)):
        for pid in find_processes(program, mark):
            with suppress(ProcessLookupError):
                os.kill(pid, demand)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not find_processes(program, mark):
                return
            time.sleep(0.05)


def start_detached(command: list[str], environ: dict[str, str], output: Path) -> None:
    """Start a process that outlives this one and is no child of it, so nobody must reap it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    script = 'out=$1; shift; exec </dev/null >>"$out" 2>&1; "$@" &'
    subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(output), *command],
        env=environ,
        cwd=output.parent,
        start_new_session=True,  # Ctrl-C in the terminal is for the tool, not for the service
        check=True,
    )


def _find_in_proc(program: str, mark: str) -> list[int]:
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # gone between listing and reading, or not ours to read
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(words[0]).name.startswith(program) and mark in words:
                found.append(int(entry.name))
    return found


def _find_with_ps(program: str, mark: str) -> list[int]:
    listing = subprocess.run(
        ["ps", "-ww", "-A", "-o", "pid=,args="], capture_output=True, text=True, check=False
    ).stdout
    found = []
    for line in listing.splitlines():
        pid, _, arguments = line.strip().partition(" ")
        first = arguments.split(" ", 1)[0]
        if Path(first).name.startswith(program) and f" {mark} " in f" {arguments} ":
            found.append(int(pid))
    return found
