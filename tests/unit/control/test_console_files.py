"""The page: our own files alone, nothing inline, nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from support.memory_gateway import Gateway
from ws_gateway.control.api.console import TYPES, files
from ws_gateway.control.metrics.reading import REFUSED
from ws_gateway.control.remedies import REMEDIES
from ws_gateway.domain.topic import Channel

NAMESPACE = "http://www.w3.org/2000/svg"


async def fetched(path: str, **headers: str) -> httpx.Response:
    """Ask without a key."""
    gateway = Gateway()
    async with gateway.http as http:
        return await http.get(path, headers=headers)


def text(name: str) -> str:
    """Return a file of the page."""
    return files()[name][0].decode()


@pytest.mark.parametrize("path", ["/console", "/console/"])
async def test_the_page_needs_no_key_and_lets_nothing_in(path: str) -> None:
    """Its policy allows our own files only: no inline script, no markup from text, no frame."""
    answer = await fetched(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    for room in ("script-src", "style-src", "img-src", "connect-src"):
        assert policy[room] == "'self'"
    for nothing in ("base-uri", "form-action", "frame-ancestors"):
        assert policy[nothing] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_every_file_is_served_with_its_type_and_told_apart_from_older_ones() -> None:
    """After an update a browser gets the new files; what it has is not sent again."""
    for name in files():
        answer = await fetched(f"/console/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == TYPES["." + name.rpartition(".")[2]]
        assert answer.headers["cache-control"] == "no-cache"
        again = await fetched(f"/console/{name}", **{"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2f__init__.py", "%2e%2e/schemas.py"])
async def test_nothing_else_can_be_fetched(name: str) -> None:
    """A name that is no file of the page is a problem."""
    answer = await fetched(f"/console/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_file_names_an_outside_host_or_hides_code_in_markup() -> None:
    """No CDN, no tracker, no inline script, style or handler; no text is ever made markup."""
    for name, (content, _) in files().items():
        words = content.decode().replace(NAMESPACE, "")
        assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", words), name
        for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert danger not in words, name
    page = text("index.html")
    assert not re.search(r"<script(?![^>]* src=)", page)
    assert not re.search(r"\s(style|on[a-z]+)=", page)
    assert "<style" not in page
    assert set(re.findall(r'(?:src|href)="([^"#]+)"', page)) == {
        "/console/icon.svg",
        "/console/console.css",
        "/console/console.js",
        "/health",
    }


def test_the_key_is_kept_in_the_tab_alone() -> None:
    """Neither in a cookie nor where it would outlive the tab, nor in an address."""
    for name, (content, _) in files().items():
        words = content.decode()
        assert "localStorage" not in words, name
        assert "document.cookie" not in words, name
        assert "indexedDB" not in words, name
    assert "sessionStorage" in text("stream.js")


def test_the_form_offers_every_channel_there_is() -> None:
    """A channel that is added has to be in the form."""
    found = re.search(r"const CHANNELS = \{(.*?)\n\};", text("wishes.js"), re.DOTALL)
    assert found is not None
    offered = set(re.findall(r"^  (\w+): \[", found[1], re.MULTILINE))
    assert offered == {channel.value for channel in Channel}


def test_every_reason_has_a_remedy() -> None:
    """Whatever `/health` may say, the page says what to do about it."""
    gateway = Path(__file__).resolve().parents[3] / "src" / "ws_gateway"
    told = [gateway / "control" / name for name in ("health.py", "reasons.py", "endpoints.py")]
    told += (gateway / "account").glob("*.py")
    sources = "".join(file.read_text() for file in told)
    codes = set(re.findall(r'(?:Reason|AccountProblem)\(\s*"(\w+)"', sources))
    codes |= {reason for reason in REFUSED if reason != "balance_refused"}  # told by quarantine
    codes |= {"broker_blocked", "broker_lost", "login_refused", "connection_not_streaming"}
    codes |= {"capacity_near", "no_consumer", "slow_consumer", "refusing"}
    assert len(codes) > 15
    assert codes == set(REMEDIES)


def test_the_documents_say_the_same_of_every_reason() -> None:
    """Its table names each code that has a remedy, and no other."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "operations.md").read_text("utf-8")
    table = text.partition("| reason | what to do |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(REMEDIES)
