"""Endpoints of `/api/v1/subscriptions`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from ws_gateway.control.api.answers import problems_of
from ws_gateway.control.api.calling import SubscriptionReader, SubscriptionWriter
from ws_gateway.control.api.problems import NotFound
from ws_gateway.control.schemas import (
    ListQuery,
    ServiceName,
    ServiceRemoval,
    SubscriptionAnswer,
    SubscriptionList,
    SubscriptionRequest,
    decode_cursor,
)
from ws_gateway.control.service import SubscriptionService

router = APIRouter(prefix="/api/v1/subscriptions", tags=["subscriptions"])


def _service(request: Request) -> SubscriptionService:
    service: SubscriptionService = request.app.state.collaborators.subscriptions
    return service


Service = Annotated[SubscriptionService, Depends(_service)]


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
        **problems_of(400, 413, 415, 422, 503),
    },
)
async def add_subscription(
    body: SubscriptionRequest, caller: SubscriptionWriter, service: Service, response: Response
) -> SubscriptionAnswer:
    """Store what a service wants; Bybit is asked at once, and again after every restart.

    Sending the same again changes nothing and answers 200. If Bybit refused the topic
    before, it is asked again. Watch `state`: `requested`, `pending`, then `active` or `rejected`.
    """
    subscription, is_new = await service.add(caller, body.to_wish())
    response.status_code = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    response.headers["Location"] = f"{router.prefix}/{subscription.id}"
    return SubscriptionAnswer.of(subscription)


@router.get("", summary="List subscriptions", responses={200: _READ, **problems_of(422, 503)})
async def list_subscriptions(
    query: Annotated[ListQuery, Query()], caller: SubscriptionReader, service: Service
) -> SubscriptionList:
    """List in order of creation; what is added or removed meanwhile disturbs no page."""
    after = decode_cursor(query.cursor) if query.cursor else None
    return SubscriptionList.of(
        await service.page(caller, query.to_filter(), after=after, limit=query.limit)
    )


@router.get(
    "/{subscription_id}",
    summary="See one",
    responses={200: _READ, **problems_of(404, 422, 503)},
)
async def get_subscription(
    subscription_id: UUID, caller: SubscriptionReader, service: Service
) -> SubscriptionAnswer:
    """Answer a subscription with its present state."""
    subscription = await service.get(caller, subscription_id)
    if subscription is None:
        raise _unknown(subscription_id)
    return SubscriptionAnswer.of(subscription)


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


def _unknown(subscription_id: UUID) -> NotFound:
    return NotFound(f"there is no subscription {subscription_id}", code="subscription_unknown")
