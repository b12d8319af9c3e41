"""Who we are to the venue, and how that is signed: at a login, and with a call over REST."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

RECV_WINDOW_MS = 10_000
"""How old a signed call may be when it arrives (Bybit v5 docs, Integration Guidance)."""

_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key with its secret, which stays out of `repr`.

    Attributes:
        account: the further account it is of, None for the first.
    """

    key: str
    secret: str = field(repr=False)
    account: str | None = None

    @property
    def shown(self) -> str:
        """Return enough of the key to tell it from others, and never most of it."""
        return f"{self.key[: min(_SHOWN, len(self.key) // 3)]}…"


def where_it_is_set(remedy: str, account: str | None) -> str:
    """Name in a remedy the setting that a further account's pair comes from."""
    if account is None:
        return remedy
    for name in ("api_key", "api_secret"):
        remedy = remedy.replace(f"WSG_BYBIT_{name.upper()}", f"{name} of {account} in WSG_ACCOUNTS")
    return remedy


def signature(secret: str, expires_ms: int) -> str:
    """Sign a login to the private socket (Bybit v5 docs, WebSocket authentication).

    It is the lowercase hex HMAC-SHA256 of `GET/realtime` followed by the expiry in ms.
    """
    return hmac.digest(secret.encode(), f"GET/realtime{expires_ms}".encode(), "sha256").hex()


def signed_headers(credentials: Credentials, query: str, at_ms: int) -> dict[str, str]:
    """Sign a GET: HMAC-SHA256 over time, key, window and query (v5 reference 11.1)."""
    text = f"{at_ms}{credentials.key}{RECV_WINDOW_MS}{query}"
    return {
        "X-BAPI-API-KEY": credentials.key,
        "X-BAPI-TIMESTAMP": str(at_ms),
        "X-BAPI-RECV-WINDOW": str(RECV_WINDOW_MS),
        "X-BAPI-SIGN": hmac.digest(credentials.secret.encode(), text.encode(), "sha256").hex(),
        "X-BAPI-SIGN-TYPE": "2",
    }
