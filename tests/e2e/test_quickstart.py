"""What a stranger is told to type is run as it stands: every line, in the terminals it names.

In a copy of the checkout without anything that was built: it makes its own `.venv`, RabbitMQ and
database, as it does after a clone. Not tried here: a slow or absent package index, `apt-get` and
Docker where no RabbitMQ is installed, other versions of Python, and the real exchange.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from amqp_probe import free_ports
from processes import find_processes
from rabbitmq_node import find_server
from support.programs import clean_environ
from support.site import Site

CHECKOUT = Path(__file__).resolve().parents[2]
READ_IN_TURN = [CHECKOUT / "docs" / name for name in ("quickstart.md", "http-api.md")]
TERMINALS = ("gateway", "exchange", "you")
PORTS = ("8080", "8899")
SETUP_SECONDS = 400.0
"""Far longer than it takes from the wheels of an index nearby, which is half a minute."""

OURS = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS", "SECONDS", "PYTHONPATH", "VIRTUAL_ENV")
"""What a `make test` leaves in the environment and a stranger does not have."""


@pytest.fixture
def clone() -> Iterator[Path]:
    """Copy what a clone would have, and nothing that git ignores; what runs in it ends after it.

    Its path is short for the sake of the database's socket.
    """
    ignored = (CHECKOUT / ".gitignore").read_text(encoding="utf-8").split()
    with tempfile.TemporaryDirectory(prefix="wsg-q-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "ws-gateway"
        patterns = (".git", *(one.rstrip("/") for one in ignored))
        shutil.copytree(CHECKOUT, copy, symlinks=True, ignore=shutil.ignore_patterns(*patterns))
        assert not (copy / ".venv").exists()
        assert not (copy / ".dev").exists()
        try:
            yield copy
        finally:
            subprocess.run(["make", "down"], cwd=copy, env=stranger(), check=True, timeout=120)
            assert find_processes("beam", folder) == []


def stranger() -> dict[str, str]:
    """Return an environment without settings of ours or of whoever runs the tests."""
    return {name: value for name, value in clean_environ({}).items() if name not in OURS}


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
    script: str, checkout: Path, environ: dict[str, str], out: Path
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
            cwd=checkout,
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
            await asyncio.wait_for(process.wait(), 60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.timeout(SETUP_SECONDS + 120)
async def test_from_a_clone_to_the_first_event_by_the_quickstart_alone(
    clone: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Three terminals at once; the third's commands all succeed, and events are printed."""
    made = scripts()
    environ = stranger()
    if find_server() is None:  # a broker is not looked for twice: it may have to be installed
        site: Site = request.getfixturevalue("site")
        environ |= {"WSG_AMQP_URL": site.amqp_url, "WSG_AMQP_PREFIX": site.prefix}
    outs = {name: tmp_path / f"{name}.out" for name in TERMINALS}
    async with (
        terminal(made["gateway"], clone, environ, outs["gateway"]),
        terminal(made["exchange"], clone, environ, outs["exchange"]),
        terminal(made["you"], clone, environ, outs["you"]) as you,
    ):
        code = await asyncio.wait_for(you.wait(), SETUP_SECONDS)
    told = {name: out.read_text(encoding="utf-8", errors="replace") for name, out in outs.items()}
    assert code == 0, "\n".join(f"{name}: {words[-3000:]}" for name, words in told.items())
    setups = [line for words in told.values() for line in words.splitlines() if "packages" in line]
    assert len(setups) == 1, "one of the terminals made the environment, the other waited"
    assert (clone / ".venv" / "bin" / "ws-gateway").exists()
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
    assert re.search(r"strategy-1.*revoked|revoked.*strategy-1", words), words
    assert '"event":"gateway.stopped"' in told["gateway"].replace(": ", ":"), told["gateway"]


def test_every_terminal_has_lines_and_no_other_block_is_left_untried() -> None:
    """A block without a terminal's name would be read by people and run by nobody."""
    assert all(lines.strip() for lines in scripts().values())
