"""Endpoint of the queues at the broker."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from ws_gateway.control.api.answers import problems_of
from ws_gateway.control.api.calling import SubscriptionReader
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.queue_schemas import QueueList

router = APIRouter(prefix="/api/v1", tags=["queues"])


def _reporter(request: Request) -> HealthReporter:
    reporter: HealthReporter = request.app.state.collaborators.health
    return reporter


@router.get("/queues", summary="See what waits, and who lags", responses=problems_of())
async def list_queues(
    _caller: SubscriptionReader, reporter: Annotated[HealthReporter, Depends(_reporter)]
) -> QueueList:
    """Answer every queue as it was at the last look, at most a few seconds ago.

    Look at `alerts` first. `capacity_near`: the oldest messages will soon be dropped.
    `no_consumer`: messages gather and nobody consumes. `slow_consumer`: who consumes takes less
    than is published. `services` says whose it is.
    """
    return QueueList.of(reporter.queues())
