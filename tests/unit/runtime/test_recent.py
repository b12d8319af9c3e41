"""The newest warnings and errors: bounded, told once, and without secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from ws_gateway.runtime.recent import KEPT, MAX_CHARS, MAX_FIELDS, RecentTroubles
from ws_gateway.runtime.redaction import REDACTED, Secrets
from ws_gateway.runtime.telemetry import configure_logging


def line(event: str = "venue.connection_lost", level: str = "warning", **fields: object) -> dict:  # type: ignore[type-arg]
    """Build a line as the formatter has it."""
    return {"event": event, "level": level, "timestamp": "2026-10-01T03:00:00Z", **fields}


def test_only_warnings_and_errors_are_kept_and_every_line_goes_on() -> None:
    """It is a processor: what it is given it gives back, whole."""
    troubles = RecentTroubles()
    for level in ("debug", "info", "warning", "error", "critical"):
        given = line(f"x.{level}", level)
        assert troubles(None, "", given) is given
    assert [one.event for one in troubles.newest()] == ["x.critical", "x.error", "x.warning"]


def test_a_line_that_comes_again_and_again_is_one_with_a_count() -> None:
    """It stands with its newest fields and the time it came first."""
    troubles = RecentTroubles()
    troubles(None, "", line(connection="linear", attempt=1))
    troubles(None, "", line(connection="spot", attempt=1))
    for attempt in range(2, 500):
        troubles(None, "", {**line(connection="linear", attempt=attempt), "timestamp": "later"})
    newest, other = troubles.newest()
    assert (newest.count, newest.first_at, newest.at) == (499, "2026-10-01T03:00:00Z", "later")
    assert newest.fields["attempt"] == "499"
    assert (other.count, other.fields["connection"]) == (1, "spot")
    assert troubles.revision == 500


def test_a_storm_of_different_lines_takes_bounded_memory() -> None:
    """So many, each with so many fields of so many characters, and no more."""
    troubles = RecentTroubles()
    for number in range(10 * KEPT):
        fields = {f"field{at}": "x" * 10_000 for at in range(50)}
        troubles(None, "", line(topic=f"topic {number}" * 1000, **fields))
    kept = troubles.newest()
    assert len(kept) == KEPT
    assert kept[0].fields["topic"].startswith(f"topic {10 * KEPT - 1}")
    for one in kept:
        assert len(one.fields) == MAX_FIELDS
        assert max(map(len, one.fields.values())) == MAX_CHARS


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging_restored")
def test_what_is_kept_holds_no_secret_and_of_a_traceback_the_error() -> None:
    """It is kept behind the place where secrets are taken out."""
    troubles, secrets = RecentTroubles(), Secrets()
    secrets.add("s3cret-value")
    configure_logging(level="info", as_json=True, secrets=secrets, troubles=troubles)
    log = structlog.get_logger("test")
    try:
        int("s3cret-value")
    except ValueError:
        log.exception("control.request_failed", url="amqp://me:s3cret-value@host", password="abcd")
    (one,) = troubles.newest()
    assert one.level == "error"
    assert one.fields["exception"].endswith(f"with base 10: '{REDACTED}'")
    assert "s3cret-value" not in repr(one)
    assert one.fields["password"] == REDACTED
