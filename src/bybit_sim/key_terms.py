"""What a key may do and until when, as Bybit tells of it (v5 docs, Get API Key Information)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bybit_sim.config import SimulatorError
from bybit_sim.rest_private import EXECUTIONS, HISTORY, POSITIONS, REALTIME
from bybit_sim.signing import RestRefusal

KEY_PATH = "/v5/user/query-api"
_EVERYTHING: Mapping[str, tuple[str, ...]] = {
    "ContractTrade": ("Order", "Position"),
    "Spot": ("SpotTrade",),
    "Wallet": (),
    "Options": ("OptionsTrade",),
    "Derivatives": ("DerivativesTrade",),
}
_DAY_SECONDS = 86_400
_NEVER = datetime.fromtimestamp(0, UTC)
"""What Bybit tells of a key that is bound to addresses, with -2 days."""

_EXPIRED, _DENIED = 33004, 10005
_ORDERS = frozenset({REALTIME, HISTORY, EXECUTIONS})


@dataclass(slots=True)
class KeyTerms:
    """The terms of one key; a new one may read everything for ever, from this machine alone.

    Attributes:
        permissions: by product, as Bybit names them.
        is_read_only: whether it can change anything.
        expires_at: Unix seconds; None is never.
    """

    permissions: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(_EVERYTHING))
    is_read_only: bool = True
    expires_at: float | None = None

    def grant(self, permissions: Mapping[str, tuple[str, ...]]) -> None:
        """Have these and no other permissions.

        Raises:
            SimulatorError: there is no such product.
        """
        for product in permissions:
            if product not in _EVERYTHING:
                known = ", ".join(_EVERYTHING)
                raise SimulatorError(f"there is no product {product!r}; there are: {known}")
        self.permissions = {each: tuple(permissions.get(each, ())) for each in _EVERYTHING}

    def is_expired(self, now_ms: float) -> bool:
        """Say whether it is past its end."""
        return self.expires_at is not None and now_ms >= self.expires_at * 1000

    def refusal(self, path: str, query: Mapping[str, str], now_ms: int) -> RestRefusal | None:
        """Return why a signed call is not served, None if it is.

        Which list needs which permission is a guess: Bybit says only that some may be lacking.
        """
        if self.is_expired(now_ms):
            return RestRefusal(200, _EXPIRED, "Your api key has expired.")
        if path == KEY_PATH or self._allows(path, query.get("category", "")):
            return None
        return RestRefusal(
            200, _DENIED, "Permission denied, please check your API key permissions."
        )

    def _allows(self, path: str, category: str) -> bool:
        has = self.permissions
        if path not in _ORDERS and path != POSITIONS:
            return any(has.values())
        if category == "spot":
            return "SpotTrade" in has["Spot"]
        if category == "option":
            return "OptionsTrade" in has["Options"]
        return ("Position" if path == POSITIONS else "Order") in has["ContractTrade"]

    def row(self, api_key: str | None, uid: int, now_ms: int) -> dict[str, Any]:
        """Tell of the key as Bybit does."""
        ends, left, addresses = _NEVER, -2, ["127.0.0.1"]
        if self.expires_at is not None:
            ends = datetime.fromtimestamp(self.expires_at, UTC)
            left = int((self.expires_at - now_ms / 1000) // _DAY_SECONDS)
            addresses = ["*"]
        return {
            "id": "1",
            "note": "simulated",
            "apiKey": api_key,
            "readOnly": int(self.is_read_only),
            "secret": "",
            "permissions": self.permissions,
            "ips": addresses,
            "type": 1,
            "deadlineDay": left,
            "expiredAt": ends.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "userID": uid,
            "uta": 1,
        }
