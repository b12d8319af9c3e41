"""Endpoints of the log level: a closer look at what a running gateway does."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from ws_gateway.control.api.answers import problems_of
from ws_gateway.control.api.calling import Administrator
from ws_gateway.control.operations import Operations
from ws_gateway.runtime.telemetry import LogLevelStatus

MAX_SECONDS = 24 * 3600

router = APIRouter(prefix="/api/v1/log-level", tags=["logs"])


class Level(StrEnum):
    """Lowest level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogLevelRequest(BaseModel):
    """What to write from now on."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"level": "debug", "duration_seconds": 300}, {"level": "info"}]
        },
    )

    level: Level = Field(description="Lowest level that is written.")
    duration_seconds: float | None = Field(
        None,
        gt=0,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="After so long the level of `WSG_LOG_LEVEL` is back; without it, it stays.",
    )


class LogLevelAnswer(BaseModel):
    """What is written now."""

    level: Level = Field(description="Lowest level that is written.")
    configured: Level = Field(description="The one of `WSG_LOG_LEVEL`, which it falls back to.")
    seconds_left: float | None = Field(
        description="Until it falls back; null if it stays.", examples=[299.9]
    )

    @classmethod
    def of(cls, status: LogLevelStatus) -> Self:
        """Show it."""
        return cls(
            level=Level(status.level),
            configured=Level(status.configured),
            seconds_left=status.seconds_left,
        )


def _operations(request: Request) -> Operations:
    operations: Operations = request.app.state.collaborators.operations
    return operations


Operating = Annotated[Operations, Depends(_operations)]


@router.get("", summary="See what is logged", responses=problems_of())
async def get_log_level(caller: Administrator, operations: Operating) -> LogLevelAnswer:
    """Answer the level as it is now."""
    return LogLevelAnswer.of(operations.log_level(caller))


@router.put("", summary="Log more, or less", responses=problems_of(400, 413, 415, 422))
async def set_log_level(
    body: LogLevelRequest, caller: Administrator, operations: Operating
) -> LogLevelAnswer:
    """Change the level of the running process, at once; a restart has that of the settings.

    At `debug` there are lines about single frames: one in `WSG_LOG_FRAMES_ONE_IN` of each class of
    data, with the `trace_id` that the messages bear too.
    """
    return LogLevelAnswer.of(
        await operations.set_log_level(caller, body.level.value, body.duration_seconds)
    )
