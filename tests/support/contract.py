"""The committed JSON Schemas, held against every message that a test gets to see."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

CONTRACT = Path(__file__).resolve().parents[2] / "docs" / "contract"

_MOST_WORDS = 600


def assert_message(message: Mapping[str, Any]) -> None:
    """Insist that a message is what the schema of its class says, payload and all."""
    _insist(str(message.get("event_type", "quarantine")), message)


def assert_envelope(event: Mapping[str, Any]) -> None:
    """Insist on the envelope, where a test made the payload up; markers are checked whole."""
    if event.get("kind") in ("gap", "resumed", None):
        assert_message(event)
    else:
        _insist("envelope", event)


def violations(schema: str, message: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with a message, as far as its kind is a kind of that schema."""
    return [_words(error) for error in _validator(schema, message.get("kind")).iter_errors(message)]


def _insist(schema: str, message: Mapping[str, Any]) -> None:
    if not _validator(schema, message.get("kind")).is_valid(message):
        wrong = "; ".join(violations(schema, message))
        raise AssertionError(f"{schema}: {wrong}; the message: {str(message)[:_MOST_WORDS]}")


@cache
def _validator(schema: str, kind: str | None) -> jsonschema_rs.Validator:
    """Return the validator of a schema, without the alternatives of other kinds.

    They could not match, and would make every complaint unreadable.
    """
    document = json.loads((CONTRACT / "schemas" / f"{schema}.json").read_text(encoding="utf-8"))
    for one in document["definitions"].values():
        if one.get("properties", {}).get("kind", {}).get("enum") == [kind]:
            del document["anyOf"]
            document |= one
    return jsonschema_rs.validator_for(document)


def _words(error: jsonschema_rs.ValidationError) -> str:
    place = "/".join(str(part) for part in error.instance_path)
    return f"at {place or 'the top'}: {error.message[:_MOST_WORDS]}"
