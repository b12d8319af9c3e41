"""Endpoints that serve what consumers may rely on: no key is needed, and nothing secret is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from ws_gateway.control.api.answers import problems_of
from ws_gateway.control.api.problems import NotFound

ASYNCAPI_TYPE = "application/vnd.aai.asyncapi+json;version=3.0.0"
SCHEMA_TYPE = "application/schema+json"

router = APIRouter(tags=["contract"])


def _files(request: Request) -> Mapping[str, bytes]:
    files: Mapping[str, bytes] = request.app.state.collaborators.contract
    return files


Files = Annotated[Mapping[str, bytes], Depends(_files)]


@router.get(
    "/asyncapi.json",
    summary="What arrives at the broker",
    response_class=Response,
    responses={200: {"content": {ASYNCAPI_TYPE: {}}, "description": "AsyncAPI 3.0."}},
)
async def get_asyncapi(files: Files) -> Response:
    """Answer the AsyncAPI document: AMQP exchange, queues, and the message of each class."""
    return _file(files, "asyncapi.json", ASYNCAPI_TYPE)


@router.get(
    "/schemas/{event_class}.json",
    summary="What messages of a class look like",
    response_class=Response,
    responses={
        200: {"content": {SCHEMA_TYPE: {}}, "description": "JSON Schema, draft 7."},
        **{status: problems_of(404, 422)[status] for status in (404, 422)},
    },
)
async def get_schema(event_class: str, files: Files) -> Response:
    """Answer the JSON Schema of an event class, of `quarantine`, or of any `envelope`."""
    return _file(files, f"schemas/{event_class}.json", SCHEMA_TYPE)


def _file(files: Mapping[str, bytes], name: str, media_type: str) -> Response:
    if name not in files:
        known = sorted(each.rpartition("/")[2] for each in files if each.startswith("schemas/"))
        raise NotFound(f"there is no {name}; there are {', '.join(known)}", code="schema_not_found")
    return Response(files[name], media_type=media_type)
