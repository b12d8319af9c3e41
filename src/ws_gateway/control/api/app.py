"""The HTTP application: put together here, served by whoever embeds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI

from ws_gateway import __version__
from ws_gateway.control.api import balances as balance_endpoints
from ws_gateway.control.api import console as console_files
from ws_gateway.control.api import contract as contract_files
from ws_gateway.control.api import keys as key_endpoints
from ws_gateway.control.api import live, logs, metrics, probes, problems, queues, subscriptions
from ws_gateway.control.api.answers import document_edge
from ws_gateway.control.api.edge import Edge, OpenRequests
from ws_gateway.control.api.tracing import Tracing
from ws_gateway.control.balances import BalanceService
from ws_gateway.control.console.audience import Audience
from ws_gateway.control.console.pictures import Pictures, Sources
from ws_gateway.control.guard import Guard
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.keys import KeyService
from ws_gateway.control.metrics.metric import Meters
from ws_gateway.control.metrics.scrape import Scrape
from ws_gateway.control.operations import Operations
from ws_gateway.control.schemas import Problem
from ws_gateway.control.service import SubscriptionService
from ws_gateway.control.subscription_schemas import ServiceSetRequest, WishFields

DESCRIPTION = """
Ask for data of Bybit, and see what became of it.

What is subscribed here arrives in RabbitMQ, on the AMQP exchange `ws-gateway.events`. A topic that
several services want is subscribed once and dropped when the last of them leaves. Subscriptions
survive restarts. `GET /asyncapi.json` and `GET /schemas/{event_class}.json` say what arrives. A
page for people is at `/console`.

Everything below `/api` needs a key in the header `X-API-Key`: the administrator's of `WSG_API_KEY`,
or one made with it or with `ws-gateway keys create`. Each operation names the scope it needs;
`admin` stands for all. A key that is bound to services sees and changes their subscriptions alone:
another service's name is answered 403 (`foreign_service`), the id of its subscription 404. Every
error is an `application/problem+json` (RFC 9457) with a stable `code`, the `field` at fault, what
was `found`, what is `allowed`, and the `trace_id` of the request.

Send a W3C `traceparent` to go on with a trace of yours; every answer has one. HEAD is served where
GET is. Path and query may have 8 KiB, all headers 16 KiB, a body 64 KiB and 32 levels of nesting.

While PostgreSQL is away, writes are answered 503 with `Retry-After` and may be sent again without
harm; subscriptions are read from memory where that is known to be true, and the answer then has
`X-Served-From: memory`. While RabbitMQ is away, every call works, and events wait.
"""


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What the endpoints call."""

    subscriptions: SubscriptionService
    health: HealthReporter
    scrape: Scrape
    operations: Operations
    keys: KeyService
    balances: BalanceService
    audience: Audience
    contract: Mapping[str, bytes]


def create_app(
    *,
    subscriptions: SubscriptionService,
    health: HealthReporter,
    scrape: Scrape | None = None,
    operations: Operations,
    keys: KeyService,
    guard: Guard,
    audience: Audience | None = None,
    requests: OpenRequests | None = None,
    contract: Mapping[str, bytes] = MappingProxyType({}),
    balances: BalanceService | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        subscriptions: use cases behind `/api/v1/subscriptions`.
        health: what the probes answer.
        scrape: what `/metrics` answers; None tells of nothing but the health.
        operations: use cases of operators.
        keys: use cases of keys.
        guard: recognises who calls anything below `/api`.
        audience: lets people watch; None shows what the health tells.
        requests: counts what is being served, for whoever stops the gateway.
        contract: files to serve, by path: `asyncapi.json` and `schemas/{event_class}.json`.
        balances: use cases behind `/api/v1/balances`; None knows of no account.
    """
    app = _routed()
    scrape = scrape or Scrape(health, Meters())
    audience = audience or Audience(Pictures(Sources(health, meters=scrape.meters)))
    app.state.collaborators = Collaborators(
        subscriptions,
        health,
        scrape,
        operations,
        keys,
        balances or BalanceService((), operations.trail),
        audience,
        contract,
    )
    app.add_middleware(
        Edge,
        guard=guard,
        requests=requests or OpenRequests(),
        times=scrape.meters.requests,
    )
    app.add_middleware(Tracing)  # the last that is added is the outermost
    return app


def describe() -> dict[str, Any]:
    """Return the OpenAPI document; it needs nothing that runs."""
    return _routed().openapi()


class _DescribedApp(FastAPI):
    """An app whose document knows the shape of problems."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            document = super().openapi()
            _name_wishes(document)
            document["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
            schemas = {**live.shapes(), **document["components"]["schemas"]}
            document["components"]["schemas"] = dict(sorted(schemas.items()))
            document_edge(document)
        return super().openapi()


def _name_wishes(document: dict[str, Any]) -> None:
    """Describe a wish of a set under its name; what is judged later is described in place."""
    schemas = document["components"]["schemas"]
    wishes = schemas[ServiceSetRequest.__name__]["properties"]["subscriptions"]
    schemas[WishFields.__name__] = wishes["items"]
    wishes["items"] = {"$ref": f"#/components/schemas/{WishFields.__name__}"}
    document["components"]["schemas"] = dict(sorted(schemas.items()))


def _routed() -> FastAPI:
    app = _DescribedApp(
        title="ws-gateway",
        version=__version__,
        description=DESCRIPTION,
        # The ready-made pages load scripts from foreign hosts; the document itself stays.
        docs_url=None,
        redoc_url=None,
        # Generated clients get methods of these names.
        generate_unique_id_function=lambda route: route.name,
    )
    problems.register(app)
    app.include_router(subscriptions.router)
    app.include_router(subscriptions.sets)
    app.include_router(balance_endpoints.router)
    app.include_router(probes.guarded)
    app.include_router(queues.router)
    app.include_router(live.router)
    app.include_router(key_endpoints.router)
    app.include_router(key_endpoints.audit)
    app.include_router(logs.router)
    app.include_router(probes.router)
    app.include_router(metrics.router)
    app.include_router(contract_files.router)
    app.include_router(console_files.router)
    return app
