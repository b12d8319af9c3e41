"""Answers of the real REST, and those of its documentation, read as the gateway reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.http_stage import answer, answering
from ws_gateway.config import BybitEnvironment
from ws_gateway.domain.category import detect_category
from ws_gateway.domain.topic import Category
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.maintenance import read_notice
from ws_gateway.venue.rest import BybitRest, RestRefused

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
FIXTURES = SHARED / "fixtures"

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(
        not FIXTURES.is_dir(),
        reason=f"the recorded answers do not lie beside the checkout ({SHARED})",
    ),
]


def text_of(path: Path) -> str:
    """Read a fixture."""
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", sorted(FIXTURES.glob("rest/instruments-info.*.json")), ids=lambda path: path.stem
)
async def test_every_list_is_read(path: Path) -> None:
    """Each row of each category has a symbol, and the shapes know the category of nearly all."""
    body = json.loads(text_of(path))
    body["result"]["nextPageCursor"] = ""  # one page was kept
    category = Category(path.name.split(".")[1])
    async with answering(answer(json.dumps(body))) as stage, BybitRest(stage.url) as rest:
        rows = await rest.instruments(category)
    assert [row.symbol for row in rows] == [row["symbol"] for row in body["result"]["list"]]
    assert all(row.base_coin for row in rows)
    for row in rows:
        assert detect_category(row.symbol, category).category is category


async def test_the_time_is_read() -> None:
    """Nanoseconds in a text become ms."""
    path = FIXTURES / "rest" / "market-time.doc.json"
    async with answering(answer(text_of(path))) as stage, BybitRest(stage.url) as rest:
        nano = json.loads(text_of(path))["result"]["timeNano"]
        assert await rest.server_time_ms() == int(nano) // 1_000_000


async def test_the_echo_of_a_wrong_signature_is_cut_out() -> None:
    """10004 repeats what was signed, with the key in it."""
    body = text_of(FIXTURES / "rest" / "error.10004.sign.2023-testnet.json")
    key = "dBW7d0xxu8cbXUl5vq"
    assert key in body
    async with answering(answer(body)) as stage, BybitRest(stage.url) as rest:
        with pytest.raises(RestRefused) as caught:
            await rest.key_information(Credentials("another", "secret"), 0)
    assert caught.value.ret_code == 10004
    assert key not in str(caught.value)
    assert "error sign" in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        *sorted(FIXTURES.glob("rest/system-status.*.json")),
        *sorted(FIXTURES.glob("public/misc-status/system.status.*.json")),
    ],
    ids=lambda path: path.parent.name,
)
def test_every_notice_is_read(path: Path) -> None:
    """Rows of REST and of the stream are of one shape; each concerns one environment."""
    body = json.loads(path.read_text())
    rows = body["data"] if "data" in body else body["result"]["list"]
    assert rows
    for row in rows:
        of = [read_notice(row, each) for each in (BybitEnvironment.MAINNET, BybitEnvironment.DEMO)]
        (notice, *_) = [each for each in of if each is not None]
        assert notice.id == row["id"]
        assert notice.begins_at is not None
        assert notice.ends_at is not None
        assert notice.begins_at <= notice.ends_at
