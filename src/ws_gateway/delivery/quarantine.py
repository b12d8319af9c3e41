"""Where bytes go that nobody could read: counted, logged once per kind and minute, kept."""

from __future__ import annotations

import base64
from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

import msgspec
import structlog

from ws_gateway.delivery.news import News
from ws_gateway.runtime.counters import Counters

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

KEPT_BYTES = 65_536
"""Most raw bytes kept of one frame."""

_SAMPLE_BYTES = 200


class QuarantineOutlet(Protocol):
    """The publisher, as far as quarantine needs it."""

    def offer_quarantined(
        self,
        *,
        reason: str,
        identity: str,
        trace_id: str,
        body: bytes,
        is_private: bool = False,
    ) -> bool:
        """Take it for the quarantine queue; False when there is no room."""


class Quarantine:
    """Takes unreadable frames; never raises, never waits.

    Args:
        is_private: they are of private facts, which a flood of public ones may not push out.
    """

    def __init__(
        self,
        outlet: QuarantineOutlet,
        *,
        counters: Counters,
        clock_us: Callable[[], int],
        is_private: bool = False,
    ) -> None:
        self._outlet = outlet
        self._counters = counters
        self._clock_us = clock_us
        self._is_private = is_private
        self._news = News()

    def quarantine(
        self, *, reason: str, origin: str, detail: str, raw: bytes, trace_id: str
    ) -> None:
        """Keep the bytes (bounded) with the reason; count them; log once per kind and minute."""
        self._counters.quarantined[reason] += 1
        now_us = self._clock_us()
        kept = raw[:KEPT_BYTES]
        digest = blake2b(raw, digest_size=8).hexdigest()
        body = msgspec.json.encode(
            {
                "schema": 1,
                "reason": reason,
                "origin": origin,
                "detail": detail,
                "received_at": now_us,
                "trace_id": trace_id,
                "size": len(raw),
                "truncated": len(raw) > KEPT_BYTES,
                "raw_base64": base64.b64encode(kept).decode("ascii"),
            }
        )
        taken = self._outlet.offer_quarantined(
            reason=reason,
            identity=f"{origin}:{now_us}:{digest}",
            trace_id=trace_id,
            body=body,
            is_private=self._is_private,
        )
        if not taken:
            self._counters.quarantined["not_kept"] += 1
        if self._news.is_due((origin, reason)):
            log.warning(
                "delivery.frame_quarantined",
                reason=reason,
                origin=origin,
                detail=detail[:_SAMPLE_BYTES],
                size=len(raw),
                sample=raw[:_SAMPLE_BYTES].decode("utf-8", "replace"),
                trace_id=trace_id,
                so_far=self._counters.quarantined[reason],
            )
