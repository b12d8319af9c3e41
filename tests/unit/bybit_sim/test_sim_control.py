"""The control endpoint over HTTP, the command line as a process, and the manual's table."""

from __future__ import annotations

import asyncio
import socket as sockets
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bybit_sim import Simulator
from bybit_sim.fault import parameters_of
from bybit_sim.fault_table import example_of, markdown_table
from bybit_sim.faults import REGISTRY
from support.sim_client import LINEAR, PRIVATE, client_of, eventually, running

BOOK = "orderbook.50.BTCUSDT"
MANUAL = Path(__file__).resolve().parents[3] / "docs" / "simulator.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


@asynccontextmanager
async def controlled(**settings: Any) -> AsyncIterator[tuple[Simulator, httpx.AsyncClient]]:
    """Run a simulator with an HTTP client of it."""
    async with running(**settings) as sim, httpx.AsyncClient(base_url=sim.rest_url) as http:
        yield sim, http


async def test_faults_are_begun_listed_and_ended() -> None:
    """The life of a fault by HTTP: begun, seen with its parameters, ended."""
    async with controlled() as (sim, http):
        begun = await http.post("/sim/faults/stall", json={"topic": BOOK, "path": LINEAR})
        assert begun.status_code == 200
        row = begun.json()
        assert (row["name"], row["active"]) == ("stall", True)
        listing = (await http.get("/sim/faults")).json()
        assert [each["name"] for each in listing["faults"]] == list(REGISTRY)
        assert listing["active"] == [row]
        assert (await http.get("/sim/faults/stall")).json()["active"] == [row]
        assert (await http.get("/sim/faults/drop")).json()["active"] == []
        assert (await http.delete("/sim/faults/drop")).json() == {"ended": 0}
        assert (await http.delete("/sim/faults/stall")).json() == {"ended": 1}
        after = (await http.get("/sim/faults/stall")).json()
        assert (after["active"], after["hits"] >= row["hits"]) == ([], True)
        assert sim.faults.active == []


async def test_all_faults_are_ended_at_once() -> None:
    """Without a name everything ends."""
    async with controlled() as (sim, http):
        await http.post("/sim/faults/missing_pongs")
        await http.post("/sim/faults/clock_skew", json={"by_seconds": 5})
        assert (await http.delete("/sim/faults")).json() == {"ended": 2}
        assert sim.pulse.skew_ms == 0


async def test_a_fault_by_http_has_come_about_when_answered() -> None:
    """The answer to `drop` comes when the connections are gone."""
    async with controlled() as (sim, http), client_of(sim, LINEAR):
        row = (await http.post("/sim/faults/drop", json={})).json()
        assert (await http.get("/sim/faults/drop")).json()["hits"] == row["hits"]
        assert (row["active"], row["hits"]) == (False, 1)
        assert sim.connections == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_name_is_404_with_the_list(method: str) -> None:
    """Whoever mistypes sees what there is."""
    async with controlled() as (_, http):
        answer = await http.request(method, "/sim/faults/nope")
        assert answer.status_code == 404
        assert answer.json()["faults"] == list(REGISTRY)
        assert "'nope'" in answer.json()["error"]


@pytest.mark.parametrize(
    ("name", "body", "parameter"),
    [
        ("drop", '{"pth": 1}', "pth"),
        ("drop", '{"code": "soon"}', "code"),
        ("drop", '{"code": 1}', "code"),
        ("drop", '{"path": "/nowhere"}', "path"),
        ("update_gap", '{"probability": 2}', "probability"),
        ("update_gap", '{"count": 0}', "count"),
        ("update_gap", '{"topic": "nope"}', "topic"),
        ("stall", "{}", "topic"),
        ("stall", "", "topic"),
        ("login_refused", '{"reason": "mood"}', "reason"),
        ("late_acks", '{"delay_seconds": -1}', "delay_seconds"),
        ("late_acks", '{"delay_seconds": "inf"}', "delay_seconds"),
        ("clock_skew", '{"by_seconds": "nan"}', "by_seconds"),
        ("drop", "[1]", None),
        ("drop", "{not json", None),
    ],
)
async def test_a_bad_parameter_is_400_and_named(
    name: str, body: str, parameter: str | None
) -> None:
    """What is wrong is named, and nothing is begun."""
    async with controlled() as (sim, http):
        answer = await http.post(f"/sim/faults/{name}", content=body)
        assert answer.status_code == 400
        assert answer.json()["parameter"] == parameter
        assert str(parameter or "JSON") in answer.json()["error"]
        assert sim.faults.active == []


async def test_other_methods_and_paths() -> None:
    """What makes no sense is refused as HTTP has it."""
    async with controlled() as (_, http):
        assert (await http.put("/sim/faults/drop", json={})).status_code == 405
        assert (await http.post("/sim/state", json={})).status_code == 405
        assert (await http.post("/sim/faults", json={})).status_code == 405
        assert (await http.get("/sim/nope")).status_code == 404
        assert (await http.post("/v5/market/time", json={})).status_code == 400


async def test_a_body_may_come_in_pieces() -> None:
    """A request is understood however TCP cuts it."""
    async with running() as sim:
        body = b'{"by_seconds": 3}'
        head = b"POST /sim/faults/clock_skew HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        writer.transport.get_extra_info("socket").setsockopt(
            sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1
        )
        for at in range(0, len(head + body), 7):
            writer.write((head + body)[at : at + 7])
            await writer.drain()
            await asyncio.sleep(0.002)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
        assert sim.pulse.skew_ms == 3000


async def test_a_body_too_long_is_refused() -> None:
    """Nobody can fill the memory with a body."""
    async with running() as sim:
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        writer.write(
            b"POST /sim/faults/drop HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
        )
        async with asyncio.timeout(30):
            await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_state() -> None:
    """`/sim/state` shows connections with their topics, attempts and active faults."""
    async with controlled() as (sim, http), client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        await client.subscribe("order", "wallet")
        await sim.fault("missing_pongs")
        state = (await http.get("/sim/state")).json()
        assert state["connections"] == [
            {
                "conn_id": sim.connections[0].id,
                "path": PRIVATE,
                "authenticated": True,
                "account": "main",
                "deaf": False,
                "topics": ["order", "wallet"],
            }
        ]
        assert state["connection_attempts"] == {"total": 1, "last_300_seconds": 1}
        assert [each["name"] for each in state["active_faults"]] == ["missing_pongs"]
        assert state["seed"] == 7


@pytest.mark.parametrize("name", REGISTRY)
async def test_the_examples_of_the_manual_work(name: str) -> None:
    """Every example is accepted as it stands, and ended leaves nothing behind."""
    async with controlled() as (sim, http), client_of(sim, LINEAR):
        given: dict[str, Any] = {}
        for assignment in example_of(REGISTRY[name]):
            key, _, value = assignment.partition("=")
            given[key] = None if value == "null" else value
        answer = await http.post(f"/sim/faults/{name}", json=given)
        assert answer.status_code == 200, answer.text
        sim.clear_faults()
        assert sim.pulse.skew_ms == 0
        assert not any(stream.faults for stream in sim.broadcaster.streams_of(BOOK))


def test_every_parameter_is_described() -> None:
    """No fault has a parameter or a summary without words."""
    for kind in REGISTRY.values():
        assert all(each.description for each in parameters_of(kind))
        assert str(kind.__doc__).endswith(".")


def test_the_manual_has_the_registry() -> None:
    """The table of the manual is what `bybit-sim faults --markdown` prints."""
    text = MANUAL.read_text(encoding="utf-8")
    table = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert table == markdown_table()


async def command(*arguments: str) -> tuple[int | None, str, str]:
    """Run the command to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bybit_sim", *arguments, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(30):
        out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


async def test_command_line() -> None:
    """A fault is begun, shown and cleared by the command, with one sentence each."""
    async with running() as sim:
        url = ("--url", sim.rest_url)
        begun = await command("fault", "stall", f"topic={BOOK}", "duration_seconds=60", *url)
        assert begun == (0, "stall #1 goes on (hits: 2)\n", "")
        code, out, _ = await command("faults", *url)
        assert (code, out.partition(" topic=")[0]) == (0, "stall #1 (hits: 2)")
        assert await command("clear", "stall", *url) == (0, "1 ended\n", "")
        code, _, errors = await command("fault", "nope", *url)
        assert (code, errors.count("\n")) == (2, 1)
        assert errors.startswith("bybit-sim: no fault 'nope'; there are: drop")
        code, _, errors = await command("fault", "drop", "code=x", *url)
        assert code == 2
        assert "'code'" in errors
        code, _, errors = await command("fault", "drop", "code", *url)
        assert (code, errors) == (2, "bybit-sim: parameters are written key=value, not 'code'\n")
        begun = await command("fault", "maintenance", "products=[1]", "duration_seconds=0", *url)
        assert begun[0] == 0
        await eventually(lambda: not sim.faults.active)


async def test_command_line_without_a_simulator() -> None:
    """Nobody there is one sentence; the registry can be read all the same."""
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        code, _, errors = await command("fault", "drop", "--url", url)
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith(f"bybit-sim: no simulator answers at {url}")
    code, out, _ = await command("faults")
    assert code == 0
    assert all(name in out for name in REGISTRY)
    code, out, _ = await command("faults", "--markdown")
    assert (code, out.strip()) == (0, markdown_table())
