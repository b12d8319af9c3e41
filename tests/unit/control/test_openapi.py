"""The committed description of the API is the one the code has."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ws_gateway.control.api.app import describe
from ws_gateway.control.api.openapi import render
from ws_gateway.control.problem_codes import CODES
from ws_gateway.control.subscription_schemas import told_states
from ws_gateway.domain.audit import AuditAction
from ws_gateway.domain.caller import Scope
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.venue.account_rest import _CODE_AND_REMEDY

COMMITTED = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"
SOURCE = Path(__file__).resolve().parents[3] / "src" / "ws_gateway"
OF_THE_VENUE = {code for code, _ in _CODE_AND_REMEDY.values()}
FURTHER = {"field_missing", "field_unknown", "venue_refused"} | OF_THE_VENUE
INTERNAL = {"balance_refused"}  # among the rooms; no caller is answered with it
"""Codes that are looked up by the kind of fault."""


def test_the_committed_document_is_current() -> None:
    """After a change of the API the document is generated again and committed with it."""
    command = "python -m ws_gateway.control.api.openapi > docs/openapi.json"
    assert COMMITTED.read_text(encoding="utf-8") == render(), f"run: {command}"


def test_every_guarded_operation_documents_its_errors_and_key() -> None:
    """Each operation below /api names the key's scope and describes its errors as problems."""
    document = describe()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            if not path.startswith("/api"):
                assert "security" not in operation
                continue
            (required,) = operation["security"]
            assert list(required) == ["ApiKey"], (path, method)
            assert [Scope(scope) for scope in required["ApiKey"]], (path, method)
            assert {"401", "403", "500"} <= set(answers), (path, method)
            for status, answer in answers.items():
                if int(status) >= 400 and "$ref" in answer:
                    assert answer["$ref"] == f"#/components/responses/Problem{status}"
                elif int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)


def test_what_the_outermost_layer_answers_is_documented_everywhere() -> None:
    """Any request may be too large, too slow, or come while the gateway stops."""
    document = describe()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            known = set(operation["responses"])
            assert {"400", "408", "413", "414", "431", "500", "503"} <= known, (path, method)
    for answer in document["components"]["responses"].values():
        assert list(answer["content"]) == ["application/problem+json"]


def test_the_document_is_whole() -> None:
    """Each reference in it leads somewhere, and FastAPI's own error shape is not promised."""
    document = describe()
    assert "HTTPValidationError" not in document["components"]["schemas"]

    def references(node: object) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(value) for value in node.values()))
        if isinstance(node, list):
            return set().union(*(references(value) for value in node))
        return set()

    def resolve(reference: str) -> Any:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        return node

    for reference in references(document):
        assert resolve(reference)


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_no_page_loads_from_foreign_hosts(page: str) -> None:
    """Only the document is served; the ready-made pages fetch scripts from elsewhere."""
    assert page not in json.dumps(sorted(describe()["paths"]))


def test_exchange_means_only_the_brokers() -> None:
    """Where events leave is an AMQP exchange; where data come from is called Bybit."""
    words = json.dumps(describe()).split()
    for before, word in pairwise(words):
        if "exchange" in word.lower():
            assert before == "AMQP", f"{before} {word}"


def _codes(tree: ast.AST) -> Iterator[str]:
    """Find each code that a refusal is given in the source."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if getattr(node.func, "attr", "") == "_refusal" and node.args:
            yield from _constants(node.args[0])
        for keyword in node.keywords:
            if keyword.arg == "code":
                yield from _constants(keyword.value)


def _constants(node: ast.expr) -> Iterator[str]:
    for part in ast.walk(node):
        word = part.value if isinstance(part, ast.Constant) else None
        if isinstance(word, str) and re.fullmatch(r"[a-z]+(_[a-z]+)+", word):
            yield word


def test_every_code_of_a_problem_is_listed_and_explained() -> None:
    """Programs may tell all of them apart; none is listed that nothing answers."""
    found = set(FURTHER)
    for room in ("control", "domain", "storage"):
        for path in (SOURCE / room).rglob("*.py"):
            found.update(_codes(ast.parse(path.read_text(encoding="utf-8"))))
    assert found - INTERNAL == set(CODES)
    problem = describe()["components"]["schemas"]["Problem"]["properties"]["code"]
    assert problem["enum"] == list(CODES)
    assert all(f"`{code}`: " in problem["description"] for code in CODES)


def test_every_state_is_explained() -> None:
    """In the words of who asked, one by one."""
    told = describe()["components"]["schemas"]["SubscriptionAnswer"]["properties"]["state"]
    assert all(f"`{state}`: " in told["description"] for state in SubscriptionState)
    assert told_states() == told["description"]


def test_every_action_of_the_trail_is_listed() -> None:
    """Each is a word of the source, and one that nobody does is a typing error."""
    verbs = re.compile(r'"((?:connection|key|log_level|subscription)\.[a-z]+)"')
    words: set[str] = set()
    for room in ("control", "storage"):
        for path in (SOURCE / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            words.update(verbs.findall(text))
            words.update(AuditAction[name] for name in re.findall(r"AuditAction\.([A-Z_]+)", text))
    assert words == set(AuditAction)
