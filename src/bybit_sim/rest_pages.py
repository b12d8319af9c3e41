"""Pages of the signed lists, and cursors that are only good as they were handed out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import quote

Row = TypeVar("Row")


class Page(NamedTuple, Generic[Row]):
    """Rows of a page, and what to ask the next one with; "" if there is none."""

    rows: list[Row]
    cursor: str


def raw_cursor(query: str) -> str:
    """Return the cursor of a query as it was sent, not decoded; "" if there is none."""
    for part in query.split("&"):
        name, _, text = part.partition("=")
        if name == "cursor":
            return text
    return ""


def execution_cursor(number: int) -> str:
    """Write the cursor behind a row of executions, such as `132766%3A2%2C132766%3A2`."""
    return quote(f"{number}:2,{number}:2", safe="")


def read_execution_cursor(raw: str) -> int | None:
    """Return the number in a cursor; None if it is not, byte for byte, one that was handed out.

    One that was decoded or encoded once more is not understood, and yields the first page again,
    which is what clients report (v5 reference 11.1).
    """
    found = re.fullmatch(r"([0-9]+)%3A2%2C\1%3A2", raw)
    return int(found[1]) if found else None


def order_cursor(order_id: str, *, spot: bool) -> str:
    """Write the cursor behind an order: `page_args%3D<id>%26`, on spot the bare id."""
    return order_id if spot else quote(f"page_args={order_id}&", safe="")


def read_order_cursor(raw: str) -> str | None:
    """Return the order id in a cursor; None as above."""
    found = re.fullmatch(r"(?:page_args%3D([0-9A-Za-z-]+)%26|([0-9]+))", raw)
    return (found[1] or found[2]) if found else None


def token_cursor(number: int) -> str:
    """Write the cursor of a history, such as `page_token%3D39380%26`."""
    return quote(f"page_token={number}&", safe="")


def read_token_cursor(raw: str) -> int | None:
    """Return the number in a cursor; None as above."""
    found = re.fullmatch(r"page_token%3D([0-9]+)%26", raw)
    return int(found[1]) if found else None


def offset_page(rows: Sequence[Row], limit: int, cursor: str) -> Page[Row]:
    """Cut a page; the cursor reads `offset,limit` and is handed out percent-encoded."""
    start_text = cursor.partition(",")[0]
    start = int(start_text) if start_text.isdecimal() else 0
    end = start + limit
    following = quote(f"{end},{limit}", safe="") if end < len(rows) else ""
    return Page(list(rows[start:end]), following)
