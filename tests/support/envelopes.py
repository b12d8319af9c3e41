"""Envelopes as a consumer reads them, for the tests of the consumer kit."""

from __future__ import annotations

from typing import Any

from ws_gateway.client.event import Envelope


def envelope(sequence: int = 1, kind: str = "update", **changes: Any) -> Envelope:
    """Make an envelope of a linear trade."""
    fields: dict[str, Any] = {
        "schema": 1,
        "event_id": f"e{sequence}",
        "event_type": "trade",
        "kind": kind,
        "source": "stream",
        "category": "linear",
        "symbol": "BTCUSDT",
        "topic": "publicTrade.BTCUSDT",
        "account": None,
        "epoch": "E1",
        "sequence": sequence,
        "timestamp": 1,
        "matched_at": None,
        "received_at": 1_000_000 * sequence,
        "trace_id": "0" * 32,
        "payload": [],
    }
    return Envelope(**(fields | changes))


def gap(sequence: int, first: int | None, last: int | None, **changes: Any) -> Envelope:
    """Make a marker."""
    said = {"reason": "shed", "from_sequence": first, "to_sequence": last, "detail": "full"}
    return envelope(sequence, "gap", payload=said, **changes)
