"""The trace of a request: what is taken over from `traceparent`, and what is not."""

from __future__ import annotations

import re

import pytest

from ws_gateway.runtime.tracing import Trace, current_trace_id, tracing

TRACE_ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE_ID}-{PARENT}-01"


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (SENT, True),
        (f"00-{TRACE_ID}-{PARENT}-00", False),
        (f"00-{TRACE_ID}-{PARENT}-03", True),
        (f" {SENT}\t", True),
        (f"cc-{TRACE_ID}-{PARENT}-01", True),
        (f"cc-{TRACE_ID}-{PARENT}-01-what-comes-later", True),
    ],
)
def test_the_callers_trace_goes_on(header: str, is_sampled: bool) -> None:  # noqa: FBT001
    """Same trace, a span of ours, the caller's flag; a later version is read as this one."""
    trace = Trace.begin([header.encode()])
    assert (trace.trace_id, trace.is_sampled) == (TRACE_ID, is_sampled)
    assert trace.span_id != PARENT
    assert trace.traceparent == f"00-{TRACE_ID}-{trace.span_id}-0{int(is_sampled)}"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b""],
        [b"\xff" * 55],
        [SENT.upper().encode()],
        [f"00-{'0' * 32}-{PARENT}-01".encode()],
        [f"00-{TRACE_ID}-{'0' * 16}-01".encode()],
        [f"00-{TRACE_ID}-{PARENT}-0".encode()],
        [f"00-{TRACE_ID}-{PARENT}-01-more".encode()],
        [f"ff-{TRACE_ID}-{PARENT}-01".encode()],
        [f"cc-{TRACE_ID}-{PARENT}-01more".encode()],
        [f"00-{TRACE_ID[:-1]}g-{PARENT}-01".encode()],
        [SENT.encode() + b"-" + b"x" * 10_000],
        [SENT.encode(), SENT.encode()],
    ],
)
def test_what_is_malformed_is_as_if_it_was_not_sent(headers: list[bytes]) -> None:
    """A new trace each time, never an error."""
    first, second = Trace.begin(headers), Trace.begin(headers)
    assert first.trace_id != second.trace_id
    for trace in (first, second):
        assert trace.trace_id != TRACE_ID
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", trace.traceparent)


def test_the_trace_is_known_only_where_it_is_served() -> None:
    """Nothing of it stays behind."""
    assert current_trace_id() is None
    with tracing(TRACE_ID):
        assert current_trace_id() == TRACE_ID
    assert current_trace_id() is None
