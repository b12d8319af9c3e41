"""An account's lists over REST, page by page: orders, executions, positions."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ws_gateway.domain.event import Observation, Source
from ws_gateway.domain.private_list import Listing, ListPage, ListQuery
from ws_gateway.domain.topic import Category, Topic
from ws_gateway.venue.account_rest import AccountRest
from ws_gateway.venue.observations import private_fact
from ws_gateway.venue.rest import RestAway

_PATHS = {
    Listing.OPEN_ORDERS: ("/v5/order/realtime", "openOnly=0&limit=50"),
    Listing.RECENT_ORDERS: ("/v5/order/realtime", "openOnly=1&limit=50"),
    Listing.ORDER_HISTORY: ("/v5/order/history", "limit=50"),
    Listing.EXECUTIONS: ("/v5/execution/list", "limit=100"),
    Listing.POSITIONS: ("/v5/position/list", "limit=200"),
}
"""Where each list is, with the largest page (v5 reference 11.7 to 11.10)."""


class _Page(msgspec.Struct):
    rows: tuple[msgspec.Raw, ...] = msgspec.field(name="list", default=())
    cursor: str = msgspec.field(name="nextPageCursor", default="")


_decode_page = msgspec.json.Decoder(_Page).decode


class AccountLists:
    """Reads lists with the key of an account; every call may raise `VenueLost` and `Rejected`."""

    def __init__(
        self,
        rest: AccountRest,
        *,
        clock_us: Callable[[], int],
        new_trace_id: Callable[[], str],
    ) -> None:
        self._rest = rest
        self._clock_us = clock_us
        self._new_trace_id = new_trace_id

    async def time_ms(self) -> int:
        """Return the venue's time, as far as it can be measured."""
        return await self._rest.time_ms()

    async def page(self, query: ListQuery, cursor: str = "") -> ListPage:
        """Read one page; the cursor goes back as it came, already encoded."""
        path, text = _PATHS[query.listing]
        text = f"category={query.category}&{text}"
        if query.narrowed is not None:
            text += "&{}={}".format(*query.narrowed)
        if query.start is not None:
            text += f"&startTime={query.start}"
        if query.end is not None:
            text += f"&endTime={query.end}"
        if cursor:
            text += f"&cursor={cursor}"
        asked_at = self._clock_us()
        result, told_at = await self._rest.read(path, text)
        try:
            page = _decode_page(result)
        except msgspec.MsgspecError as exc:
            raise RestAway(f"an answer that cannot be read ({exc})") from exc
        read = (told_at, self._clock_us(), self._new_trace_id(), asked_at)
        return ListPage(page.rows, page.cursor, *read)

    def fact(self, topic: Topic, row: msgspec.Raw, page: ListPage, of: Category) -> Observation:
        """Make of a row the fact that the stream would have told.

        Raises:
            msgspec.DecodeError: it lacks what identity needs.
        """
        return private_fact(
            topic, row, page.told_at, page.received_at, page.trace_id, category=of,
            source=Source.REST,
        )  # fmt: skip
