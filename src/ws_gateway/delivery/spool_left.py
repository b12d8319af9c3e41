"""Spools of other prefixes beside ours: nobody delivers them while no gateway runs with theirs."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import structlog

from ws_gateway.runtime.spool_format import read_mark

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BEGINS = "spool-"


@dataclass(frozen=True, slots=True)
class Left:
    """A spool with events that nobody delivers.

    Attributes:
        folder: its path.
        size_bytes: of what was not answered for.
        remedy: what to do.
    """

    folder: str
    size_bytes: int
    remedy: str

    def __str__(self) -> str:
        """Say it in a sentence."""
        return f"{self.folder} holds {self.size_bytes} bytes of private events: {self.remedy}"


def find_left(folder: Path) -> list[Left]:
    """Look for spools beside a folder; those in use by a gateway that runs are left out.

    Only reads. A spool that cannot be read is among them, with 0 bytes and the reason.
    """
    found: list[Left] = []
    for other in sorted(folder.parent.glob(f"{_BEGINS}*")):
        if other == folder or not other.is_dir():
            continue
        remedy = f"start the gateway once with WSG_AMQP_PREFIX={other.name.removeprefix(_BEGINS)}"
        try:
            size = 0 if _is_in_use(other) else _unanswered_bytes(other)
        except OSError as exc:
            found.append(Left(str(other), 0, f"it cannot be read ({exc}); {remedy}"))
            continue
        if size:
            found.append(Left(str(other), size, remedy))
    for one in found:
        log.warning(
            "delivery.spool_left_behind",
            folder=one.folder,
            bytes=one.size_bytes,
            remedy=one.remedy,
        )
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
