"""Checks of signatures, on the private socket (v5 reference 3.1) and over REST (11.1)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_AUTH_ARGS = 3
_DEFAULT_RECV_WINDOW = "5000"
_AHEAD_MS = 1_000  # how far a REST timestamp may be in the server's future


def sign(secret: str, text: str) -> str:
    """Return the lower-case hex HMAC-SHA256 of a text."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def websocket_text(expires: int | str) -> str:
    """Return what a client signs to log in: `GET/realtime` and the decimal `expires`."""
    return f"GET/realtime{expires}"


@dataclass(frozen=True, slots=True)
class Login:
    """A well-formed `auth` request."""

    api_key: str
    expires: int
    signature: str


def read_login(args: Any, now_ms: int) -> Login | None:
    """Read the args of `auth`; None for what Bybit calls `Params Error`.

    That is: not three args, an `expires` that is no number (int and decimal string are both
    accepted), or one that is not in the future.
    """
    if not isinstance(args, list) or len(args) != _AUTH_ARGS:
        return None
    key, expires, signature = args
    if isinstance(expires, str) and expires.isascii() and expires.isdigit():
        expires = int(expires)
    if not isinstance(key, str) or not isinstance(signature, str):
        return None
    if not isinstance(expires, int) or isinstance(expires, bool) or expires <= now_ms:
        return None
    return Login(key, expires, signature)


def is_signed_by(secret: str, login: Login) -> bool:
    """Verify a login's signature in constant time."""
    expected = sign(secret, websocket_text(login.expires))
    return hmac.compare_digest(expected.encode(), login.signature.encode())


@dataclass(frozen=True, slots=True)
class RestRefusal:
    """Why a REST call is not served.

    Attributes:
        status: of HTTP.
        code: `retCode`.
        message: `retMsg`.
        is_html: whether the body is a page for people, as those of gateways in between are.
    """

    status: int
    code: int
    message: str
    is_html: bool = False


def check_rest(
    headers: Mapping[str, str], query: str, now_ms: int, *, api_key: str | None, secret: str | None
) -> RestRefusal | None:
    """Check the `X-BAPI-*` headers of a GET against the query exactly as sent.

    Returns:
        None if the call may be served, else the refusal: HTTP 401 without the headers, 10002
        outside the time window, 10003 for an unknown key, 10004 for a wrong signature.
    """
    key = headers.get("X-BAPI-API-KEY")
    timestamp = headers.get("X-BAPI-TIMESTAMP")
    signature = headers.get("X-BAPI-SIGN")
    window = headers.get("X-BAPI-RECV-WINDOW", _DEFAULT_RECV_WINDOW)
    if key is None or timestamp is None or signature is None:
        return RestRefusal(401, 10003, "API key is invalid.")
    if not (timestamp.isdecimal() and window.isdecimal()):
        return RestRefusal(200, 10001, "params error: timestamp or recv_window is not a number")
    if not now_ms - int(window) <= int(timestamp) < now_ms + _AHEAD_MS:
        return RestRefusal(
            200,
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{timestamp}],server_timestamp[{now_ms}],recv_window[{window}]",
        )
    if secret is None or api_key is None or not hmac.compare_digest(key.encode(), api_key.encode()):
        return RestRefusal(200, 10003, "API key is invalid.")
    # The window is signed as sent; a header that is absent is an empty text.
    text = f"{timestamp}{key}{headers.get('X-BAPI-RECV-WINDOW', '')}{query}"
    if not hmac.compare_digest(sign(secret, text).encode(), signature.encode()):
        return RestRefusal(200, 10004, f"error sign! origin_string[{text}]")
    return None
