"""Endpoints of `/api/v1/subscriptions`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from ws_gateway.control.api.answers import problems_of
from ws_gateway.control.api.calling import SubscriptionReader, SubscriptionWriter
from ws_gateway.control.api.problems import NotFound
from ws_gateway.control.api.rows import page_answer, set_answer, set_wishes
from ws_gateway.control.schemas import ServiceName, decode_cursor
from ws_gateway.control.service import SubscriptionService
from ws_gateway.control.subscription_schemas import (
    MAX_WAIT_SECONDS,
    ListQuery,
    RenewalAnswer,
    ServiceRemoval,
    ServiceSetAnswer,
    ServiceSetRequest,
    SubscriptionAnswer,
    SubscriptionList,
    SubscriptionRequest,
)

router = APIRouter(prefix="/api/v1/subscriptions", tags=["subscriptions"])
sets = APIRouter(prefix="/api/v1/services", tags=["subscriptions"])


def _service(request: Request) -> SubscriptionService:
    service: SubscriptionService = request.app.state.collaborators.subscriptions
    return service


Service = Annotated[SubscriptionService, Depends(_service)]
Wait = Annotated[
    float,
    Query(
        ge=0,
        le=MAX_WAIT_SECONDS,
        allow_inf_nan=False,
        description="Answer only when it is `active` or `rejected`, at most after so many seconds; "
        "then `state` says how far it is.",
        examples=[5],
    ),
]
WaitForAll = Annotated[
    float,
    Query(
        ge=0,
        le=MAX_WAIT_SECONDS,
        allow_inf_nan=False,
        description="Answer only when each of the set, also what stood before, is `active` or "
        "`rejected`, at most after so many seconds.",
        examples=[5],
    ),
]


# What can be done with an answer, for people and for programs that follow it.
_LINKS = {
    name: {"operationId": name, "parameters": {"subscription_id": "$response.body#/id"}}
    for name in ("get_subscription", "remove_subscription")
}


_READ: dict[str, Any] = {
    "headers": {
        "X-Served-From": {
            "description": "`memory` while the database is away; else absent.",
            "schema": {"type": "string", "enum": ["memory"]},
        }
    }
}


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Ask for a topic",
    response_description="Stored; it is new.",
    responses={
        200: {
            "model": SubscriptionAnswer,
            "description": "The same already stands.",
            "links": _LINKS,
        },
        201: {"links": _LINKS},
        **problems_of(400, 409, 413, 415, 422, 429, 503),
    },
)
async def add_subscription(
    body: SubscriptionRequest,
    caller: SubscriptionWriter,
    service: Service,
    response: Response,
    wait: Wait = 0.0,
) -> SubscriptionAnswer:
    """Store what a service wants; Bybit is asked at once, and again after every restart.

    Sending the same again answers the same `id` with 200 and begins its lease anew, if it is one.
    If Bybit refused the topic before, it is asked again. Watch `state`: `requested`, `pending`,
    then `active` or `rejected`; or let `wait` do that.

    Other depths, intervals and categories are other topics and stand side by side. Services that
    want the same topic share it. One service cannot have the same topic with two deliveries: 409.
    """
    live, is_new = await service.add(
        caller, body.to_wish(body.requesting_service), wait_seconds=wait
    )
    response.status_code = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    response.headers["Location"] = f"{router.prefix}/{live.subscription.id}"
    return SubscriptionAnswer.of(live)


@router.get(
    "",
    summary="List subscriptions",
    response_model=SubscriptionList,
    responses={200: _READ, **problems_of(422, 503)},
)
async def list_subscriptions(
    query: Annotated[ListQuery, Query()],
    caller: SubscriptionReader,
    service: Service,
) -> Response:
    """List in order of creation; what is added or removed meanwhile disturbs no page.

    A page may hold fewer than `limit` although more follow: go on while there is a `next_cursor`.
    """
    after = decode_cursor(query.cursor) if query.cursor else None
    page = await service.page(caller, query.to_filter(), after=after, limit=query.limit)
    return await page_answer(page)


@router.get(
    "/{subscription_id}",
    summary="See one",
    responses={200: _READ, **problems_of(404, 422, 503)},
)
async def get_subscription(
    subscription_id: UUID, caller: SubscriptionReader, service: Service
) -> SubscriptionAnswer:
    """Answer a subscription with its present state, who carries it, and what came of it."""
    live = await service.get(caller, subscription_id)
    if live is None:
        raise _unknown(subscription_id)
    return SubscriptionAnswer.of(live)


@router.delete(
    "/by-service/{service_name}",
    summary="Remove all of one service",
    responses=problems_of(422, 503),
)
async def remove_service_subscriptions(
    service_name: ServiceName, caller: SubscriptionWriter, service: Service
) -> ServiceRemoval:
    """Forget everything one service asked for; topics that others want stay."""
    gone = await service.remove_service(caller, service_name)
    return ServiceRemoval(requesting_service=service_name, removed=len(gone))


@router.delete(
    "/{subscription_id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Remove one",
    responses=problems_of(404, 422, 503),
)
async def remove_subscription(
    subscription_id: UUID, caller: SubscriptionWriter, service: Service
) -> None:
    """Forget one; its topic is dropped at Bybit if nobody else wants it."""
    if await service.remove(caller, subscription_id) is None:
        raise _unknown(subscription_id)


@sets.put(
    "/{service_name}/subscriptions",
    summary="Say all that a service wants",
    response_model=ServiceSetAnswer,
    responses=problems_of(400, 409, 413, 415, 422, 429, 503),
)
async def replace_service_subscriptions(
    service_name: ServiceName,
    body: ServiceSetRequest,
    caller: SubscriptionWriter,
    service: Service,
    wait: WaitForAll = 0.0,
) -> Response:
    """Make these the whole set of a service, in one step: all of it counts, or nothing.

    What stands and is named here as it is keeps its `id` and flows on undisturbed; what is missing
    here is removed; what is new is asked for. Sending the same again changes nothing but that
    leases begin anew. The same topic twice in different ways is refused with 409.
    """
    wishes = await set_wishes(service_name, body)
    outcome = await service.replace(caller, service_name, wishes, wait_seconds=wait)
    return await set_answer(service_name, outcome)


@sets.post(
    "/{service_name}/renewal", summary="Renew a service's leases", responses=problems_of(422, 503)
)
async def renew_service_leases(
    service_name: ServiceName, caller: SubscriptionWriter, service: Service
) -> RenewalAnswer:
    """Begin every lease of a service anew; what is no lease is left alone.

    Do it about three times per `ttl_seconds`. If `renewed` is less than you hold, some ended: say
    the whole set again with `PUT`.
    """
    renewed, first = await service.renew(caller, service_name)
    return RenewalAnswer(requesting_service=service_name, renewed=renewed, first_expires_at=first)


def _unknown(subscription_id: UUID) -> NotFound:
    return NotFound(f"there is no subscription {subscription_id}", code="subscription_unknown")
