"""Endpoints of keys and of the audit trail: for administrators."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from ws_gateway.control.api.answers import problems_of
from ws_gateway.control.api.calling import Administrator
from ws_gateway.control.api.problems import NotFound
from ws_gateway.control.key_schemas import (
    AuditList,
    AuditQuery,
    IssuedKeyAnswer,
    KeyAnswer,
    KeyList,
    KeyQuery,
    KeyRequest,
    RotationRequest,
)
from ws_gateway.control.key_words import KEY_ID_PATTERN
from ws_gateway.control.keys import KeyService
from ws_gateway.control.operations import Operations

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])
audit = APIRouter(prefix="/api/v1/audit", tags=["audit"])


def _service(request: Request) -> KeyService:
    service: KeyService = request.app.state.collaborators.keys
    return service


def _operations(request: Request) -> Operations:
    operations: Operations = request.app.state.collaborators.operations
    return operations


Keys = Annotated[KeyService, Depends(_service)]
KeyId = Annotated[
    str, Path(pattern=KEY_ID_PATTERN, description="The readable part of the key, or `id`.")
]


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Make a key",
    response_description="Made. The key itself is told here and never again.",
    responses=problems_of(400, 413, 415, 422, 503),
)
async def create_key(
    body: KeyRequest, caller: Administrator, keys: Keys, response: Response
) -> IssuedKeyAnswer:
    """Make a key for a service or a person; only a digest of it is stored."""
    issued = await keys.create(
        caller,
        name=body.name,
        scopes=body.scopes,
        services=body.services,
        expires_in_seconds=body.expires_in_seconds,
    )
    response.headers["Location"] = f"{router.prefix}/{issued.key.id}"
    response.headers["Cache-Control"] = "no-store"
    return IssuedKeyAnswer.told(issued, _now())


@router.get("", summary="List keys", responses=problems_of(422, 503))
async def list_keys(
    query: Annotated[KeyQuery, Query()], caller: Administrator, keys: Keys
) -> KeyList:
    """List in order of creation, those that expired or were revoked included."""
    return KeyList.of(await keys.page(caller, after=query.after(), limit=query.limit), _now())


@router.get("/{key_id}", summary="See one key", responses=problems_of(404, 422, 503))
async def get_key(key_id: KeyId, caller: Administrator, keys: Keys) -> KeyAnswer:
    """Answer a key without its secret."""
    key = await keys.get(caller, key_id)
    if key is None:
        raise _unknown(key_id)
    return KeyAnswer.of(key, _now())


@router.delete(
    "/{key_id}",
    status_code=HTTPStatus.NO_CONTENT,
    summary="Revoke a key",
    responses=problems_of(404, 422, 503),
)
async def revoke_key(key_id: KeyId, caller: Administrator, keys: Keys) -> None:
    """Make a key worthless: here at once, in other gateways on this database within seconds."""
    if await keys.revoke(caller, key_id) is None:
        raise _unknown(key_id)


@router.post(
    "/{key_id}/rotation",
    status_code=HTTPStatus.CREATED,
    summary="Make a key's successor",
    response_description="Made. The new key itself is told here and never again.",
    responses=problems_of(400, 404, 413, 415, 422, 503),
)
async def rotate_key(
    key_id: KeyId,
    caller: Administrator,
    keys: Keys,
    response: Response,
    body: RotationRequest | None = None,
) -> IssuedKeyAnswer:
    """Make a key of the same name, scopes and services; the old one expires after the overlap.

    A key has one successor: rotating it again is refused with `key_rotated`, which names that one,
    until that one is revoked.
    """
    body = body or RotationRequest.model_validate({})
    issued = await keys.rotate(
        caller,
        key_id,
        overlap_seconds=body.overlap_seconds,
        expires_in_seconds=body.expires_in_seconds,
    )
    if issued is None:
        raise _unknown(key_id)
    response.headers["Location"] = f"{router.prefix}/{issued.key.id}"
    response.headers["Cache-Control"] = "no-store"
    return IssuedKeyAnswer.told(issued, _now())


@audit.get("", summary="See who changed what", responses=problems_of(422, 503))
async def list_audit(
    query: Annotated[AuditQuery, Query()],
    caller: Administrator,
    operations: Annotated[Operations, Depends(_operations)],
) -> AuditList:
    """List the changes that were made with keys or commands, newest first."""
    page = await operations.audit(
        caller, query.to_filter(), before=query.before(), limit=query.limit
    )
    return AuditList.of(page)


def _unknown(key_id: str) -> NotFound:
    return NotFound(f"there is no key {key_id}", code="key_unknown")


def _now() -> datetime:
    return datetime.now(UTC)
