"""Something started for several processes, and ended by the last of them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusively(path: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold the lock file at `path`; wait for whoever holds it now, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is busy with {path.parent.name}, waiting for it …")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class UseCount:
    """How many processes use a thing; a process that dies stops counting by itself.

    Each user holds a shared lock on one file, which the kernel releases with the process. Call
    `join`, `leave` and `is_unused` only while holding the thing's own lock (`exclusively`), or two
    processes may decide at the same time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def join(self) -> None:
        """Count this process in."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Count this process out; harmless when it was not counted."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_unused(self) -> bool:
        """Say whether nobody is counted in."""
        if not self._path.exists():
            return True
        descriptor = os.open(self._path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True
