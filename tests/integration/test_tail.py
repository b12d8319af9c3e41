"""`ws-gateway tail` as a person runs it: a process beside the gateway and its consumers."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.contract import assert_envelope
from support.delivery_rig import TICKER, TRADES, Rig, consuming, delivering, eventually, now_us
from support.programs import Program, clean_environ, run_command
from support.proxy import TcpProxy, address, through
from ws_gateway.delivery.quarantine import Quarantine
from ws_gateway.domain.topic import Category, Topic, parse_topic

OPTION = parse_topic("tickers.XRP-30OCT26-0.4-P-USDT", Category.OPTION)
OTHER_OPTION = parse_topic("tickers.XRP-30OCT26-0.5-P-USDT", Category.OPTION)
SECONDS = 60.0


@dataclass
class Stand:
    """A gateway's delivery that sends a little all the time, and the folder of the programs."""

    rig: Rig
    environ: dict[str, str]
    folder: Path
    topics: list[Topic] = field(default_factory=lambda: [TRADES])
    payload: bytes = b"[]"

    async def trickle(self) -> None:
        """Feed every topic again and again, until cancelled."""
        while True:
            for topic in self.topics:
                self.rig.feed(1, topic, payload=self.payload)
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def tailing(self, *arguments: str, lines: int = 3) -> AsyncIterator[Program]:
        """Run `tail` until it has printed some lines; it is killed at the end of the block."""
        program = Program("ws_gateway", ["tail", *arguments], self.environ, self.folder)
        try:
            await eventually(lambda: len(printed(program)) >= lines, SECONDS)
            yield program
        finally:
            await program.kill()


@pytest.fixture
async def stand(amqp_url: str, amqp_prefix: str, tmp_path: Path) -> AsyncIterator[Stand]:
    """Delivery with a trickle of events."""
    async with delivering(amqp_url, amqp_prefix) as rig:
        await rig.until_ready()
        stand = Stand(rig, {"WSG_AMQP_URL": amqp_url, "WSG_AMQP_PREFIX": amqp_prefix}, tmp_path)
        trickle = asyncio.create_task(stand.trickle())
        try:
            yield stand
        finally:
            trickle.cancel()
            await asyncio.gather(trickle, return_exceptions=True)
            await rig.until_delivered()


def printed(program: Program) -> list[str]:
    """Return the whole lines printed so far."""
    return program.out.read_text().split("\n")[:-1]


def envelopes(program: Program) -> list[dict[str, Any]]:
    """Return the envelopes printed so far."""
    found = [json.loads(line) for line in printed(program)]
    for envelope in found:
        assert_envelope(envelope)
    return found


async def test_tail_takes_nothing_from_the_queue_and_stops_at_sigterm(
    stand: Stand, amqp_url: str
) -> None:
    """The class's consumer counts every event although tail prints them; SIGTERM ends it with 0."""
    async with consuming(amqp_url, stand.rig.names.queue("trade")) as consumer:
        async with stand.tailing("trade", lines=10) as program:
            seen = consumer.checked()
            assert seen.problems == []
            program.process.send_signal(signal.SIGTERM)
            assert await program.ended() == 0
            assert program.words == ""
            assert all("BTCUSDT" in line and "linear" in line for line in printed(program))
        expected = stand.rig.counters.confirmed
        await eventually(lambda: len(consumer.facts) >= expected)
    assert consumer.checked().problems == []
    assert consumer.checked().repeats == 0


async def test_json_lines_are_whole_envelopes_in_order(stand: Stand) -> None:
    """Each line is one envelope as the consumers get it, even if the payload has line breaks."""
    stand.payload = b'[{\n "p": "0.10"}\n]'
    async with stand.tailing("trade", "--json", lines=5) as program:
        shown = envelopes(program)
    assert [one["payload"] for one in shown if one["kind"] == "snapshot"][-1] == [{"p": "0.10"}]
    numbers = [one["sequence"] for one in shown]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_symbol_with_dots_can_be_named(stand: Stand) -> None:
    """An option's symbol is given as the venue writes it, and no other is shown."""
    stand.topics = [OPTION, OTHER_OPTION, TICKER]
    async with stand.tailing("ticker", "--json", "--symbol", str(OPTION.symbol)) as program:
        assert {one["symbol"] for one in envelopes(program)} == {OPTION.symbol}
        assert {one["category"] for one in envelopes(program)} == {"option"}


async def test_category_chooses(stand: Stand) -> None:
    """Only events of the named category are shown."""
    stand.topics = [OPTION, TICKER]
    async with stand.tailing("ticker", "--json", "--category", "linear") as program:
        assert {one["category"] for one in envelopes(program)} == {"linear"}


async def test_count_ends_it(stand: Stand) -> None:
    """After so many events it ends by itself."""
    code, out, err = await run_command(
        ["tail", "trade", "--count", "3"], stand.environ, stand.folder
    )
    assert (code, len(out.splitlines()), err) == (0, 3, "")


async def test_quarantined_frames_can_be_watched(stand: Stand) -> None:
    """The class `quarantine` shows reason, origin and size of what could not be read."""
    quarantine = Quarantine(
        stand.rig.publisher,
        counters=stand.rig.counters,
        clock_us=now_us,
    )

    async def spoil() -> None:
        while True:
            quarantine.quarantine(
                reason="malformed",
                origin="linear",
                detail="no",
                raw=b"\xff",
                trace_id="0af7651916cd43dd8448eb211c80319c",
            )
            await asyncio.sleep(0.02)

    spoiling = asyncio.create_task(spoil())
    try:
        async with stand.tailing("quarantine") as program:
            assert "malformed  linear  1 bytes  no" in printed(program)[0]
    finally:
        spoiling.cancel()
        await asyncio.gather(spoiling, return_exceptions=True)


async def test_reader_that_has_enough_ends_it_quietly(stand: Stand) -> None:
    """`tail … | head -1` prints one line and nothing about a broken pipe."""
    command = f"{shlex.quote(sys.executable)} -m ws_gateway tail trade --json | head -1"
    process = await asyncio.create_subprocess_shell(
        command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environ(stand.environ),
        cwd=stand.folder,
    )
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    assert json.loads(out)["event_type"] == "trade"
    assert err == b""


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"WSG_AMQP_PREFIX": "nobody"}, ["WSG_AMQP_PREFIX", "nobody.events"]),
        ({"WSG_AMQP_URL": "amqp://guest:s3cret@127.0.0.1:1/"}, ["WSG_AMQP_URL", "refused"]),
        ({"WSG_AMQP_URL": "{url}no-such-vhost"}, ["WSG_AMQP_URL", "no-such-vhost not found"]),
    ],
)
async def test_refusal_is_one_sentence(
    amqp_url: str, tmp_path: Path, settings: dict[str, str], words: list[str]
) -> None:
    """A missing exchange, broker or virtual host ends in one sentence and exit code 2."""
    settings = {name: value.replace("{url}", amqp_url) for name, value in settings.items()}
    code, out, err = await run_command(
        ["tail", "trade"], {"WSG_AMQP_URL": amqp_url, **settings}, tmp_path
    )
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    for word in words:
        assert word in err
    assert "s3cret" not in err
    assert "object at 0x" not in err


async def test_broker_lost_meanwhile_ends_it_with_a_sentence(
    stand: Stand, amqp_url: str, open_proxy: Callable[[str, int], Awaitable[TcpProxy]]
) -> None:
    """When the connection goes away it says so and exits 2, without a traceback."""
    proxy = await open_proxy(*address(amqp_url, 5672))
    stand.environ["WSG_AMQP_URL"] = through(amqp_url, proxy)
    async with stand.tailing("trade") as program:
        await proxy.cut()
        assert await program.ended() == 2
        (sentence,) = program.words.strip().splitlines()
        assert "lost" in sentence
