"""How much of a request is taken in: path, headers, body, and how deep it may be nested."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from ws_gateway.control.api.problems import problem

MAX_TARGET_BYTES = 8 * 1024
"""Longest path with its query."""

MAX_HEADER_BYTES = 16 * 1024
"""Most bytes of all headers together."""

MAX_NESTING = 32
"""How deep arrays and objects of a body may lie in each other; ours need three."""

MAX_BODY_BYTES = 64 * 1024
MAX_SET_BYTES = 4 * 1024 * 1024
"""The same of a service's whole set, which may name ten thousand subscriptions."""

MAX_DRAIN_BYTES = 1024 * 1024
"""How much of a body too large is read and thrown away: a caller that is cut off while it sends
sees a broken connection instead of the answer."""

_SETS_PATH = "/api/v1/services/"

BODY_SECONDS = 10.0
"""Longest wait for a body; a caller that dawdles would hold a connection for nothing."""

MAX_SHOWN_PATH = 200

_NO_MARKS = bytes(set(range(256)) - set(b'[]{}"'))
_ALIKE = bytes.maketrans(b"{}", b"[]")
_STRING = re.compile(rb'"[^"]*"?')


def refusal(scope: Scope) -> Response | None:
    """Answer why a request is too large to be looked at, None if it is not."""
    target = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
    if target > MAX_TARGET_BYTES:
        return problem(
            HTTPStatus.REQUEST_URI_TOO_LONG,
            f"path and query may have {MAX_TARGET_BYTES} bytes together, these have {target}",
            code="target_too_long",
            instance=scope["path"][:MAX_SHOWN_PATH],
            found=target,
            allowed=[f"at most {MAX_TARGET_BYTES} bytes"],
        )
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size > MAX_HEADER_BYTES:
        return headers_too_large(scope["path"], size)
    return None


def headers_too_large(instance: str | None, found: int | None) -> Response:
    """Answer that all headers together are too large; neither is known where nobody read on."""
    return problem(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"the headers may have {MAX_HEADER_BYTES} bytes together",
        code="headers_too_large",
        instance=instance or "",
        found=found,
        allowed=[f"at most {MAX_HEADER_BYTES} bytes"],
        headers={"Connection": "close"},
    )


async def read_body(scope: Scope, receive: Receive) -> bytes | Response:
    """Take the whole body in, or answer why it is not taken."""
    most = _most_bytes(scope)
    announced = dict(scope["headers"]).get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > most + MAX_DRAIN_BYTES:
        return _too_large(scope)
    body = bytearray()
    received = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    # Half a body must not be acted on. Nobody reads this answer.
                    return problem(
                        HTTPStatus.BAD_REQUEST,
                        "the caller went away before its body was complete",
                        code="body_incomplete",
                        instance=scope["path"],
                    )
                piece = message.get("body", b"")
                received += len(piece)
                if received <= most:
                    body += piece
                if not message.get("more_body", False):
                    if received > most:
                        return _too_large(scope)
                    return _too_deep(scope) if _is_too_deep(body) else bytes(body)
                if received > most + MAX_DRAIN_BYTES:
                    return _too_large(scope)
    except TimeoutError:
        return problem(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not arrive in {BODY_SECONDS:.0f} s",
            code="body_timeout",
            instance=scope["path"],
            headers={"Connection": "close"},
        )


def _most_bytes(scope: Scope) -> int:
    is_set = scope["method"] == "PUT" and scope["path"].startswith(_SETS_PATH)
    return MAX_SET_BYTES if is_set else MAX_BODY_BYTES


def _too_large(scope: Scope) -> Response:
    most = _most_bytes(scope)
    return problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"a body may have {most} bytes",
        code="body_too_large",
        instance=scope["path"],
        field="body",
        allowed=[f"at most {most} bytes"],
        headers={"Connection": "close"},
    )


def replay(body: bytes, receive: Receive) -> Receive:
    """Give the body that was taken in, then whatever comes."""
    is_given = False

    async def replayed() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _is_too_deep(body: bytes | bytearray) -> bool:
    """Say whether brackets lie too deep in each other, without those in strings.

    Made of operations on the whole body, for a set of subscriptions may have megabytes, and frames
    come meanwhile. What is not balanced is left to whoever reads it as JSON, unless it is deep.
    """
    if body.count(b"[") + body.count(b"{") <= MAX_NESTING:
        return False
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_ALIKE, _NO_MARKS)
    bare = _STRING.sub(b"", bare.replace(b'""', b""))
    for _ in range(MAX_NESTING):
        outer = bare.replace(b"[]", b"")  # the innermost of each, so one level at a time
        if len(outer) == len(bare):  # not balanced, or empty
            return bare.count(b"[") > MAX_NESTING
        bare = outer
    return b"[" in bare


def _too_deep(scope: Scope) -> Response:
    return problem(
        HTTPStatus.BAD_REQUEST,
        f"arrays and objects of a body may lie {MAX_NESTING} deep in each other",
        code="body_too_deep",
        instance=scope["path"],
        field="body",
        allowed=[f"at most {MAX_NESTING} levels"],
    )
