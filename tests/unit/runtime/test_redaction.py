"""No secret is written, in whatever form it turns up."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from ws_gateway.runtime.redaction import REDACTED, Secrets
from ws_gateway.runtime.telemetry import configure_logging

SECRET = 'pä55"w\\rd/of?the#moon'
PASSWORD = "s3cr3t%2Fpass"


@pytest.fixture
def secrets() -> Secrets:
    """A key and two URLs with logins."""
    found = Secrets()
    found.add(SECRET, None, "k")
    found.add_logins([f"amqp://me:{PASSWORD}@host/", "postgresql://h/db?password=hidden-too", None])
    return found


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        repr(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        f"x{SECRET}y",
        "p%C3%A455%22w%5Crd%2Fof%3Fthe%23moon",
        PASSWORD,
        "s3cr3t/pass",
        "hidden-too",
    ],
)
def test_a_known_secret_goes_in_every_form(secrets: Secrets, text: str) -> None:
    """As it is, quoted for a URL, escaped for JSON, written by repr."""
    cleaned = secrets.redact(f"before {text} after")
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")
    assert REDACTED in cleaned
    for part in ("moon", "s3cr3t", "hidden"):
        assert part not in cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("amqp://u:p@h:5672/v refused", f"amqp://{REDACTED}@h:5672/v refused"),
        ("see postgresql://u:p%40x@h/db", f"see postgresql://{REDACTED}@h/db"),
        (f"wsg_3k9f2m7q1xzd_{'x7' * 26} fails", f"wsg_3k9f2m7q1xzd_{REDACTED} fails"),
        ("X-API-Key: abcdef", f"X-API-Key: {REDACTED}"),
        ('{"password": "abc d", "host": "h"}', f'{{"password": {REDACTED}, "host": "h"}}'),
        ("api_secret=abc&x=1", f"api_secret={REDACTED}&x=1"),
        ("http://127.0.0.1:8080/a@b is fine: yes", "http://127.0.0.1:8080/a@b is fine: yes"),
        ("orderbook.50.BTCUSDT", "orderbook.50.BTCUSDT"),
    ],
)
def test_what_looks_like_a_secret_goes_too(text: str, cleaned: str) -> None:
    """Logins in URLs and values of telling names, though nobody told of them."""
    assert Secrets().redact(text) == cleaned


def test_fields_are_cleaned_by_name_and_by_value(secrets: Secrets) -> None:
    """However deep they are; what is no secret stays as it is."""
    line = secrets(
        None,
        "info",
        {
            "event": "gateway.started",
            "password": "anything",
            "headers": {"X-API-Key": "anything", "accept": ["*", SECRET]},
            "why": ValueError(SECRET),
            "count": 3,
            "is_ok": True,
            "nothing": None,
        },
    )
    assert line == {
        "event": "gateway.started",
        "password": REDACTED,
        "headers": {"X-API-Key": REDACTED, "accept": ["*", REDACTED]},
        "why": REDACTED,
        "count": 3,
        "is_ok": True,
        "nothing": None,
    }


def test_a_password_that_is_a_word_of_ours_tears_no_event_apart() -> None:
    """Programs look for events by name, and a bad password must not hide them."""
    secrets = Secrets()
    secrets.add("gateway", "info")
    line = {"event": "gateway.started", "level": "info", "why": "gateway"}
    assert secrets(None, "info", dict(line)) == {**line, "why": REDACTED}


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize("as_json", [True, False])
def test_tracebacks_and_foreign_lines_are_cleaned(
    secrets: Secrets,
    as_json: bool,  # noqa: FBT001
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An exception's text, its chain, and what libraries log with arguments."""
    configure_logging(level="debug", as_json=as_json, secrets=secrets)

    def fail() -> None:
        try:
            dict[str, str]()[SECRET]
        except KeyError as exc:
            raise RuntimeError(f"connect amqp://me:{PASSWORD}@host/") from exc

    for tell in (structlog.get_logger("ours").exception, logging.getLogger("theirs").exception):
        try:
            fail()
        except RuntimeError:
            tell("room.thing_failed")
    logging.getLogger("theirs").warning("login with %s and %r failed", SECRET, PASSWORD)
    written = capsys.readouterr().err
    assert written.count("Traceback") >= 2
    assert written.count("RuntimeError") >= 2
    assert REDACTED in written
    for part in ("moon", "s3cr3t"):
        assert part not in written
