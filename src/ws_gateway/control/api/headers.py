"""What every answer tells a browser that should ever get hold of it."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import Message

DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise itself."""

_POLICY = "Content-Security-Policy"
_OF_PAGES = "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
_OF_DATA = "default-src 'none'; frame-ancestors 'none'"
_ONLY_TLS = "max-age=31536000"


def protect(start: Message, *, is_tls: bool) -> None:
    """Add to the start of an answer what it does not say itself."""
    headers = MutableHeaders(scope=start)
    for name, value in DEFAULTS.items():
        headers.setdefault(name, value)
    is_page = headers.get("content-type", "").startswith("text/html")
    headers.setdefault(_POLICY, _OF_PAGES if is_page else _OF_DATA)
    if is_tls:
        headers.setdefault("Strict-Transport-Security", _ONLY_TLS)
