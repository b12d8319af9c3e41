"""What goes over the wire of the HTTP API, and nothing else."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from ws_gateway.control.connection_schemas import MaintenanceAnswer, WebsocketState
from ws_gateway.control.health import Report
from ws_gateway.control.problem_codes import CODES
from ws_gateway.domain.topic import Lane
from ws_gateway.errors import Rejected
from ws_gateway.ports.delivery import BrokerState, Carries, LaneStatus

AccountName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64),
    Field(
        description="Name of an account, of `WSG_ACCOUNT_NAME` or `WSG_ACCOUNTS`.",
        examples=["main"],
    ),
]
ServiceName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$"),
    Field(description="Who asks: letters, digits, `_ . -`, up to 64.", examples=["strategy-1"]),
]
Symbol = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Z0-9][A-Z0-9_./-]{0,63}|inverse)$"),
    Field(
        description=(
            "As Bybit writes it, in capitals: `BTCUSDT`, `BTC-27DEC26-100000-C-USDT`, "
            "`SOLUSDT_SOL/USDT`. Trades of options: the base coin, `BTC`. `insurance` and "
            "`adl_alert`: the pool, `USDT`, `USDC` or `inverse`. `system_status` and private "
            "channels take none."
        ),
        examples=["BTCUSDT"],
    ),
]


class ReasonAnswer(BaseModel):
    """One thing that keeps data from flowing."""

    code: str = Field(examples=["connection_not_streaming"])
    subject: str = Field(examples=["linear-1"])
    detail: str = Field(
        examples=[
            (
                "connection is backing_off: closed: 1006; breaker is open, next attempt at "
                "2026-10-01T03:00:21Z; 2 of 3 topics of linear wait"
            )
        ]
    )
    is_blocking: bool = Field(
        True, description="It makes the gateway unready; else others still bring the data."
    )
    is_announced: bool = Field(
        False, description="Maintenance that Bybit announced explains it; nobody need be woken."
    )


class Readiness(BaseModel):
    """Whether data flow; green means data."""

    status: str = Field(description="`ready` or `not_ready`.")
    reasons: list[ReasonAnswer]

    @classmethod
    def of(cls, report: Report) -> Self:
        """Show whether there is a reason against it; what costs no data is none."""
        blocking = [reason for reason in _reasons(report) if reason.is_blocking]
        return cls(status="not_ready" if blocking else "ready", reasons=blocking)


class Liveness(BaseModel):
    """The process turns its loop."""

    status: str = "alive"


class DatabaseHealth(BaseModel):
    """PostgreSQL as last asked, at most a second ago."""

    status: str = Field(description="`ok` or `lost`.")
    last_error: str | None


class LaneHealth(BaseModel):
    """What one lane holds for RabbitMQ."""

    lane: Lane
    policy: str = Field(
        description=(
            "Under pressure: `spool` goes to disk; `gap` refuses the newest and marks the hole; "
            "`conflate` lets newer values take the place of older ones."
        )
    )
    waiting: int = Field(description="Not sent yet.")
    events: int = Field(description="Accepted and not yet confirmed.")
    size_bytes: int
    max_events: int
    max_bytes: int
    peak_events: int = Field(description="The most seen since the start.")
    peak_bytes: int
    is_refusing: bool = Field(description="Full, and not emptied enough since.")

    @classmethod
    def of(cls, status: LaneStatus) -> Self:
        """Show one."""
        return cls(**dataclasses.asdict(status))


class BrokerConnectionHealth(BaseModel):
    """One of the connections that publish: private events wait behind nothing public."""

    events: Carries = Field(description="Which events it carries.")
    status: BrokerState
    last_error: str | None


class BrokerHealth(BaseModel):
    """RabbitMQ as the gateway's connections see it."""

    status: BrokerState = Field(description="The worst of its connections'.")
    last_error: str | None
    connections: list[BrokerConnectionHealth]
    buffered_events: int = Field(description="Accepted and not yet confirmed.")
    buffered_bytes: int
    problems: list[str] = Field(description="Drifted or missing queues, in words.")
    spool_error: str | None = Field(
        description="Why private events cannot go to disk and are held in memory alone."
    )
    lanes: list[LaneHealth] = Field(description="What is buffered, by lane, private first.")


class ConnectionHealth(BaseModel):
    """One connection to Bybit."""

    websocket_state: WebsocketState


class Health(BaseModel):
    """The whole gateway."""

    status: str = Field(
        description=(
            "`ok`; `degraded`: some data are missing, or could soon be; `down`: no event reaches "
            "a consumer."
        )
    )
    reasons: list[ReasonAnswer]
    version: str
    epoch: str = Field(description="Names this run's numbering of events.")
    uptime_seconds: float
    database: DatabaseHealth
    broker: BrokerHealth
    connections: list[ConnectionHealth]
    maintenance: list[MaintenanceAnswer] = Field(
        description="What Bybit announced of itself and is not over."
    )
    subscriptions: dict[str, int] = Field(
        description="Topics that are wanted, or still at Bybit, per state. One that several "
        "services want counts once."
    )
    delivery: dict[str, Any] = Field(description="Counters since the start.")

    @classmethod
    def of(cls, report: Report) -> Self:
        """Show everything the rooms said."""
        lost = report.database_error
        return cls(
            status=report.status,
            reasons=_reasons(report),
            version=report.version,
            epoch=report.epoch,
            uptime_seconds=report.uptime_seconds,
            database=DatabaseHealth(status="lost" if lost else "ok", last_error=lost),
            broker=BrokerHealth(
                status=report.delivery.state,
                last_error=report.delivery.last_error,
                connections=[
                    BrokerConnectionHealth(
                        events=one.carries, status=one.state, last_error=one.last_error
                    )
                    for one in report.delivery.connections
                ],
                buffered_events=report.delivery.buffered_events,
                buffered_bytes=report.delivery.buffered_bytes,
                problems=[one.detail for one in report.delivery.problems],
                spool_error=report.delivery.spool_error,
                lanes=[LaneHealth.of(one) for one in report.delivery.lanes],
            ),
            connections=[
                ConnectionHealth(websocket_state=WebsocketState.of(one))
                for one in report.connections
            ],
            maintenance=[MaintenanceAnswer.of(one) for one in report.maintenance],
            subscriptions=dict(report.subscriptions.counts),
            delivery=dict(report.counters),
        )


class Problem(BaseModel):
    """What went wrong (RFC 9457), with the field at fault and what would have been accepted."""

    type: str = Field(examples=["urn:ws-gateway:problem:depth_not_offered"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["category linear has no order book of depth 7"])
    instance: str = Field(examples=["/api/v1/subscriptions"])
    code: str = Field(
        description="Stable word for programs. "
        + " ".join(f"`{code}`: {meaning}" for code, meaning in CODES.items()),
        examples=["depth_not_offered"],
        json_schema_extra={"enum": list(CODES)},
    )
    field: str | None = Field(None, examples=["depth"])
    found: Any = Field(None, examples=[7])
    allowed: list[str] | None = Field(None, examples=[["1", "50", "200", "1000"]])
    trace_id: str | None = Field(
        None,
        description="Finds the log lines of this request; `traceparent` of the answer has it too.",
        examples=["0af7651916cd43dd8448eb211c80319c"],
    )


def encode_cursor(after: UUID) -> str:
    """Write a position in a list so that nobody takes it apart."""
    return base64.urlsafe_b64encode(after.bytes).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> UUID:
    """Read a position back.

    Raises:
        Rejected: it is not one of ours.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return UUID(bytes=raw)
    except (binascii.Error, ValueError) as exc:  # not base64, not ASCII, not 16 bytes
        raise Rejected(
            "this cursor was not made here; give next_cursor of the answer before, unchanged",
            code="cursor_unknown",
            field="cursor",
            found=cursor,
        ) from exc


def _reasons(report: Report) -> list[ReasonAnswer]:
    return [ReasonAnswer.model_validate(one, from_attributes=True) for one in report.reasons]
