"""What a stranger is told to type is run as it stands: every line, in the terminals it names."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from amqp_probe import free_ports
from support.programs import clean_environ
from support.site import Site

CHECKOUT = Path(__file__).resolve().parents[2]
READ_IN_TURN = [CHECKOUT / "docs" / name for name in ("quickstart.md", "http-api.md")]
TERMINALS = ("gateway", "exchange", "you")
PORTS = ("8080", "8899")


def scripts() -> dict[str, str]:
    """Join the blocks of each terminal; ports others may have are replaced by free ones."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in READ_IN_TURN)
    blocks = re.findall(r"^```(\S+) ?(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert {language for language, _, _ in blocks} == {"sh"}
    joined = dict.fromkeys(TERMINALS, "")
    for _, name, lines in blocks:
        joined[name] += lines
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    for name, lines in joined.items():
        for written, free in ports.items():
            assert not re.search(rf"\d{written}|{written}\d", lines)
            joined[name] = joined[name].replace(written, free)
    joined["gateway"] = f"export WSG_HTTP_PORT={ports['8080']}\n" + joined["gateway"]
    return joined


@asynccontextmanager
async def terminal(
    script: str, environ: dict[str, str], out: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a terminal's lines; what still runs at the end gets its Ctrl-C."""
    with out.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-e",
            "-u",
            "-o",
            "pipefail",
            "-c",
            script,
            cwd=CHECKOUT,
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # the whole foreground, as a terminal does
            os.killpg(process.pid, signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), 20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.timeout(240)
async def test_every_line_of_quickstart_and_http_api_does_what_it_says(
    site: Site, tmp_path: Path
) -> None:
    """Three terminals; the third's commands all succeed, and events are printed."""
    made = scripts()
    environ = clean_environ({**site.settings, "WSG_DATA_DIR": str(tmp_path / "data")})
    outs = {name: tmp_path / f"{name}.out" for name in TERMINALS}
    async with (
        terminal(made["gateway"], environ, outs["gateway"]),
        terminal(made["exchange"], environ, outs["exchange"]),
        terminal(made["you"], environ, outs["you"]) as you,
    ):
        code = await asyncio.wait_for(you.wait(), 180)
    told = {name: out.read_text(encoding="utf-8", errors="replace") for name, out in outs.items()}
    assert code == 0, told["you"]
    words = told["you"]
    assert words.count('"state":"active"') >= 2, words
    assert '"status":"ready"' in words
    assert words.count('"event_type": "order"') + words.count('"event_type":"order"') == 2, words
    assert "ws_gateway_events_received_total" in words
    assert re.search(r'"(deleted|removed)":\s*2', words), words
    assert '"code":"foreign_service"' in words, words
    assert '"field":"depth"' in words, words
    assert '"is_stored":true' in words, words
    assert words.count('"freshness"') == 2, words
    assert words.count("event: picture") == 1, words
    assert words.count('"channel":"trades"') >= 1
    assert '"event":"gateway.stopped"' in told["gateway"].replace(": ", ":"), told["gateway"]


def test_every_terminal_has_lines_and_no_other_block_is_left_untried() -> None:
    """A block without a terminal's name would be read by people and run by nobody."""
    assert all(lines.strip() for lines in scripts().values())
