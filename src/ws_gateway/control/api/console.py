"""Endpoints of the page for people: files of this package, and nothing from elsewhere."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from fastapi import APIRouter, Request, Response

from ws_gateway.control.api.problems import NotFound

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Files that are served, by ending."""

PAGE = "index.html"

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Nothing but our own files is run or shown, no text becomes markup, and no page may frame us."""

router = APIRouter(prefix="/console", include_in_schema=False)


@cache
def files() -> dict[str, tuple[bytes, str]]:
    """Return every file of the page with its tag, by name."""
    found = {}
    for one in (resources.files("ws_gateway.control.console") / "files").iterdir():
        content = one.read_bytes()
        found[one.name] = (content, f'"{hashlib.sha256(content).hexdigest()[:16]}"')
    return found


@router.get("")
@router.get("/")
async def get_page(request: Request) -> Response:
    """Answer the page; it holds no data, so it needs no key."""
    return _file(request, PAGE)


@router.get("/{name}")
async def get_file(request: Request, name: str) -> Response:
    """Answer what the page is made of."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    if name not in files():
        raise NotFound(f"the console has no file {name!r}", code="console_file_unknown")
    content, tag = files()[name]
    # Asked for again each time: after an update a page must not be of two versions.
    headers = {**SECURITY, "Cache-Control": "no-cache", "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    media_type = TYPES["." + name.rpartition(".")[2]]
    return Response(content, media_type=media_type, headers=headers)
