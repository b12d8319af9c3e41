"""Login to the private socket (Bybit v5 docs, WebSocket authentication)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key with its secret; the secret stays out of `repr`."""

    key: str
    secret: str = field(repr=False)

    @property
    def shown(self) -> str:
        """Return enough of the key to tell it from others, and never most of it."""
        return f"{self.key[: min(_SHOWN, len(self.key) // 3)]}…"


def signature(secret: str, expires_ms: int) -> str:
    """Return the lowercase hex HMAC-SHA256 of `GET/realtime` followed by the expiry in ms."""
    return hmac.digest(secret.encode(), f"GET/realtime{expires_ms}".encode(), "sha256").hex()
