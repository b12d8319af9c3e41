"""The door: who asks is recognised here, before anything of the request is looked at."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from pydantic import SecretStr

from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.errors import Forbidden, Unauthorized

KEY_HEADER = "X-API-Key"

BOOTSTRAP = Caller("bootstrap", "WSG_API_KEY", frozenset({Scope.ADMIN}))
"""Whoever holds the first administrator key."""


class Guard:
    """Recognises callers by their keys.

    Args:
        bootstrap: the first administrator key; None or empty is no key.
    """

    def __init__(self, bootstrap: SecretStr | None = None) -> None:
        word = bootstrap.get_secret_value() if bootstrap is not None else ""
        self._bootstrap = _digest(word.encode()) if word else None

    async def admit(self, given: Sequence[bytes], address: str, *, is_reading: bool) -> Caller:
        """Recognise who asks.

        Args:
            given: every value of the header, as sent.
            address: where the request came from.
            is_reading: nothing is to be changed.

        Raises:
            Unauthorized: no key, or none of ours.
            Forbidden: no key would be taken, because none is configured.
        """
        _ = address, is_reading
        if self._bootstrap is None:
            raise Forbidden(
                "no API key is configured, so every request is refused; set WSG_API_KEY, or "
                f"WSG_API_KEY_FILE, start the gateway again, and send the key as {KEY_HEADER}",
                code="api_key_not_configured",
            )
        if not given:
            raise Unauthorized(f"send the key as {KEY_HEADER}", code="api_key_missing")
        # Constant time per value; sent more than once, each has to fit.
        if not all(hmac.compare_digest(_digest(value), self._bootstrap) for value in given):
            raise Unauthorized(f"{KEY_HEADER} is not the key", code="api_key_wrong")
        return BOOTSTRAP


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()
