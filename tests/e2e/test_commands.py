"""The commands a person types, each as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiormq
import pytest

from rabbitmq_node import PrivateNode
from support.amqp_names import queue_names
from support.programs import Program, run_command, until, until_gone
from support.site import Site

CLASSES = {"orderbook", "trade", "ticker", "kline", "order", "execution", "position", "balance"}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a unix socket below it."""
    with tempfile.TemporaryDirectory(prefix="wsg-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


async def _queues(url: str, names: list[str]) -> list[str]:
    """Answer which of these queues exist."""
    found = []
    connection = await aiormq.connect(url)
    try:
        for name in names:
            channel = await connection.channel()
            try:
                await channel.queue_declare(name, passive=True)
            except aiormq.exceptions.ChannelNotFoundEntity:
                continue
            found.append(name)
    finally:
        await connection.close()
    return found


@pytest.mark.xdist_group("dev_stack")
async def test_the_demo_shows_every_class_without_a_hole(
    own_broker: PrivateNode, short_folder: Path
) -> None:
    """It ends by itself with 0 and a summary, and leaves neither process nor queue.

    The broker is the test's own, because the demo's queues have fixed names.
    """
    settings = {
        "WSG_AMQP_URL": own_broker.url,
        "WSG_DATA_DIR": str(short_folder / "data"),
        "WSG_HTTP_PORT": "0",
    }
    program = Program("ws_gateway", ["demo", "--seconds", "8"], settings, short_folder)
    try:

        async def playing() -> bool:
            return "confirmed" in program.out.read_text(encoding="utf-8")

        await until(playing, seconds=60, what="the demo shows figures")
        family = program.descendants()
        assert len(family) >= 3  # the demo, the simulator, the gateway, its database
        code = await program.ended(30)
    finally:
        await program.kill()
    shown = program.out.read_text(encoding="utf-8")
    assert code == 0, shown + program.words
    assert program.words == ""
    assert "curl -s -X POST http://127.0.0.1:" in shown
    summary = shown.partition("\nsummary\n")[2]
    assert {line.split()[0] for line in summary.splitlines() if line.endswith("events")} == CLASSES
    assert "no stream has a hole" in summary
    assert "kept by examples/position_manager, as the exchange has them:" in summary
    await until_gone(family)
    assert await _queues(own_broker.url, queue_names("ws-gateway-demo")) == []


@pytest.mark.xdist_group("dev_stack")
@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGHUP, signal.SIGHUP]])
async def test_an_interrupted_demo_cleans_up(
    own_broker: PrivateNode, short_folder: Path, numbers: list[signal.Signals]
) -> None:
    """Ctrl-C or a closed terminal ends it with a summary, and leaves neither process nor queue."""
    settings = {
        "WSG_AMQP_URL": own_broker.url,
        "WSG_DATA_DIR": str(short_folder / "data"),
        "WSG_HTTP_PORT": "0",
    }
    program = Program("ws_gateway", ["demo"], settings, short_folder)
    try:

        async def playing() -> bool:
            return "confirmed" in program.out.read_text(encoding="utf-8")

        await until(playing, seconds=60, what="the demo shows figures")
        family = program.descendants()
        for number in numbers:
            program.process.send_signal(number)
        code = await program.ended(30)
    finally:
        await program.kill()
    assert code in {0, 1}  # 1 if it was too short for every class to show up
    assert "\nsummary\n" in program.out.read_text(encoding="utf-8")
    assert "Traceback" not in program.words
    await until_gone(family)
    assert await _queues(own_broker.url, queue_names("ws-gateway-demo")) == []


@pytest.mark.xdist_group("dev_stack")
async def test_a_demo_whose_broker_goes_ends_in_a_sentence(
    own_broker: PrivateNode, short_folder: Path
) -> None:
    """It goes on showing until its time is over, and then says what it could not clean up."""
    settings = {
        "WSG_AMQP_URL": own_broker.url,
        "WSG_DATA_DIR": str(short_folder / "data"),
        "WSG_HTTP_PORT": "0",
    }
    program = Program("ws_gateway", ["demo", "--seconds", "6"], settings, short_folder)
    try:

        async def playing() -> bool:
            return "confirmed" in program.out.read_text(encoding="utf-8")

        await until(playing, seconds=60, what="the demo shows figures")
        family = program.descendants()
        for pid in own_broker._node_pids():  # a stop takes as long as the demo
            os.kill(pid, signal.SIGKILL)
        code = await program.ended(30)
    finally:
        await program.kill()
    assert code == 2, program.words
    assert program.words.startswith("ws-gateway: WSG_AMQP_URL: ")
    assert len(program.words.splitlines()) == 1, program.words
    await until_gone(family)


async def test_tail_shows_events_without_taking_them(site: Site) -> None:
    """Its events are the ones the class queue's own consumer gets."""
    async with (
        site.venue() as venue,
        site.gateway(venue.url) as gateway,
        site.consumer("orderbook") as consumer,
    ):
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.add("orderbook", "BTCUSDT", category="spot")
        command = ["tail", "orderbook", "--json", "--category", "spot", "--count", "5"]
        code, out, err = await run_command(command, site.settings, site.folder)
        assert (code, err) == (0, "")
        tailed = [json.loads(line) for line in out.splitlines()]
        assert len(tailed) == 5
        assert {event["category"] for event in tailed} == {"spot"}
        newest = tailed[-1]["event_id"]
        await consumer.until(lambda event: event["event_id"] == newest)
        received = {event["event_id"] for event in consumer.events}
        assert {event["event_id"] for event in tailed} <= received
        code, out, err = await run_command(
            ["tail", "orderbook", "--count", "3"], site.settings, site.folder
        )
        assert (code, err) == (0, "")
        assert len(out.splitlines()) == 3
        assert all("BTCUSDT" in line for line in out.splitlines())


async def test_tail_ends_at_a_signal(site: Site) -> None:
    """Ctrl-C ends it with 0 and without a word more."""
    async with site.venue() as venue, site.gateway(venue.url) as gateway:
        await gateway.add("trades", "BTCUSDT", category="linear")
        program = Program("ws_gateway", ["tail", "trade"], site.settings, site.folder)
        try:

            async def showing() -> bool:
                return bool(program.out.read_text(encoding="utf-8"))

            await until(showing, seconds=30, what="tail shows an event")
            program.process.send_signal(signal.SIGINT)
            code = await program.ended()
        finally:
            await program.kill()
        assert (code, program.words) == (0, "")


async def test_tail_of_a_gateway_that_does_not_exist_names_the_prefix(site: Site) -> None:
    """There is no exchange of that name."""
    code, out, err = await run_command(["tail", "trade"], site.settings, site.folder)
    assert (code, out) == (2, "")
    assert err.startswith("ws-gateway: WSG_AMQP_PREFIX: ")
    assert len(err.splitlines()) == 1
