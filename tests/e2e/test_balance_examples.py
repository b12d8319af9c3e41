"""The page about balances shows commands that work, and answers that come."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from support.programs import API_KEY, Gateway, clean_environ
from support.site import KEYS, Site

PAGE = Path(__file__).resolve().parents[2] / "docs" / "balances.md"
CALLS = {"", "/history", "/sync"}
"""Every endpoint there is, as the page has to show it."""


def blocks() -> list[tuple[str, str]]:
    """Take the page's blocks, each with its language, in order."""
    return re.findall(r"```(bash|json)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def assert_shape(shown: Any, answered: Any, place: str = "") -> None:
    """Insist that all that is shown is there, and of the same kind unless either is null."""
    if isinstance(shown, dict):
        assert isinstance(answered, dict), place
        assert set(shown) <= set(answered), f"{place}: {set(shown) - set(answered)} did not come"
        for name, value in shown.items():
            assert_shape(value, answered[name], f"{place}/{name}")
    elif isinstance(shown, list):
        assert isinstance(answered, list), place
        if shown:
            assert answered, f"{place} is empty"
            assert_shape(shown[0], answered[0], f"{place}[0]")
    elif None not in (shown, answered):
        assert isinstance(answered, type(shown)) or {type(shown), type(answered)} == {int, float}


async def run_as_written(script: str, gateway: Gateway) -> list[dict[str, Any]]:
    """Run commands of the page in one shell; answers what each `curl` that is shown said."""
    environ = {"WSG_API_URL": str(gateway.http.base_url).rstrip("/"), "WSG_API_KEY": API_KEY}
    shell = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", script,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=clean_environ(environ),
    )  # fmt: skip
    said, complaint = await asyncio.wait_for(shell.communicate(), 60)
    assert (shell.returncode, complaint) == (0, b""), complaint
    decoder, text, answers = json.JSONDecoder(), said.decode(), []
    while text:
        answer, end = decoder.raw_decode(text)
        answers.append(answer)
        text = text[end:].lstrip()
    return answers


async def test_every_balance_command_of_the_docs_answers_as_shown(site: Site) -> None:
    """Each block runs as it stands, behind the first, which names address and key."""
    keys: dict[str, Any] = {
        "api_key": KEYS["WSG_BYBIT_API_KEY"],
        "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
    }
    async with (
        site.venue(trade_every=0.2, **keys) as venue,
        site.gateway(venue.url, **KEYS) as gateway,
    ):
        await gateway.add("balance")
        assert (await gateway.http.post("/api/v1/balances/sync")).status_code == 200
        (language, names), *rest = blocks()
        assert language == "bash"
        answers: list[dict[str, Any]] = []
        for language, block in rest:
            if language == "json":
                assert_shape(json.loads(block), answers[-1])
                continue
            answers = await run_as_written(names + block, gateway)
            lines = [line for line in block.splitlines() if line.startswith("curl")]
            assert len(answers) == len(lines) > 0
            for line, answer in zip(lines, answers, strict=True):
                expected = re.search(r"# (\d+) (\w+)$", line)
                said = (str(answer.get("status", 200)), answer.get("code"))
                assert said == (expected.groups() if expected else ("200", None)), (line, answer)
                assert expected or answer.get("items") or answer.get("coins"), (line, answer)


async def test_the_docs_show_every_balance_endpoint(site: Site) -> None:
    """An endpoint that is added has to be shown, and none is shown that does not exist."""
    async with site.gateway("ws://127.0.0.1:9") as gateway:
        paths = (await gateway.http.get("/openapi.json")).json()["paths"]
    there = {path.removeprefix("/api/v1/balances") for path in paths if "/balances" in path}
    shown = set(re.findall(r'"\$api(/\w+)?["?]', "".join(block for _, block in blocks())))
    assert there == shown == CALLS
