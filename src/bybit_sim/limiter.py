"""The limit of new connections."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class ConnectionLimiter:
    """Counts new connections per IP in a sliding window (v5 reference 2: 500 in 5 minutes)."""

    most: int
    window_seconds: float
    _seen: dict[str, deque[float]] = field(default_factory=dict)

    def admit(self, address: str, now_seconds: float) -> bool:
        """Count a connection; return whether it is still within the limit."""
        seen = self._seen.setdefault(address, deque())
        while seen and seen[0] <= now_seconds - self.window_seconds:
            seen.popleft()
        if len(seen) >= self.most:
            return False
        seen.append(now_seconds)
        return True
