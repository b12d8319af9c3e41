"""Spools that others left beside ours: nobody empties them while no gateway runs as theirs did."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from ws_gateway.runtime.spool_format import read_mark


@dataclass(frozen=True, slots=True)
class Left:
    """A spool with records that nobody takes out.

    Attributes:
        folder: its path.
        size_bytes: of what was not answered for.
        remedy: what to do.
    """

    folder: str
    size_bytes: int
    remedy: str

    def holding(self, what: str) -> str:
        """Say it in a sentence."""
        return f"{self.folder} holds {self.size_bytes} bytes of {what}: {self.remedy}"


def left_spools(
    folder: Path, begins: str, ours: Collection[Path], remedy_of: Callable[[str], str]
) -> list[Left]:
    """Look for spools in a folder; those in use by a gateway that runs are left out.

    Only reads. A spool that cannot be read is among them, with 0 bytes and the reason.

    Args:
        folder: where they are.
        begins: how the names of spools of this kind begin.
        ours: those of this process.
        remedy_of: says what to do about one, by the rest of its name.
    """
    found: list[Left] = []
    for other in sorted(folder.glob(f"{begins}*")):
        if other in ours or not other.is_dir():
            continue
        remedy = remedy_of(other.name.removeprefix(begins))
        try:
            size = 0 if _is_in_use(other) else _unanswered_bytes(other)
        except OSError as exc:
            found.append(Left(str(other), 0, f"it cannot be read ({exc}); {remedy}"))
            continue
        if size:
            found.append(Left(str(other), size, remedy))
    return found


def _is_in_use(folder: Path) -> bool:
    try:
        lock = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _unanswered_bytes(folder: Path) -> int:
    number, offset = read_mark(folder)
    total = 0
    for path in folder.glob("*.seg"):
        if path.stem.isascii() and path.stem.isdecimal() and int(path.stem) >= number:
            answered = offset if int(path.stem) == number else 0
            total += max(0, path.stat().st_size - answered)
    return total
