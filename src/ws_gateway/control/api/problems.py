"""Every refusal and failure as one `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPMethod, HTTPStatus
from typing import Any, cast, get_args

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from ws_gateway.control.guard import KEY_HEADER
from ws_gateway.control.schemas import Problem
from ws_gateway.control.subscription_schemas import WishFields
from ws_gateway.errors import (
    Contradiction,
    DatabaseLost,
    Forbidden,
    Rejected,
    Throttled,
    Unauthorized,
)
from ws_gateway.runtime.tracing import current_trace_id, note

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

MAX_FOUND_CHARS = 200
"""Longest piece of a caller's own input that is repeated to it."""

_ASK_FOR_KEY = {"WWW-Authenticate": f'ApiKey header="{KEY_HEADER}"'}
_BARE_SCOPE = {"type": "http", "headers": [], "root_path": "", "query_string": b""}
_FURTHER_FAULTS = 3  # how many faults beside the first are told in words

_log = structlog.get_logger(__name__)


class NotFound(Exception):
    """What was asked for does not exist."""

    def __init__(self, detail: str, *, code: str) -> None:
        super().__init__(detail)
        self.code = code


def problem(
    status: int,
    detail: str,
    *,
    code: str,
    instance: str,
    field: str | None = None,
    found: object = None,
    allowed: Sequence[str] | None = None,
    trace_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build the answer; without a trace of its own it bears that of the request."""
    trace_id = trace_id or current_trace_id()
    note(code=code)
    body = Problem(
        type=f"urn:ws-gateway:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=instance,
        code=code,
        field=field,
        found=_bounded(found),
        allowed=None if allowed is None else list(allowed),
        trace_id=trace_id,
    )
    return JSONResponse(
        body.model_dump(mode="json", exclude={"trace_id"} if trace_id is None else None),
        status_code=status,
        headers=dict(headers or {}),
        media_type=CONTENT_TYPE,
    )


def register(app: FastAPI) -> None:
    """Make the app answer every known exception as a problem."""
    for known in (Rejected, NotFound, DatabaseLost, Throttled):
        app.add_exception_handler(known, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def problem_of(exc: Exception, instance: str) -> Response:
    """Answer what the use cases raise; anything else is a defect and is raised again."""
    match exc:
        case Unauthorized():
            return _refused(HTTPStatus.UNAUTHORIZED, exc, instance, _ASK_FOR_KEY)
        case Forbidden():
            return _refused(HTTPStatus.FORBIDDEN, exc, instance)
        case Rejected():
            is_conflict = isinstance(exc, Contradiction)
            status = HTTPStatus.CONFLICT if is_conflict else HTTPStatus.UNPROCESSABLE_ENTITY
            return _refused(status, exc, instance)
        case NotFound():
            return problem(HTTPStatus.NOT_FOUND, str(exc), code=exc.code, instance=instance)
        case Throttled():
            # Whole seconds, and never 0, which would ask for the same at once.
            wait = max(1, math.ceil(exc.retry_after_seconds))
            return problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                str(exc),
                code=exc.code,
                instance=instance,
                headers={"Retry-After": str(wait)},
            )
        case DatabaseLost():
            _log.warning("control.request_unserved", path=instance, error=str(exc))
            return problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the database is away; nothing is known to have changed, and the same request may "
                "be sent again without harm",
                code="database_lost",
                instance=instance,
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
    raise exc


def _refused(
    status: HTTPStatus, exc: Rejected, instance: str, headers: Mapping[str, str] | None = None
) -> Response:
    return problem(
        status,
        str(exc),
        code=exc.code,
        instance=instance,
        field=exc.field,
        found=exc.found,
        allowed=exc.allowed,
        headers=headers,
    )


async def _known(request: Request, exc: Exception) -> Response:
    return problem_of(exc, request.url.path)


async def _http(request: Request, exc: Exception) -> Response:
    """Tell what the router found: no such path, or no such method on it."""
    error = cast("HTTPException", exc)
    status = HTTPStatus(error.status_code)
    path = request.url.path
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        methods = _methods_of(request)
        return problem(
            status,
            f"{path} does not take {request.method}",
            code="method_not_allowed",
            instance=path,
            allowed=methods,
            headers={"Allow": ", ".join(methods)},
        )
    if status is HTTPStatus.BAD_REQUEST:  # FastAPI: bytes that no JSON reader can even begin with
        return problem(status, "the body is not JSON", code="json_invalid", instance=path)
    if status is HTTPStatus.NOT_FOUND:
        detail = (
            f"there is no {path} here; /openapi.json tells what there is, /console is for people"
        )
        return problem(status, detail, code="not_found", instance=path)
    return problem(
        status,
        str(error.detail),
        code=status.name.lower(),
        instance=path,
        headers=error.headers,
    )


def _methods_of(request: Request) -> list[str]:
    """Ask the router for each method; its own answer names those of the first match alone."""
    found = []
    for method in HTTPMethod:
        scope = {**_BARE_SCOPE, "path": request.scope["path"], "method": method.value}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            found.append(method.value)
    if HTTPMethod.GET.value in found:  # the edge serves it as GET
        found.append(HTTPMethod.HEAD.value)
    return sorted(found)


async def _invalid(request: Request, exc: Exception) -> Response:
    faults = cast("RequestValidationError", exc).errors()
    first = faults[0]
    if first["type"] == "json_invalid":
        return problem(
            HTTPStatus.BAD_REQUEST,
            f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}",
            code="json_invalid",
            instance=request.url.path,
        )
    if isinstance(first.get("input"), bytes):  # FastAPI reads a body only if it is called JSON
        return _not_called_json(request)
    detail = _told(first)
    if others := faults[1 : 1 + _FURTHER_FAULTS]:
        detail += "; also " + "; ".join(_told(fault) for fault in others)
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        detail,
        code=_CODES.get(first["type"], "field_invalid"),
        instance=request.url.path,
        field=_field(first),
        found=None if first["type"] == "missing" else first.get("input"),
        allowed=_siblings(request, first) or _allowed(first),
    )


def fields_of(model: object) -> list[str]:
    """Name the fields of a model as callers write them; none if it is no model."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        return sorted(field.alias or name for name, field in model.model_fields.items())
    return []


def _siblings(request: Request, fault: Mapping[str, Any]) -> list[str] | None:
    """Name the fields that stand beside one that is not known."""
    if fault["type"] != "extra_forbidden":
        return None
    where, *path = fault["loc"]
    if where == "body" and len(path) > 1:  # the only bodies with objects in them
        return fields_of(WishFields)
    dependant = request.scope["route"].dependant
    params = dependant.body_params if where == "body" else dependant.query_params
    return [name for param in params for name in fields_of(_bare(param.field_info.annotation))]


def _bare(annotation: object) -> object:
    """Take `X | None` for `X`."""
    return next((one for one in get_args(annotation) if one is not type(None)), annotation)


def _not_called_json(request: Request) -> Response:
    given = request.headers.get("content-type")
    sent = "without a Content-Type" if given is None else "with another Content-Type"
    return problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"the body was sent {sent}; send it with Content-Type: application/json",
        code="content_type_not_json",
        instance=request.url.path,
        field="Content-Type",
        found=given,
        allowed=["application/json"],
    )


_BOUNDS = (
    ("ge", "at least"),
    ("gt", "more than"),
    ("le", "at most"),
    ("lt", "less than"),
    ("min_length", "a length of at least"),
    ("max_length", "a length of at most"),
)

_CODES = {"missing": "field_missing", "extra_forbidden": "field_unknown"}


def _field(fault: Mapping[str, Any]) -> str | None:
    """Name the field without the place it came from (`body`, `query`, `path`)."""
    return ".".join(str(part) for part in fault["loc"][1:]) or None


def _told(fault: Mapping[str, Any]) -> str:
    field = _field(fault) or "the body"
    if fault["type"] == "missing":
        return f"{field} is missing"
    if fault["type"] == "extra_forbidden":
        return f"{field} is not known here"
    if fault["type"] == "string_pattern_mismatch" and field == "symbol":
        return "symbol is written as Bybit does, in capitals, for example BTCUSDT"
    if fault["type"] in {"model_attributes_type", "model_type", "dict_type"}:
        return f"{field} has to be a JSON object"
    message = str(fault["msg"])
    return f"{field}: {message[0].lower()}{message[1:]}"


def _allowed(fault: Mapping[str, Any]) -> list[str] | None:
    """Say what would have been taken, as far as the rule that refused it tells."""
    context = fault.get("ctx", {})
    if fault["type"] == "enum":  # pydantic's sentence: `'a', 'b' or 'c'`
        expected = str(context["expected"]).replace(" or ", ", ")
        return [word.strip("'") for word in expected.split(", ")]
    if fault["type"] == "string_pattern_mismatch":
        capitals = str(fault["input"]).upper()
        if _field(fault) == "symbol" and re.fullmatch(context["pattern"], capitals):
            return [capitals]
        return [str(context["pattern"])]
    bounds = [f"{words} {context[name]}" for name, words in _BOUNDS if name in context]
    return bounds or None


def _bounded(found: object) -> object:
    """Repeat a caller's input only as far as it helps."""
    if found is None or isinstance(found, bool | int):
        return found
    if isinstance(found, float) and math.isfinite(found):  # JSON has no other numbers
        return found
    text = found if isinstance(found, str) else json.dumps(found, default=str)
    # A half surrogate can be read from JSON but not be written again.
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_FOUND_CHARS else text[:MAX_FOUND_CHARS] + "…"
