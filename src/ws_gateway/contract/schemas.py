"""JSON Schemas of the messages, generated from their models."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any, Union

import msgspec

from ws_gateway.contract.messages import AnyEvent, Quarantined, messages_of
from ws_gateway.domain.topic import EventClass

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The one dialect that every AsyncAPI 3 tool has to read."""

QUARANTINE = "quarantine"
ENVELOPE = "envelope"


def schema_names() -> tuple[str, ...]:
    """Name every schema: the event classes, `quarantine`, and `envelope` for an event of any class.

    An event that is valid for its class is valid for `envelope` too.
    """
    return (*(each.value for each in EventClass), QUARANTINE, ENVELOPE)


def schema_of(name: str) -> dict[str, Any]:
    """Return one schema, whole in itself.

    Raises:
        ValueError: there is none of that name.
    """
    (schema,), components = msgspec.json.schema_components(
        [_model(name)], ref_template="#/definitions/{name}"
    )
    alternatives = schema.get("anyOf")
    document = {
        "$schema": DRAFT,
        "title": f"ws-gateway: {name}",
        # Without `discriminator`, a word of OpenAPI: `kind` is constant in each alternative.
        **({"allOf": [schema]} if alternatives is None else {"anyOf": alternatives}),
        "definitions": dict(sorted(components.items())),
    }
    tidied: dict[str, Any] = _tidy(document)
    return tidied


def _model(name: str) -> Any:
    if name == QUARANTINE:
        return Quarantined
    if name == ENVELOPE:
        return AnyEvent
    return Union[tuple(messages_of(EventClass(name)))]  # noqa: UP007 - made at run time


def _tidy(node: Any) -> Any:
    """Take the indentation of docstrings out of descriptions."""
    if isinstance(node, dict):
        return {
            key: cleandoc(value)
            if key == "description" and isinstance(value, str)
            else _tidy(value)
            for key, value in node.items()
        }
    return [_tidy(each) for each in node] if isinstance(node, list) else node
