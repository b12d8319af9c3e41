"""Endpoints that tell how the gateway is: for operators, and for what restarts and routes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from ws_gateway.control.api.answers import problems_of
from ws_gateway.control.api.calling import Administrator, SubscriptionReader
from ws_gateway.control.api.problems import NotFound
from ws_gateway.control.connection_schemas import (
    ConnectionsAnswer,
    ConnectionsQuery,
    Replacement,
)
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.operations import Operations
from ws_gateway.control.schemas import Health, Liveness, Readiness

router = APIRouter(tags=["health"])
guarded = APIRouter(prefix="/api/v1", tags=["connections"])


def _reporter(request: Request) -> HealthReporter:
    reporter: HealthReporter = request.app.state.collaborators.health
    return reporter


def _operations(request: Request) -> Operations:
    operations: Operations = request.app.state.collaborators.operations
    return operations


Operating = Annotated[Operations, Depends(_operations)]
Reporter = Annotated[HealthReporter, Depends(_reporter)]


@router.get("/health", summary="How everything is")
async def get_health(reporter: Reporter) -> Health:
    """Answer the state of every part; always 200, `status` tells."""
    return Health.of(await reporter.report())


@router.get("/livez", summary="Does the process live")
async def get_liveness() -> Liveness:
    """Answer as long as the loop turns; it says nothing of data, and asks nobody."""
    return Liveness()


@router.get(
    "/readyz",
    summary="Do data flow",
    responses={503: {"model": Readiness, "description": "Something keeps data from flowing."}},
)
async def get_readiness(reporter: Reporter, response: Response) -> Readiness:
    """Answer 200 only if what is wanted can flow from Bybit to the broker.

    Topics that Bybit refused are not missed: one bad topic makes nothing unready. Nor does the
    loss of a connection whose topics still come over another one; `/health` tells of both.
    """
    readiness = Readiness.of(await reporter.report())
    if readiness.reasons:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return readiness


@guarded.get(
    "/connections",
    summary="Compare what is wanted with what there is",
    responses={
        200: {
            "links": {
                "replace_connection": {
                    "operationId": "replace_connection",
                    "parameters": {"name": "$response.body#/connections/0/name"},
                }
            }
        },
        **problems_of(422),
    },
)
async def list_connections(
    query: Annotated[ConnectionsQuery, Query()], caller: SubscriptionReader, operations: Operating
) -> ConnectionsAnswer:
    """Answer every connection to Bybit in full, counts per endpoint, and the topics missing.

    Look at `difference` first: each topic that is wanted and not active, with its state, since
    when, and Bybit's own words. Then at the `endpoints` it names: is a connection missing, does
    the `breaker` hold attempts back, is it announced `maintenance`? `last_error` and `retry_at` of
    the connections say what happened and when the next attempt is due.
    """
    return ConnectionsAnswer.of(operations.venue(caller, query.endpoint))


@guarded.post(
    "/connections/{name}/replacement",
    status_code=HTTPStatus.ACCEPTED,
    summary="Replace a connection without a gap",
    responses=problems_of(404, 422),
)
async def replace_connection(
    name: str, caller: Administrator, operations: Operating
) -> Replacement:
    """Open a successor, and close the connection when that carries all its topics.

    For a connection that is to be drained, whatever the reason. `GET /api/v1/connections` shows
    both until then. If the successor does not come up in half a minute, the connection stays. One
    that waits for its next attempt to connect makes it now; only the pause after a 403 or 429 is
    kept, for Bybit counts attempts by address.
    """
    if not await operations.replace_connection(caller, name):
        detail = f"there is no connection {name!r}; GET /api/v1/connections names them"
        raise NotFound(detail, code="connection_not_found")
    return Replacement(connection=name)
