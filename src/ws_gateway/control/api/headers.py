"""What every answer tells a browser that should ever get hold of it."""

from __future__ import annotations

from starlette.types import Message

DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise itself."""

_POLICY = b"content-security-policy"
_OF_PAGES = (_POLICY, b"frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
_OF_DATA = (_POLICY, b"default-src 'none'; frame-ancestors 'none'")
_ONLY_TLS = (b"strict-transport-security", b"max-age=31536000")
_RAW = [(name.lower().encode(), value.encode()) for name, value in DEFAULTS.items()]


def protect(start: Message, *, is_tls: bool) -> None:
    """Add to the start of an answer what it does not say itself; in bytes, for it is done often."""
    said = dict(start["headers"])
    is_page = said.get(b"content-type", b"").startswith(b"text/html")
    wanted = [*_RAW, _OF_PAGES if is_page else _OF_DATA]
    if is_tls:
        wanted.append(_ONLY_TLS)
    start["headers"] = [*start["headers"], *(one for one in wanted if one[0] not in said)]
