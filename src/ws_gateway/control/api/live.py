"""Endpoint of the live stream: one picture a second of everything, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ws_gateway.control.api.answers import problems_of
from ws_gateway.control.api.calling import SubscriptionReader
from ws_gateway.control.api.problems import problem_of
from ws_gateway.control.console.audience import Audience
from ws_gateway.control.console.schemas import LiveEvents, LiveQuery
from ws_gateway.domain.caller import Caller
from ws_gateway.errors import GatewayError

MEDIA_TYPE = "text/event-stream"

router = APIRouter(prefix="/api/v1", tags=["console"])


class EventStream(Response):
    """An answer that goes on; nothing is kept for a caller who went away.

    Args:
        audience: who watches.
        caller: one more of them.
        wanted: what is sent.
    """

    media_type = MEDIA_TYPE

    def __init__(self, audience: Audience, caller: Caller, wanted: LiveQuery) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._audience = audience
        self._caller = caller
        self._wanted = wanted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until there is nothing more, or nobody reads."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self._audience.seat(self._caller))
            except GatewayError as exc:
                await problem_of(exc, scope["path"])(scope, receive, send)
                return
            # Of HEAD the headers are all.
            state = scope.get("state", {})
            unsent = {"unsent": state["unsent"]} if "unsent" in state else {}
            events = (
                None
                if state.get("is_bare", False)
                else self._audience.watch(self._caller, self._wanted, **unsent)
            )
            sending = asyncio.ensure_future(self._send_all(send, events))
            leaving = asyncio.ensure_future(_left(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
            finally:
                sending.cancel()
                leaving.cancel()
                await asyncio.wait({sending, leaving})

    async def _send_all(self, send: Send, events: AsyncIterator[bytes] | None) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        if events is not None:
            async for piece in events:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _audience(request: Request) -> Audience:
    audience: Audience = request.app.state.collaborators.audience
    return audience


_OK: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `begin`, `picture`, `topics`, `markers`, `errors` and at last "
        "`end`; each `data` is one line of JSON, of which `LiveEvents` has the shapes.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/live",
    summary="Watch everything",
    response_class=Response,
    responses={**_OK, **problems_of(422)},
)
async def watch_live(
    query: Annotated[LiveQuery, Query()],
    caller: SubscriptionReader,
    audience: Annotated[Audience, Depends(_audience)],
) -> EventStream:
    """Send once a second how everything is; what the page at `/console` is drawn from.

    It ends after `pictures`, a minute at most: ask again, as the page does. Who reads slowly sees
    fewer pictures: none is taken before the one before has arrived. At most 24 streams may be open,
    6 with one key; a further one is answered 429. Warnings and errors of the log are told to keys
    that are not bound to services.
    """
    return EventStream(audience, caller, query)


def shapes() -> dict[str, Any]:
    """Return the schemas of what is sent, by name, for the API's document."""
    schema = LiveEvents.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    defined: dict[str, Any] = schema.pop("$defs")
    return {**defined, LiveEvents.__name__: schema}
