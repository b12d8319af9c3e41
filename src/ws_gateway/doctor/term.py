"""How long something still lasts, and when that is too short."""

from __future__ import annotations

from datetime import datetime, timedelta

MANY_DAYS = timedelta(days=14)
"""Who has less left is warned, as by the alert."""

FEW_DAYS = timedelta(days=2)
"""Who has less left will soon stand still: that is a fault today."""


def in_words(ends_at: datetime, left: timedelta) -> str:
    """Say when something ends, or ended."""
    day = ends_at.isoformat(timespec="minutes").replace("+00:00", "Z")
    if left < timedelta(0):
        return f"ended on {day}"
    return f"ends on {day}, in {left.days} days" if left.days else f"ends on {day}, within a day"
