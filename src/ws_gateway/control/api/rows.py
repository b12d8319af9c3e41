"""Subscriptions as JSON, straight from their fields: models would take three times as long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from ws_gateway.control.live import LiveSubscription
from ws_gateway.control.schemas import encode_cursor
from ws_gateway.control.service import Page, SetOutcome
from ws_gateway.control.subscription_schemas import ServiceSetRequest, WishFields, fields_of
from ws_gateway.control.wishes import Wish
from ws_gateway.runtime.slices import slices

_PAGE_SLICE = 50
"""Rows of a page are told beside thousands of events a second."""

_encode = msgspec.json.Encoder().encode
_wishes: TypeAdapter[list[WishFields]] = TypeAdapter(list[WishFields])


async def page_answer(page: Page) -> Response:
    """Answer a page in the shape of `SubscriptionList`."""
    after = page.next_after
    cursor = None if after is None else encode_cursor(after)
    return _json(b'{"items":%b,"next_cursor":%b}' % (await _rows(page.items), _encode(cursor)))


async def set_answer(requesting_service: str, outcome: SetOutcome) -> Response:
    """Answer what changed in the shape of `ServiceSetAnswer`."""
    return _json(
        b'{"requesting_service":%b,"added":%b,"removed":%b,"changed":%b,"unchanged":%d}'
        % (
            _encode(requesting_service),
            await _rows(outcome.added),
            await _rows(outcome.removed),
            await _rows(outcome.changed),
            outcome.unchanged,
        )
    )


async def set_wishes(requesting_service: str, body: ServiceSetRequest) -> list[Wish]:
    """Judge each wish of a set.

    Raises:
        RequestValidationError: some are no wishes.
    """
    found: list[Wish] = []
    async for piece in slices(cast("list[Any]", body.subscriptions)):
        try:
            wishes = _wishes.validate_python(piece)
        except ValidationError as exc:
            raise RequestValidationError(_placed(exc, len(found))) from exc
        found += [one.to_wish(requesting_service) for one in wishes]
    return found


def _placed(exc: ValidationError, first: int) -> list[dict[str, Any]]:
    """Say where in the body the faults of a piece are that begins at `first`."""
    return [
        {**fault, "loc": ("body", "subscriptions", first + int(fault["loc"][0]), *fault["loc"][1:])}
        for fault in exc.errors(include_url=False)
    ]


async def _rows(items: Sequence[LiveSubscription]) -> bytes:
    parts = [
        b",".join([_encode(fields_of(one)) for one in piece])
        async for piece in slices(items, _PAGE_SLICE)
    ]
    return b"[" + b",".join(parts) + b"]"


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
