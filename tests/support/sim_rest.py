"""Signed REST calls to the simulator, whose query is sent exactly as written."""

from __future__ import annotations

from typing import Any

import httpx

from bybit_sim import Simulator
from bybit_sim.signing import sign
from support.sim_client import KEY, SECRET


async def signed(
    sim: Simulator, path: str, query: str = "", *, http: httpx.AsyncClient | None = None
) -> httpx.Response:
    """GET a path of a simulator, signed."""
    stamp = str(sim.now_ms())
    headers = {
        "X-BAPI-API-KEY": KEY,
        "X-BAPI-TIMESTAMP": stamp,
        "X-BAPI-RECV-WINDOW": "5000",
        "X-BAPI-SIGN": sign(SECRET, f"{stamp}{KEY}5000{query}"),
    }
    url = httpx.URL(sim.rest_url + path, query=query.encode())
    if http is not None:
        return await http.get(url, headers=headers)
    async with httpx.AsyncClient() as own:
        return await own.get(url, headers=headers)


async def result_of(
    sim: Simulator, path: str, query: str = "", *, http: httpx.AsyncClient | None = None
) -> dict[str, Any]:
    """Return the `result` of a call that must succeed."""
    answer = (await signed(sim, path, query, http=http)).json()
    assert answer["retCode"] == 0, answer
    result: dict[str, Any] = answer["result"]
    return result


async def pages_of(
    sim: Simulator, path: str, query: str, *, most: int = 1_000
) -> list[list[dict[str, Any]]]:
    """Return every page of a list, cursors passed on byte for byte."""
    pages: list[list[dict[str, Any]]] = []
    cursor = ""
    async with httpx.AsyncClient() as http:
        while len(pages) < most:
            asked = f"{query}&cursor={cursor}" if cursor else query
            result = await result_of(sim, path, asked, http=http)
            pages.append(result["list"])
            cursor = result["nextPageCursor"]
            if not cursor:
                return pages
    raise AssertionError(f"{path} has more than {most} pages")
