"""Misbehaviour that can be switched on while the simulator runs, and the limits of connecting."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """Switches; each is off at first and takes effect at once.

    Attributes:
        silence_pongs: pings are read and not answered.
        silence_acks: subscribe, unsubscribe and auth are carried out and not answered.
        refuse_handshakes: HTTP status for every WebSocket handshake, None to accept them.
    """

    silence_pongs: bool = False
    silence_acks: bool = False
    refuse_handshakes: int | None = None


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
