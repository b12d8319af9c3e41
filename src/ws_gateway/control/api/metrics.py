"""The endpoint that Prometheus scrapes: no key is needed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from ws_gateway.control.metrics.scrape import CONTENT_TYPE, Scrape

router = APIRouter(tags=["health"])


def _scrape(request: Request) -> Scrape:
    scrape: Scrape = request.app.state.collaborators.scrape
    return scrape


@router.get(
    "/metrics",
    summary="Everything as numbers",
    response_class=Response,
    responses={200: {"content": {CONTENT_TYPE: {}}, "description": "Prometheus text format."}},
)
async def get_metrics(scrape: Annotated[Scrape, Depends(_scrape)]) -> Response:
    """Answer every metric, all read at one instant; `docs/metrics.md` says what they are."""
    return Response(await scrape.text(), media_type=CONTENT_TYPE)
