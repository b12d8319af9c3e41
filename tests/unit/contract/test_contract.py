"""The committed contract is the one the models have, and it says what it should."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from support.contract import CONTRACT, violations
from ws_gateway.config import QueueType
from ws_gateway.contract.asyncapi import Site, asyncapi
from ws_gateway.contract.files import render
from ws_gateway.contract.messages import FACTS, SCHEMA_VERSION
from ws_gateway.contract.schemas import schema_names, schema_of
from ws_gateway.delivery import envelope as written
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.event import Kind
from ws_gateway.domain.topic import LANE_OF, EventClass, Lane

SPECIFICATION = Path(__file__).parent / "asyncapi-3.0.0.json"
"""AsyncAPI's own JSON Schema of 3.0.0 (asyncapi/spec-json-schemas, Apache 2.0), on one line."""

EVENT = {
    "schema": 1,
    "event_id": "linear:tickers.BTCUSDT:s1:1",
    "event_type": "ticker",
    "kind": "delta",
    "source": "stream",
    "category": "linear",
    "symbol": "BTCUSDT",
    "topic": "tickers.BTCUSDT",
    "account": None,
    "epoch": "01KE0000000000000000000000",
    "sequence": 4711,
    "timestamp": 1773386409407,
    "matched_at": None,
    "received_at": 1773386409411123,
    "trace_id": "0" * 32,
    "payload": {"symbol": "BTCUSDT", "markPrice": "71419.80"},
}
GAP = {"reason": "shed", "from_sequence": 3, "to_sequence": 5, "detail": ""}
PAYLOADS: dict[str, Any] = {
    "trade": [{"i": "1", "T": 1, "s": "B", "S": "Buy", "p": "1.0", "v": "2"}],
    "orderbook": {"s": "BTCUSDT", "b": [["1", "0"]], "a": [], "u": 4},
    "order": {"orderId": "1", "symbol": "B", "updatedTime": "5", "price": ""},
}


def event(**changes: object) -> dict[str, Any]:
    """Make a ticker's delta with changes; a change to ... takes the field away."""
    return {name: value for name, value in (EVENT | changes).items() if value is not ...}


def fact(event_class: str, **changes: object) -> dict[str, Any]:
    """Make a fact of another class."""
    is_private = LANE_OF[EventClass(event_class)] is Lane.PRIVATE
    base = {"event_type": event_class, "kind": "delta" if event_class == "orderbook" else "update"}
    place = {"account": "main"} if is_private else {}
    return event(**(base | place | {"payload": PAYLOADS[event_class]} | changes))


# ── the files ─────────────────────────────────────────────────────────────────────────────────


def test_the_committed_files_are_current() -> None:
    """After a change of the models or the topology the files are made again and committed."""
    committed = {
        str(path.relative_to(CONTRACT)): path.read_bytes() for path in CONTRACT.rglob("*.json")
    }
    assert committed == render(Site()), "run make contract"


@pytest.mark.parametrize("name", schema_names())
def test_schemas_are_schemas_of_the_dialect_they_name(name: str) -> None:
    """Each is valid by its own meta-schema, and every reference stays inside the file."""
    schema = schema_of(name)
    jsonschema_rs.meta.validate(schema)
    text = json.dumps(schema)
    for reference in re.findall(r'"\$ref": "([^"]*)"', text):
        assert reference.removeprefix("#/definitions/") in schema["definitions"]
    assert "$defs" not in text
    assert "prefixItems" not in text


def test_every_class_has_payloads_and_a_version_that_is_written() -> None:
    """No class is forgotten, and the version is the one delivery writes."""
    assert set(FACTS) == set(EventClass)
    assert written.SCHEMA_VERSION == SCHEMA_VERSION


# ── the schemas ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "good",
    [
        event(),
        event(conflated=3),
        event(payload={"symbol": "BTCUSDT", "somethingNew": {"since": 2027}}),
        event(kind="gap", payload=GAP),
        event(kind="gap", payload=GAP | {"from_sequence": None, "to_sequence": None}),
        event(kind="resumed", payload={"reason": "restart", "complete": True, "detail": "x"}),
        fact("trade"),
        fact("orderbook"),
        fact("order"),
        fact("order", category=None, symbol=None, kind="gap", payload=GAP),
    ],
)
def test_what_is_delivered_is_valid(good: dict[str, Any]) -> None:
    """Facts, markers, conflated values and fields that Bybit adds later."""
    assert violations(good["event_type"], good) == []
    assert violations("envelope", good) == []


@pytest.mark.parametrize(
    ("bad", "place"),
    [
        (event(sequence=0), "sequence"),
        (event(conflated=0), "conflated"),
        (event(trace_id="no"), "trace_id"),
        (event(source="elsewhere"), "source"),
        (event(category="futures"), "category"),
        (event(account="main"), "account"),
        (event(timestamp=...), "timestamp"),
        (event(extra=1), "extra"),
        (event(schema=2), "schema"),
        (event(event_type="trade", kind="update"), "payload"),
        (event(payload={"symbol": "B", "markPrice": 1.5}), "markPrice"),
        (event(payload={"symbol": "B", "markPrice": "dear"}), "markPrice"),
        (event(payload={"markPrice": "1"}), "symbol"),
        (event(kind="gap", payload=GAP | {"reason": "none"}), "reason"),
        (event(kind="gap", payload=GAP | {"extra": 1}), "extra"),
        (event(kind="gap", payload=GAP, conflated=1), "conflated"),
        (fact("trade", conflated=1), "conflated"),
        (fact("order", conflated=1), "conflated"),
        (fact("order", account=None), "account"),
        (fact("trade", payload=[]), "payload"),
        (fact("orderbook", payload={"s": "B", "b": [["1", 2]], "a": [], "u": 1}), "payload/b/0/1"),
        (fact("orderbook", kind="update"), "kind"),
    ],
)
def test_what_must_not_be_delivered_is_not_valid(bad: dict[str, Any], place: str) -> None:
    """Each fault is found, and told by its place."""
    found = violations(bad["event_type"], bad)
    assert found
    assert place in " ".join(found)


# ── the AsyncAPI document ─────────────────────────────────────────────────────────────────────


@cache
def specification() -> jsonschema_rs.Validator:
    """Return the validator of AsyncAPI documents."""
    return jsonschema_rs.validator_for(json.loads(SPECIFICATION.read_text(encoding="utf-8")))


@pytest.mark.parametrize("queue_type", QueueType)
def test_the_document_is_asyncapi_3(queue_type: QueueType) -> None:
    """AsyncAPI's own schema finds no fault, whatever the kind of queues."""
    document = asyncapi(Site(queue_type=queue_type))
    assert [error.message for error in specification().iter_errors(document)] == []


def references(node: object) -> Iterator[str]:
    """Find every reference in a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere() -> None:
    """Inside the document, or to a schema beside it."""
    document = asyncapi(Site())
    files = render(Site())
    for reference in references(document):
        if reference.startswith("./"):
            assert reference.removeprefix("./") in files
            continue
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert node


def test_the_document_names_what_the_broker_has() -> None:
    """Exchange, queues and arguments are the topology's own, under the site's prefix."""
    names = Names("eu1")
    document = asyncapi(Site(prefix="eu1", queue_type=QueueType.STREAM, host="rabbit:5671"))
    channels = document["channels"]
    assert channels["events"]["bindings"]["amqp"]["exchange"]["name"] == names.exchange
    queues = {channels[name]["address"] for name in channels if name != "events"}
    assert queues == set(names.queues())
    assert channels["trade"]["x-queue-arguments"]["x-queue-type"] == "stream"
    assert document["servers"]["broker"]["host"] == "rabbit:5671"
    for name in EventClass:
        kinds = {one.value for one in FACTS[name][0]}
        assert kinds <= {one.value for one in Kind}
