"""The trace of what is being served: read from W3C `traceparent`, carried into log lines."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

import structlog

_VERSION_0 = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
# What a later version adds stands behind a further dash.
_LATER = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_LONGEST = 512

_notes: ContextVar[dict[str, str] | None] = ContextVar("notes", default=None)


@dataclass(frozen=True, slots=True)
class Trace:
    """One request's place in a trace (W3C Trace Context).

    Attributes:
        trace_id: 32 hex digits, the same in every log line, row and answer that came of it.
        span_id: 16 hex digits that name our part of it.
        is_sampled: the caller keeps this trace; we only pass that on.
    """

    trace_id: str
    span_id: str
    is_sampled: bool

    @classmethod
    def begin(cls, headers: Sequence[bytes]) -> Self:
        """Go on with the caller's trace, or begin one.

        Args:
            headers: every `traceparent` of the request; what is malformed, or sent more than once,
                is as if it was not sent.
        """
        span_id = f"{secrets.randbits(64) | 1:016x}"
        found = _read(headers[0]) if len(headers) == 1 else None
        if found is None:
            return cls(f"{secrets.randbits(128) | 1:032x}", span_id, is_sampled=False)
        trace_id, flags = found
        return cls(trace_id, span_id, is_sampled=bool(flags & _SAMPLED))

    @property
    def traceparent(self) -> str:
        """Write it as the header says it: what we did is the parent of what comes of it."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


def _read(header: bytes) -> tuple[str, int] | None:
    """Return trace id and flags, None if the header is malformed."""
    if len(header) > _LONGEST:
        return None
    text = header.decode("latin-1").strip(" \t")
    found = _VERSION_0.fullmatch(text)
    if found is None and not text.startswith("00"):
        found = _LATER.fullmatch(text)
    if found is None:
        return None
    trace_id, parent_id, flags = found[1], found[2], found[3]
    if not trace_id.strip("0") or not parent_id.strip("0"):  # all zeroes mean none
        return None
    return trace_id, int(flags, 16)


def current_trace_id() -> str | None:
    """Return the trace of what is being served here, None outside of any."""
    trace_id = structlog.contextvars.get_contextvars().get("trace_id")
    return None if trace_id is None else str(trace_id)


def note(**facts: str) -> None:
    """Add facts to the line about what is being served here; outside of any, nothing happens."""
    notes = _notes.get()
    if notes is not None:
        notes |= facts


@contextmanager
def tracing(trace_id: str) -> Iterator[dict[str, str]]:
    """Write this trace into every log line meanwhile; yields what `note` adds."""
    notes: dict[str, str] = {}
    token = _notes.set(notes)
    try:
        with structlog.contextvars.bound_contextvars(trace_id=trace_id):
            yield notes
    finally:
        _notes.reset(token)
