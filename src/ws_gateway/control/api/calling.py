"""How an endpoint learns who calls it, and says which scope that takes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, SecurityScopes

from ws_gateway.control.access import require
from ws_gateway.control.api.problems import fields_of
from ws_gateway.control.guard import KEY_HEADER
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.errors import Rejected

MAX_NAME_CHARS = 64
"""Longest piece of a caller's own name of a parameter that is repeated to it."""

# Only documents the header: `Edge` refuses before a request comes this far.
_KEY = APIKeyHeader(
    name=KEY_HEADER,
    scheme_name="ApiKey",
    description="A key of `ws-gateway keys create`, or the administrator's of WSG_API_KEY.",
    auto_error=False,
)


async def _caller(
    request: Request, scopes: SecurityScopes, _key: Annotated[str | None, Security(_KEY)]
) -> Caller:
    """Answer who calls; whoever lacks a scope is refused before the request is judged.

    The use cases ask for the scope again: they are the law, this only says it early.
    """
    caller: Caller = request.state.caller
    for scope in scopes.scopes:
        require(caller, Scope(scope))
    _refuse_unknown_query(request)
    return caller


def _refuse_unknown_query(request: Request) -> None:
    """Take no typing error for a wish: `?wiat=5` would not wait, and nobody would know.

    Raises:
        Rejected: the query names what the endpoint does not know.
    """
    if not request.query_params:
        return
    known = _query_names(request.scope["route"])
    unknown = next((name for name in request.query_params if name not in known), None)
    if unknown is not None:
        raise Rejected(
            f"the query knows no {unknown[:MAX_NAME_CHARS]}",
            code="field_unknown",
            field=unknown[:MAX_NAME_CHARS],
            found=request.query_params[unknown],
            allowed=sorted(known),
        )


def _query_names(route: APIRoute) -> frozenset[str]:
    """Name what an endpoint takes in its query."""
    names: set[str] = set()
    for param in route.dependant.query_params:
        names.update(fields_of(param.field_info.annotation) or (param.alias,))
    return frozenset(names)


SubscriptionReader = Annotated[Caller, Security(_caller, scopes=[Scope.SUBSCRIPTIONS_READ.value])]
SubscriptionWriter = Annotated[Caller, Security(_caller, scopes=[Scope.SUBSCRIPTIONS_WRITE.value])]
BalanceReader = Annotated[Caller, Security(_caller, scopes=[Scope.BALANCES_READ.value])]
BalanceSyncer = Annotated[Caller, Security(_caller, scopes=[Scope.BALANCES_SYNC.value])]
Administrator = Annotated[Caller, Security(_caller, scopes=[Scope.ADMIN.value])]
