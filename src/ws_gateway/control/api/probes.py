"""Endpoints that tell how the gateway is: for operators, and for what restarts and routes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from ws_gateway.control.api.answers import problems_of
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.schemas import (
    ConnectionList,
    Health,
    Liveness,
    Readiness,
    WebsocketState,
)

router = APIRouter(tags=["health"])
guarded = APIRouter(prefix="/api/v1", tags=["connections"])


def _reporter(request: Request) -> HealthReporter:
    reporter: HealthReporter = request.app.state.collaborators.health
    return reporter


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
    """Answer 200 only if what is wanted can flow from Bybit to the broker."""
    readiness = Readiness.of(await reporter.report())
    if readiness.reasons:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return readiness


@guarded.get("/connections", summary="List the connections to Bybit", responses=problems_of())
async def list_connections(reporter: Reporter) -> ConnectionList:
    """Answer the full state of each connection that exists."""
    return ConnectionList(items=[WebsocketState.of(one) for one in reporter.connections()])
