"""Ids that rise with creation, so that they are paging keys as well."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from uuid import UUID


def rising_ids(
    now_ns: Callable[[], int] = time.time_ns, random_bits: Callable[[int], int] = secrets.randbits
) -> Callable[[], UUID]:
    """Return a source of UUIDs of version 7 that never go back, even if the clock does.

    12 bits below the millisecond take part in the order (RFC 9562, 6.2, method 3).
    """
    last = 0

    def next_id() -> UUID:
        nonlocal last
        millis, rest = divmod(now_ns(), 1_000_000)
        last = max(last + 1, millis << 12 | rest * 4096 // 1_000_000)
        time_part = (last >> 12) << 80 | 0x7 << 76 | (last & 0xFFF) << 64
        return UUID(int=time_part | 0b10 << 62 | random_bits(62))

    return next_id
