"""How much the event loop has to see to."""

from __future__ import annotations

import asyncio


def count_tasks() -> int:
    """Count the tasks of the running event loop; 0 outside of one."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0
