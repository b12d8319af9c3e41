"""How much of its volume a recording may take: others who are there come first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Somebody else who writes to the disk, and must find room there.

    Attributes:
        folder: where; what is not there yet counts as its nearest parent that is.
        owed: says how many bytes may still come there; called in the recorder's thread.
    """

    folder: Path
    owed: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Room:
    """The volume of a recording as it is now.

    Attributes:
        free: bytes that this user may still take.
        kept: of them, those that are to stay free.
        total: bytes that it has.
    """

    free: int
    kept: int
    total: int

    def lacking(self, size: int) -> int:
        """Say how many bytes are wanting to write so many; 0 or less if they may be written."""
        return size + self.kept - self.free if self.kept else 0

    def words(self, size: int) -> str:
        """Say to people why so many bytes are not written."""
        return (
            f"{size_words(self.free)} free on its volume: {size_words(self.kept)} of it stay free,"
            f" and {size_words(size)} are to be written"
        )


class Volume:
    """The volume a recording is on, and what it leaves there.

    Args:
        folder: of the recording; it exists.
        keep_free: bytes that stay free in any case; 0 without neighbours lets the disk be filled.
        neighbours: whose room stays free as well, those of them that are on the same volume.
    """

    def __init__(
        self, folder: Path, *, keep_free: int = 0, neighbours: Iterable[Neighbour] = ()
    ) -> None:
        self._folder = folder
        self._keep_free = keep_free
        self._neighbours = tuple(neighbours)

    def look(self) -> Room:
        """Look at it now.

        Raises:
            OSError: the folder is not there.
        """
        told = os.statvfs(self._folder)
        own = self._folder.stat().st_dev
        owed = sum(max(0, one.owed()) for one in self._neighbours if device_of(one.folder) == own)
        return Room(
            free=told.f_bavail * told.f_frsize,
            kept=self._keep_free + owed,
            total=told.f_blocks * told.f_frsize,
        )


def device_of(folder: Path) -> int:
    """Say on which volume a folder is, or would be."""
    for each in (folder, *folder.parents):
        try:
            return each.stat().st_dev
        except OSError:
            continue
    return -1


def size_words(count: int) -> str:
    """Say a number of bytes to people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"  # noqa: PLR2004
