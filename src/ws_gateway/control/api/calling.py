"""How an endpoint learns who calls it, and says which scope that takes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, SecurityScopes

from ws_gateway.control.access import require
from ws_gateway.control.guard import KEY_HEADER
from ws_gateway.domain.caller import Caller, Scope

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
    return caller


SubscriptionReader = Annotated[Caller, Security(_caller, scopes=[Scope.SUBSCRIPTIONS_READ.value])]
SubscriptionWriter = Annotated[Caller, Security(_caller, scopes=[Scope.SUBSCRIPTIONS_WRITE.value])]
BalanceReader = Annotated[Caller, Security(_caller, scopes=[Scope.BALANCES_READ.value])]
BalanceSyncer = Annotated[Caller, Security(_caller, scopes=[Scope.BALANCES_SYNC.value])]
Administrator = Annotated[Caller, Security(_caller, scopes=[Scope.ADMIN.value])]
