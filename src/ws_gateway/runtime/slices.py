"""Long work in short pieces: frames and events have their turn in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

T = TypeVar("T")

SLICE = 250
"""How many rows are worked on at once: about two milliseconds of any of the work there is."""


async def slices(rows: Sequence[T], size: int = SLICE) -> AsyncIterator[Sequence[T]]:
    """Hand out rows in order, `size` at a time, and let the loop turn between two slices."""
    for first in range(0, len(rows), size):
        if first:
            await asyncio.sleep(0)
        yield rows[first : first + size]


async def one_by_one(rows: Sequence[T], size: int = SLICE) -> AsyncIterator[T]:
    """Hand out rows in order, and let the loop turn after every `size` of them."""
    async for piece in slices(rows, size):
        for row in piece:
            yield row
