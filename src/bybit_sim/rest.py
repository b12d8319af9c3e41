"""The REST answers of this exchange, as pure functions of request and state (v5 reference 11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec

from bybit_sim.config import SimulatorConfig, SimulatorError
from bybit_sim.fault import Hook
from bybit_sim.faults import Faults
from bybit_sim.instruments import Instrument
from bybit_sim.key_terms import KEY_PATH
from bybit_sim.listing_rows import listing_row, spread_row
from bybit_sim.market import Market
from bybit_sim.party import Party, party_of_key
from bybit_sim.pulse import Pulse
from bybit_sim.rest_market import MarketDesk
from bybit_sim.signing import RestRefusal, check_rest
from bybit_sim.status import StatusBoard

_PAGE_LIMITS = {"instruments": (500, 1000), "spreads": (200, 500)}
_PARAMETER_ERROR = 10001
_TOO_MANY_VISITS = 10006

Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RestAnswer:
    """One HTTP answer; the body is JSON unless the headers say otherwise.

    Attributes:
        status: of HTTP.
        body: as sent.
        headers: beside those every answer has.
        delay_seconds: how much later it is sent; nonzero by a fault only.
    """

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0


class RestDesk:
    """Answers GET requests; `None` from `answer` means there is no such path."""

    def __init__(
        self,
        config: SimulatorConfig,
        market: Market,
        *,
        desk: MarketDesk,
        parties: Sequence[Party],
        status: StatusBoard,
        pulse: Pulse,
        faults: Faults,
    ) -> None:
        self._config = config
        self._parties = parties
        self._pulse = pulse
        self._status = status
        self._faults = faults
        self._market = market
        self._open: dict[str, Callable[[Query, int], RestAnswer]] = {
            "/v5/market/time": self._time,
            "/v5/market/instruments-info": self._instruments,
            "/v5/spread/instrument": self._spreads,
            "/v5/market/recent-trade": partial(_market_answer, desk.recent_trades),
            "/v5/spread/recent-trade": partial(_market_answer, desk.recent_spread_trades),
            "/v5/market/kline": partial(_market_answer, desk.candles),
            "/v5/market/orderbook": partial(_market_answer, desk.book),
            "/v5/system/status": self._notices,
        }
        self._guarded = frozenset({*parties[0].desk.answers, KEY_PATH})

    def answer(self, target: str, headers: Mapping[str, str]) -> RestAnswer | None:
        """Answer a GET.

        Args:
            target: path and query exactly as sent, because the query is signed as sent.
            headers: case-insensitive mapping.
        """
        path, _, query = target.partition("?")
        now_ns = int(self._config.clock() * 1e9) + int(self._pulse.skew_ms * 1e6)
        parsed = dict(parse_qsl(query, keep_blank_values=True))
        is_signed = path in self._guarded
        if not is_signed and path not in self._open:
            return None
        faults = self._faults.at(Hook.REST)
        refusal = self._refusal(path, query, headers, now_ns // 1_000_000)
        if refusal is not None:
            answer = _refused(refusal, now_ns // 1_000_000)
        elif is_signed:
            party = self._party(headers) or self._parties[0]
            answer = self._metered(party, path, parsed, query, now_ns // 1_000_000)
        else:
            answer = self._open[path](parsed, now_ns)
        delays = [fault.rest_delay(path, is_signed=is_signed) for fault in faults]
        return replace(answer, delay_seconds=max(delays)) if delays else answer

    def _refusal(
        self, path: str, query: str, headers: Mapping[str, str], now_ms: int
    ) -> RestRefusal | None:
        is_signed, refusal = path in self._guarded, None
        if is_signed:
            party = self._party(headers) or self._parties[0]
            refusal = check_rest(
                headers, query, now_ms, api_key=party.of.api_key, secret=party.of.api_secret
            ) or party.terms.refusal(path, dict(parse_qsl(query)), now_ms)
        for fault in self._faults.at(Hook.REST):
            refusal = fault.rest_refusal(path, is_signed=is_signed) or refusal
        return refusal

    def _party(self, headers: Mapping[str, str]) -> Party | None:
        return party_of_key(self._parties, headers.get("X-BAPI-API-KEY", ""))

    def _metered(self, party: Party, path: str, query: Query, raw: str, now_ms: int) -> RestAnswer:
        """Serve an authenticated call within its rate, with the headers that tell of it."""
        limit = self._config.rest_requests_per_second
        second, used = party.visits.get(path, (0, 0))
        if second != now_ms // 1000:
            second, used = now_ms // 1000, 0
        used += 1
        party.visits[path] = (second, used)
        over = used > limit
        if over:
            answer = _envelope(_TOO_MANY_VISITS, "Too many visits!", {}, now_ms)
        else:
            try:
                answer = _envelope(
                    0, "OK", self._answer_of(party, path)(query, raw, now_ms), now_ms
                )
            except SimulatorError as exc:
                answer = _refuse(str(exc), now_ms)
        reset = (second + 1) * 1000 if over else now_ms
        headers = {
            "X-Bapi-Limit": str(limit),
            "X-Bapi-Limit-Status": str(max(0, limit - used)),
            "X-Bapi-Limit-Reset-Timestamp": str(reset),
        }
        return RestAnswer(answer.status, answer.body, headers)

    def _answer_of(self, party: Party, path: str) -> Callable[[Query, str, int], dict[str, Any]]:
        return partial(self._key, party) if path == KEY_PATH else party.desk.answers[path]

    def _time(self, _query: Query, now_ns: int) -> RestAnswer:
        result = {"timeSecond": str(now_ns // 10**9), "timeNano": str(now_ns)}
        return _envelope(0, "OK", result, now_ns // 1_000_000)

    def _notices(self, query: Query, now_ns: int) -> RestAnswer:
        rows = [
            row
            for row in self._status.notices
            if query.get("id", row["id"]) == row["id"]
            and query.get("state", row["state"]) == row["state"]
        ]
        return _envelope(0, "", {"list": rows}, now_ns // 1_000_000)

    def _instruments(self, query: Query, now_ns: int) -> RestAnswer:
        now_ms = now_ns // 1_000_000
        category = query.get("category", "")
        if category not in {"spot", "linear", "inverse", "option"}:
            return _refuse("Illegal category", now_ms)
        # Options without a base coin are those of BTC (v5 reference 11.14).
        default_base = "BTC" if category == "option" and "symbol" not in query else None
        base = query.get("baseCoin", default_base)
        chosen = [
            each
            for each in self._market.instruments.values()
            if each.category == category
            and query.get("symbol", each.symbol) == each.symbol
            and base in {None, each.base}
            and query.get("status", "Trading") == "Trading"
        ]
        chosen.sort(key=_by_symbol)
        result: dict[str, Any] = {"category": category}
        if category == "spot":  # the one category without paging
            result["list"] = [listing_row(each) for each in chosen]
            return _envelope(0, "OK", result, now_ms)
        limit = _limit(query, "instruments")
        if limit is None:
            return _refuse("params error: limit", now_ms)
        page, cursor = _symbol_page(chosen, limit, query.get("cursor", ""))
        result |= {"list": [listing_row(each) for each in page], "nextPageCursor": cursor}
        return _envelope(0, "OK", result, now_ms)

    def _spreads(self, query: Query, now_ns: int) -> RestAnswer:
        """List spreads, as the official SDK reads them; the reference has no page of it."""
        now_ms = now_ns // 1_000_000
        limit = _limit(query, "spreads")
        if limit is None:
            return _refuse("params error: limit", now_ms)
        chosen = [
            each
            for each in self._market.instruments.values()
            if each.category == "spread"
            and query.get("symbol", each.symbol) == each.symbol
            and query.get("baseCoin", each.base) == each.base
        ]
        chosen.sort(key=_by_symbol)
        page, cursor = _symbol_page(chosen, limit, query.get("cursor", ""))
        rows = [spread_row(each) for each in page]
        return _envelope(0, "Success", {"list": rows, "nextPageCursor": cursor}, now_ms)

    def _key(self, party: Party, _query: Query, _raw: str, now_ms: int) -> dict[str, Any]:
        return party.terms.row(party.of.api_key, party.uid, now_ms)


def _by_symbol(instrument: Instrument) -> str:
    return instrument.symbol


def _market_answer(
    build: Callable[[Query, int], dict[str, Any]], query: Query, now_ns: int
) -> RestAnswer:
    now_ms = now_ns // 1_000_000
    try:
        return _envelope(0, "OK", build(query, now_ms), now_ms)
    except SimulatorError as exc:
        return _refuse(str(exc), now_ms)


def _limit(query: Query, what: str) -> int | None:
    default, most = _PAGE_LIMITS[what]
    text = query.get("limit", "") or str(default)
    return int(text) if text.isdecimal() and 1 <= int(text) <= most else None


def _symbol_page(chosen: list[Instrument], limit: int, cursor: str) -> tuple[list[Instrument], str]:
    """Cut a page; the cursor reads `first=A&last=B` and is handed out percent-encoded.

    A cursor that was encoded twice is not understood and yields the first page again, which is
    what clients report of the real one (v5 reference 11.1).
    """
    last = dict(parse_qsl(cursor)).get("last", "")
    rest = [each for each in chosen if each.symbol > last]
    page = rest[:limit]
    if len(rest) <= limit:
        return page, ""
    return page, quote(f"first={page[0].symbol}&last={page[-1].symbol}", safe="")


def _refused(refusal: RestRefusal, now_ms: int) -> RestAnswer:
    if refusal.is_html:
        page = f"<html><body><h1>{refusal.message}</h1></body></html>\n"
        return RestAnswer(refusal.status, page.encode(), {"Content-Type": "text/html"})
    answer = _envelope(refusal.code, refusal.message, {}, now_ms, status=refusal.status)
    if refusal.code != _TOO_MANY_VISITS:
        return answer
    reset = str((now_ms // 1000 + 1) * 1000)
    return replace(answer, headers={"X-Bapi-Limit-Reset-Timestamp": reset})


def _refuse(message: str, now_ms: int) -> RestAnswer:
    return _envelope(_PARAMETER_ERROR, message, {}, now_ms)


def _envelope(
    code: int, message: str, result: dict[str, Any], now_ms: int, *, status: int = 200
) -> RestAnswer:
    body = msgspec.json.encode(
        {
            "retCode": code,
            "retMsg": message,
            "result": result,
            "retExtInfo": {},
            "time": now_ms,
        }
    )
    return RestAnswer(status, body)
