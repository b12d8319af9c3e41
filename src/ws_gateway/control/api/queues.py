"""Endpoint of the queues at the broker."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from ws_gateway.control.api.answers import problems_of
from ws_gateway.control.api.calling import SubscriptionReader
from ws_gateway.control.operations import Operations
from ws_gateway.control.queue_schemas import QueueList

router = APIRouter(prefix="/api/v1", tags=["queues"])


def _operations(request: Request) -> Operations:
    operations: Operations = request.app.state.collaborators.operations
    return operations


@router.get("/queues", summary="See what waits, and who lags", responses=problems_of())
async def list_queues(
    caller: SubscriptionReader, operations: Annotated[Operations, Depends(_operations)]
) -> QueueList:
    """Answer every queue as it was at the last look, at most a few seconds ago.

    Look at `alerts` first. `capacity_near`: the oldest messages will soon be dropped.
    `no_consumer`: messages gather and nobody consumes. `slow_consumer`: who consumes takes less
    than is published. `services` says whose it is.
    """
    return QueueList.of(operations.queues(caller))
