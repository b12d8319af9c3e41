"""The contract over HTTP: without a key, as the media types that its readers ask for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from support.callers import guarded
from support.contract import CONTRACT
from support.memory_keys import MemoryTrail
from ws_gateway.contract.asyncapi import Site
from ws_gateway.contract.files import render
from ws_gateway.control.api.app import create_app
from ws_gateway.control.balances import BalanceService


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that has nothing but the contract."""
    app = create_app(
        subscriptions=None,  # type: ignore[arg-type]
        health=None,  # type: ignore[arg-type]
        operations=None,  # type: ignore[arg-type]
        keys=None,  # type: ignore[arg-type]
        guard=guarded("k"),
        contract=render(Site(prefix="eu1")),
        balances=BalanceService((), MemoryTrail()),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        yield client


async def test_asyncapi_is_served_for_this_site(http: httpx.AsyncClient) -> None:
    """It names this gateway's exchange, and its references lead to schemas that are served."""
    answer = await http.get("/asyncapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.aai.asyncapi+json;version=3.0.0"
    document = answer.json()
    assert document["channels"]["trade"]["address"] == "eu1.trade"
    reference = document["components"]["messages"]["trade"]["payload"]["schema"]["$ref"]
    assert (await http.get(str(answer.url.join(reference)))).status_code == 200


@pytest.mark.parametrize("name", ["orderbook", "order", "quarantine", "envelope"])
async def test_schemas_are_the_committed_ones(http: httpx.AsyncClient, name: str) -> None:
    """What is served is what lies in docs/contract."""
    answer = await http.get(f"/schemas/{name}.json")
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.content == (CONTRACT / "schemas" / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", ["orderbooks", "..%2Fasyncapi", "schemas%2Ftrade"])
async def test_unknown_class_is_a_problem_that_names_those_there_are(
    http: httpx.AsyncClient, name: str
) -> None:
    """A wrong name is 404 and says what would be right."""
    answer = await http.get(f"/schemas/{name}.json")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.content)["status"] == 404


async def test_wrong_name_is_told_what_there_is(http: httpx.AsyncClient) -> None:
    """The detail lists the schemas."""
    body = (await http.get("/schemas/orderbooks.json")).json()
    assert body["code"] == "schema_not_found"
    assert "orderbook.json" in body["detail"]
