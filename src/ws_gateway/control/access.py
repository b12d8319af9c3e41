"""What a caller may do: the rules, without a word of HTTP."""

from __future__ import annotations

from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.errors import Forbidden


def require(caller: Caller, scope: Scope) -> None:
    """Let pass who has a scope.

    Raises:
        Forbidden: `scope_missing`.
    """
    if not caller.has(scope):
        allowed = [scope.value] if scope is Scope.ADMIN else [scope.value, Scope.ADMIN.value]
        raise Forbidden(
            f"the key {caller.name!r} may not do this: it has no scope {scope}",
            code="scope_missing",
            found=", ".join(sorted(caller.scopes)),
            allowed=allowed,
        )


def require_service(caller: Caller, service: str) -> None:
    """Let pass who speaks for a service that the request names.

    A foreign thing that is named by its id alone is answered as if it did not exist, so that ids
    tell nothing; that is for the use case to do.

    Raises:
        Forbidden: `foreign_service`.
    """
    if not caller.speaks_for(service):
        raise Forbidden(
            f"the key {caller.name!r} does not speak for the service {service!r}",
            code="foreign_service",
            field="requesting_service",
            found=service,
            allowed=sorted(caller.services or ()),
        )
