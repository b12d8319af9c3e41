"""The HTTP application: put together here, served by whoever embeds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Security
from fastapi.security import APIKeyHeader

from ws_gateway import __version__
from ws_gateway.control.api import balances as balance_endpoints
from ws_gateway.control.api import contract as contract_files
from ws_gateway.control.api import probes, problems, queues, subscriptions
from ws_gateway.control.api.edge import KEY_HEADER, Edge, OpenRequests
from ws_gateway.control.balances import BalanceService
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.schemas import Problem
from ws_gateway.control.service import SubscriptionService

DESCRIPTION = """
Ask for data of Bybit, and see what became of it.

What is subscribed here arrives in RabbitMQ, on the AMQP exchange `ws-gateway.events`. A topic that
several services want is subscribed once and dropped when the last of them leaves. Subscriptions
survive restarts. `GET /asyncapi.json` and `GET /schemas/{event_class}.json` say what arrives.

Everything below `/api` needs the key of `WSG_API_KEY` in the header `X-API-Key`. Every error is an
`application/problem+json` (RFC 9457) with a stable `code`, the `field` at fault, what was `found`
and what is `allowed`.
"""

# Only documents the header: `Edge` refuses before a request comes this far.
_KEY = APIKeyHeader(
    name=KEY_HEADER, scheme_name="ApiKey", description="The key of WSG_API_KEY.", auto_error=False
)


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What the endpoints call."""

    subscriptions: SubscriptionService
    health: HealthReporter
    contract: Mapping[str, bytes]
    balances: BalanceService


def create_app(
    *,
    subscriptions: SubscriptionService,
    health: HealthReporter,
    api_key: str | None,
    requests: OpenRequests | None = None,
    contract: Mapping[str, bytes] = MappingProxyType({}),
    balances: BalanceService | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        subscriptions: use cases behind `/api/v1/subscriptions`.
        health: what the probes answer.
        api_key: the administrator's key; None or empty refuses everything below `/api`.
        requests: counts what is being served, for whoever stops the gateway.
        contract: files to serve, by path: `asyncapi.json` and `schemas/{event_class}.json`.
        balances: use cases behind `/api/v1/balances`; None knows of no account.
    """
    app = _routed()
    app.state.collaborators = Collaborators(
        subscriptions, health, contract, balances or BalanceService(())
    )
    app.add_middleware(Edge, api_key=api_key, requests=requests or OpenRequests())
    return app


def describe() -> dict[str, Any]:
    """Return the OpenAPI document; it needs nothing that runs."""
    return _routed().openapi()


class _DescribedApp(FastAPI):
    """An app whose document knows the shape of problems."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        document = super().openapi()
        document["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
        return document


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
    app.include_router(subscriptions.router, dependencies=[Security(_KEY)])
    app.include_router(balance_endpoints.router, dependencies=[Security(_KEY)])
    app.include_router(probes.guarded, dependencies=[Security(_KEY)])
    app.include_router(queues.router, dependencies=[Security(_KEY)])
    app.include_router(probes.router)
    app.include_router(contract_files.router)
    return app
