"""Endpoints of `/api/v1/balances`."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from ws_gateway.control.api.answers import problems_of
from ws_gateway.control.api.calling import BalanceReader, BalanceSyncer
from ws_gateway.control.api.problems import RETRY_AFTER_SECONDS, problem
from ws_gateway.control.balance_schemas import (
    BalanceAnswer,
    BalanceList,
    BalanceQuery,
    Freshness,
    HistoryParameters,
    MarginAnswer,
    SyncAnswer,
    View,
    read_cursor,
    write_cursor,
)
from ws_gateway.control.balances import BalanceService
from ws_gateway.control.schemas import AccountName
from ws_gateway.errors import Rejected, VenueLost

router = APIRouter(prefix="/api/v1/balances", tags=["balances"])


def _service(request: Request) -> BalanceService:
    service: BalanceService = request.app.state.collaborators.balances
    return service


Service = Annotated[BalanceService, Depends(_service)]


@router.get("", summary="See the latest balances", responses=problems_of(422))
async def list_balances(
    query: Annotated[BalanceQuery, Query()], caller: BalanceReader, service: Service
) -> BalanceList:
    """Answer the newest of each coin that is known, also while PostgreSQL is away.

    `view=margin` answers the account's totals instead. `freshness` says how old it is: Bybit
    tells a coin when it changes, so an old balance may well be true; `POST /balances/sync` asks.
    Changes are heard only while somebody is subscribed to the channel `balance`: `is_followed`.
    """
    if query.view is View.MARGIN:
        margins = service.margins(caller, query.account)
        return BalanceList(
            items=[MarginAnswer.of(row) for row in margins.items],
            next_cursor=None,
            freshness=Freshness.of(margins, _now()),
        )
    after = None
    if query.cursor is not None:
        account, coin = read_cursor(query.cursor, (str, str))
        after = account, coin
    page = service.coins(caller, query.account, query.coins(), after=after, limit=query.limit)
    last = page.items[-1] if page.has_more else None
    return BalanceList(
        items=[BalanceAnswer.of(row) for row in page.items],
        next_cursor=None if last is None else write_cursor(last.account, last.coin),
        freshness=Freshness.of(page, _now()),
    )


@router.get(
    "/history",
    summary="See how balances came to be",
    responses=problems_of(422, 503),
)
async def list_balance_history(
    request: Request,
    query: Annotated[HistoryParameters, Query()],
    caller: BalanceReader,
    service: Service,
) -> BalanceList:
    """Answer every stored state between `from` and `to`, newest first unless `order=asc`.

    Without `account` it is that of the first account. How far it goes back is a setting,
    `WSG_BALANCE_RETENTION_MONTHS`.
    """
    wish = query.to_wish(request.query_params.get("from"))
    if query.view is View.MARGIN:
        margins = await service.margin_history(caller, wish)
        return BalanceList(
            items=[MarginAnswer.of(row) for row in margins.items],
            next_cursor=query.cursor_behind(margins),
            freshness=Freshness.of(margins, _now()),
        )
    page = await service.coin_history(caller, wish)
    return BalanceList(
        items=[BalanceAnswer.of(row) for row in page.items],
        next_cursor=query.cursor_behind(page),
        freshness=Freshness.of(page, _now()),
    )


@router.post(
    "/sync",
    summary="Read the balances from Bybit's REST now",
    response_model=SyncAnswer,
    responses={
        **problems_of(422, 503),
        502: {**problems_of(503)[503], "description": "Bybit refused; `detail` says what to do."},
    },
)
async def sync_balances(
    request: Request,
    caller: BalanceSyncer,
    service: Service,
    account: Annotated[AccountName | None, Query()] = None,
) -> SyncAnswer | Response:
    """Read, store and publish the account's balances, and answer what became of each coin.

    Whoever asks while a reading is under way gets its answer. 503 with `Retry-After` says that
    Bybit is away or asks to be left alone; 502 that it refused, and what to do about it.
    """
    try:
        return SyncAnswer.of(await service.sync(caller, account))
    except VenueLost as exc:
        wait = exc.retry_after_seconds
        return problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"Bybit's REST cannot be asked now: {exc.detail}",
            code="venue_away" if wait is None else "venue_busy",
            instance=request.url.path,
            headers={"Retry-After": str(math.ceil(wait or RETRY_AFTER_SECONDS))},
        )
    except Rejected as exc:
        if not exc.code.startswith("venue_"):
            raise
        return problem(HTTPStatus.BAD_GATEWAY, str(exc), code=exc.code, instance=request.url.path)


def _now() -> datetime:
    return datetime.now(UTC)
