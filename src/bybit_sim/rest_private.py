"""What signed REST calls tell of the account (v5 reference 11.6 to 11.10)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from bybit_sim import rest_pages
from bybit_sim.account import Account
from bybit_sim.config import SimulatorError
from bybit_sim.instruments import Instrument
from bybit_sim.ledger import Entry, Ledger
from bybit_sim.market import Market
from bybit_sim.order_rows import rest_order_row
from bybit_sim.orders import Order
from bybit_sim.private_rows import coin_row, rest_position_row, wallet_row

POSITIONS = "/v5/position/list"
REALTIME = "/v5/order/realtime"
HISTORY = "/v5/order/history"
EXECUTIONS = "/v5/execution/list"
_DAY_MS = 86_400_000
_WINDOW_MS = 7 * _DAY_MS
_CATEGORIES = frozenset({"spot", "linear", "inverse", "option"})
_ORDER_FILTERS = {"Order": True, "StopOrder": False, "tpslOrder": False, "OcoOrder": False,
                  "BidirectionalTpslOrder": False}  # fmt: skip
# default and most rows of a page
_LIMITS = {"positions": (20, 200), "orders": (20, 50), "executions": (50, 100)}

Query = Mapping[str, str]


class PageFaults(Protocol):
    """What meddles with pages; nearly always nothing does."""

    def rearrange(self, path: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of a page as they are sent."""
        ...

    def hides_row_of(self, path: str, changed_ms: int) -> bool:
        """Tell whether a list does not know yet of what changed at a time."""
        ...


class PrivateDesk:
    """Builds the `result` of signed calls.

    Every method takes the query decoded, the query as sent (cursors are compared as sent) and
    server time in milliseconds, and raises `SimulatorError` with the sentence of error 10001 when
    a parameter makes no sense.
    """

    def __init__(
        self, account: Account, ledger: Ledger, market: Market, faults: PageFaults
    ) -> None:
        """Look at an account.

        Args:
            account: whose.
            ledger: its past.
            market: what is listed.
            faults: what meddles with pages.
        """
        self._account = account
        self._ledger = ledger
        self._market = market
        self._faults = faults
        self.answers: dict[str, Callable[[Query, str, int], dict[str, Any]]] = {
            "/v5/account/wallet-balance": self._wallet,
            "/v5/account/info": self._info,
            POSITIONS: self._positions,
            REALTIME: self._open_orders,
            HISTORY: self._closed_orders,
            EXECUTIONS: self._executions,
        }

    def _wallet(self, query: Query, _raw: str, _now_ms: int) -> dict[str, Any]:
        if query.get("accountType") != "UNIFIED":
            raise SimulatorError("accountType only support UNIFIED.")
        account = self._account
        named = [coin for coin in query.get("coin", "").split(",") if coin]
        held = [coin for coin, balance in account.balances.items() if balance.wallet]
        row = wallet_row(account, ())
        row["coin"] = [coin_row(account, coin) for coin in named or held]
        return {"list": [row]}

    def _info(self, _query: Query, _raw: str, _now_ms: int) -> dict[str, Any]:
        return {
            "marginMode": "REGULAR_MARGIN",
            "updatedTime": "1644843230000",
            "unifiedMarginStatus": 6,  # unified account 2.0 Pro
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def _positions(self, query: Query, _raw: str, _now_ms: int) -> dict[str, Any]:
        category, symbol = query.get("category", ""), query.get("symbol")
        settle = query.get("settleCoin")
        if category not in _CATEGORIES - {"spot"}:
            raise SimulatorError("Illegal category")
        if category == "linear" and not symbol and not settle:
            raise SimulatorError(
                "Missing some parameters that must be filled in, symbol or settleCoin"
            )
        limit = _limit(query, "positions")
        if symbol:
            self._check_symbol(category, symbol)
            # In hedge mode the sides come in no order one may rely on: here the short one first.
            rows = self._account.positions_of(category, symbol)[::-1]
        else:
            rows = [
                each
                for each in self._account.open_positions(settle)
                if each.instrument.category == category
                and query.get("baseCoin", each.instrument.base) == each.instrument.base
            ]
        page = rest_pages.offset_page(rows, limit, query.get("cursor", ""))
        told = [rest_position_row(self._account, each) for each in page.rows]
        return {
            "list": self._faults.rearrange(POSITIONS, told),
            "nextPageCursor": page.cursor,
            "category": category,
        }

    def _open_orders(self, query: Query, raw: str, _now_ms: int) -> dict[str, Any]:
        account = self._account
        category = self._category(query)
        named = ("symbol", "baseCoin", "settleCoin", "orderId", "orderLinkId")
        if category == "linear" and not any(query.get(name) for name in named):
            raise SimulatorError(
                "Missing some parameters that must be filled in, symbol or settleCoin or baseCoin"
            )
        if query.get("openOnly", "0") not in {"0", "1", "2"}:
            raise SimulatorError("params error: openOnly")
        recent = list(account.recent_orders)
        if query.get("orderId") or query.get("orderLinkId"):
            source = recent + list(account.open_orders.values())
        elif query.get("openOnly", "0") == "0":
            source = list(account.open_orders.values())
        else:
            source = recent
        source.sort(key=_number, reverse=True)
        limit = _limit(query, "orders")
        wanted = self._order_filter(query, category)
        last = rest_pages.read_order_cursor(rest_pages.raw_cursor(raw))
        before = account.orders.get(last or "")
        rows = [
            each
            for each in source
            if wanted(each) and (before is None or each.number < before.number)
        ][:limit]
        # Recorded: even a page that is not full has a cursor; the page behind it is empty.
        cursor = rest_pages.order_cursor(rows[-1].order_id, spot=category == "spot") if rows else ""
        return self._orders(REALTIME, category, rows, cursor)

    def _closed_orders(self, query: Query, raw: str, now_ms: int) -> dict[str, Any]:
        category = self._category(query)
        start, end = _window(query, now_ms)
        limit = _limit(query, "orders")
        status = query.get("orderStatus")
        wanted = self._order_filter(query, category)
        before = rest_pages.read_token_cursor(rest_pages.raw_cursor(raw))
        rows: list[Order] = []
        for order in reversed(self._account.orders.values()):
            if before is not None and order.number >= before:
                continue
            if order.is_open or not start <= order.created_ms <= end or not wanted(order):
                continue
            if status not in {None, "", order.status}:
                continue
            if not order.filled and order.updated_ms < now_ms - _DAY_MS:
                continue  # kept for a day only
            if self._faults.hides_row_of(HISTORY, order.updated_ms):
                continue
            rows.append(order)
            if len(rows) == limit:
                break
        cursor = rest_pages.token_cursor(rows[-1].number) if len(rows) == limit else ""
        return self._orders(HISTORY, category, rows, cursor)

    def _orders(
        self, path: str, category: str, orders: Iterable[Order], cursor: str
    ) -> dict[str, Any]:
        rows = [rest_order_row(each) for each in orders]
        return {
            "list": self._faults.rearrange(path, rows),
            "nextPageCursor": cursor,
            "category": category,
        }

    def _executions(self, query: Query, raw: str, now_ms: int) -> dict[str, Any]:
        category = self._category(query)
        start, end = _window(query, now_ms)
        limit = _limit(query, "executions")
        kind = query.get("execType")
        if category == "option" and not query.get("symbol"):
            query = {"baseCoin": "BTC"} | dict(query)
        wanted = self._order_filter(query, category)
        entries = self._ledger.executions_of(category)
        before = rest_pages.read_execution_cursor(rest_pages.raw_cursor(raw))
        index = len(entries) if before is None else bisect_left(entries, before, key=_entry_number)
        chosen: list[Entry] = []
        while index > 0 and len(chosen) < limit:
            index -= 1
            entry = entries[index]
            if entry.order is None or entry.fill is None:
                raise LookupError(f"entry {entry.number} is no execution")
            if (
                start <= entry.time_ms <= end
                and kind in {None, "", entry.fill.kind}
                and wanted(entry.order)
                and not self._faults.hides_row_of(EXECUTIONS, entry.time_ms)
            ):
                chosen.append(entry)
        full = len(chosen) == limit
        rows = [entry.row for entry in chosen]
        for row in rows:
            del row["category"]
        return {
            "nextPageCursor": rest_pages.execution_cursor(chosen[-1].number) if full else "",
            "category": category,
            "list": self._faults.rearrange(EXECUTIONS, rows),
        }

    def _category(self, query: Query) -> str:
        category = query.get("category", "")
        if category not in _CATEGORIES:
            raise SimulatorError("Illegal category")
        if query.get("symbol"):
            self._check_symbol(category, query["symbol"])
        return category

    def _check_symbol(self, category: str, symbol: str) -> None:
        if not self._market.has(category, symbol):
            raise SimulatorError(f"params error: symbol invalid {symbol}")

    @staticmethod
    def _order_filter(query: Query, category: str) -> Callable[[Order], bool]:
        """Return what tells whether an order is asked for; an id is asked before all else."""
        order_id, link_id = query.get("orderId"), query.get("orderLinkId")
        symbol, base, settle = (
            query.get("symbol"), query.get("baseCoin"), query.get("settleCoin"),
        )  # fmt: skip
        has_any = _ORDER_FILTERS.get(query.get("orderFilter") or "Order", False)

        def wanted(order: Order) -> bool:
            instrument: Instrument = order.instrument
            if instrument.category != category or not has_any:
                return False
            if order_id:
                return order.order_id == order_id
            if link_id:
                return order.link_id == link_id
            if symbol:
                return instrument.symbol == symbol
            if base and instrument.base != base:
                return False
            return not settle or category == "spot" or instrument.settle == settle

        return wanted


def _number(order: Order) -> int:
    return order.number


def _entry_number(entry: Entry) -> int:
    return entry.number


def _limit(query: Query, what: str) -> int:
    default, most = _LIMITS[what]
    text = query.get("limit", "") or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise SimulatorError("params error: limit")
    return int(text)


def _window(query: Query, now_ms: int) -> tuple[int, int]:
    """Return the span of time asked for: at most seven days, the last seven without a word."""
    for name in ("startTime", "endTime"):
        if not (query.get(name, "") or "0").isdecimal():
            raise SimulatorError(f"params error: {name}")
    start, end = int(query.get("startTime") or 0), int(query.get("endTime") or 0)
    if not start and not end:
        return now_ms - _WINDOW_MS, now_ms
    start, end = start or end - _WINDOW_MS, end or start + _WINDOW_MS
    if start > end:
        raise SimulatorError("startTime should be less than endTime")
    if end - start > _WINDOW_MS:
        raise SimulatorError("The time range between startTime and endTime cannot exceed 7 days")
    return start, end
