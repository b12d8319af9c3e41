"""SIGTERM: intake stops, buffers drain, confirms are awaited, the process is gone in time."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest

from support.programs import STOP_SECONDS, Gateway, Program, crowd, until, until_gone
from support.proxy import TcpProxy, address, through
from support.relay import relay_to, to_postgres
from support.site import Site

OpenProxy = Callable[[str, int], Awaitable[TcpProxy]]

SYMBOLS = 6


async def _subscribe(gateway: Gateway, *, least_received: int) -> None:
    """Put it under load and wait until so much came."""
    for number in range(1, SYMBOLS + 1):
        for channel in ("orderbook", "trades"):
            await gateway.add(channel, f"SIM{number:04}USDT", category="linear")
    await gateway.until_health(lambda h: h["delivery"]["received"] >= least_received)


async def test_sigterm_under_load_confirms_all_that_was_taken(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    """Exit code 0 in time, nothing in flight, no process left; the embedded database ends too."""
    site = replace(site, database_url=None)
    async with site.venue(rate=50, symbols=SYMBOLS) as venue, site.gateway(venue.url) as gateway:
        await _subscribe(gateway, least_received=500)
        family = gateway.descendants()
        asked_at = time.monotonic()
        assert await gateway.terminate() == 0
        took = time.monotonic() - asked_at
        print(f"SIGTERM under load: gone after {took:.2f} s")  # noqa: T201 - a figure to look at
        record_property("stop_seconds", round(took, 2))
        last = gateway.logged("gateway.stopped")[-1]
        assert (last["in_flight"], last["spooled"]) == (0, 0)
        ended = sum(sum(last[name].values()) for name in ("suppressed", "shed", "rejected"))
        assert last["received"] == last["confirmed"] + ended
        assert last["confirmed"] >= 500
        await until_gone(family)


async def test_what_was_confirmed_waits_in_the_queues(site: Site) -> None:
    """A consumer that comes after the gateway's end finds everything, without a hole."""
    async with site.venue(rate=50, symbols=SYMBOLS) as venue, site.gateway(venue.url) as gateway:
        await _subscribe(gateway, least_received=300)
        assert await gateway.terminate() == 0
        last = gateway.logged("gateway.stopped")[-1]
    expected = last["confirmed"] + last["markers"]
    async with site.consumer("orderbook", "trade") as consumer:
        await consumer.until(lambda _: len(consumer.events) == expected)
    assert len({event["event_id"] for event in consumer.events}) == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_forces(
    site: Site, open_proxy: OpenProxy, number: signal.Signals
) -> None:
    """The first waits for a broker that answers nothing; the second does not."""
    broker = await open_proxy(*address(site.amqp_url, 5672))
    async with (
        site.venue(rate=50, symbols=SYMBOLS) as venue,
        site.gateway(venue.url, WSG_AMQP_URL=through(site.amqp_url, broker)) as gateway,
    ):
        await _subscribe(gateway, least_received=50)
        await broker.stall()
        await gateway.until_health(lambda h: h["delivery"]["in_flight"] > 10)
        gateway.process.send_signal(number)
        await _until_logged(gateway, "gateway.stopping")
        asked_at = time.monotonic()
        gateway.process.send_signal(number)
        assert await gateway.ended() == 1
        assert time.monotonic() - asked_at < 5 * crowd()  # a drain would take longer


async def test_a_closed_terminal_is_a_stop_unless_it_was_to_be_ignored(site: Site) -> None:
    """SIGHUP drains and ends with 0; started as `nohup` does, the gateway goes on."""
    async with site.gateway("ws://127.0.0.1:9") as gateway:
        gateway.process.send_signal(signal.SIGHUP)
        assert await gateway.ended() == 0
        assert gateway.logged("gateway.stopped")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited, as from nohup
    try:
        async with site.gateway("ws://127.0.0.1:9") as gateway:
            gateway.process.send_signal(signal.SIGHUP)
            await gateway.until_ready()
            assert gateway.process.poll() is None
            assert not gateway.logged("gateway.stopping")
    finally:
        signal.signal(signal.SIGHUP, before)


async def _until_logged(gateway: Gateway, event: str) -> None:
    async with asyncio.timeout(30):
        while not gateway.logged(event):  # noqa: ASYNC110 - another process's log has no event
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("trouble", ["broker refuses", "all is a black hole", "venue refuses"])
async def test_sigterm_ends_in_time_whoever_is_away(
    site: Site, open_proxy: OpenProxy, trouble: str
) -> None:
    """Neither an absent nor a silent peer holds the process; what is lost is said."""
    async with AsyncExitStack() as stack:
        venue = await stack.enter_async_context(site.venue(rate=50, symbols=SYMBOLS))
        exchange = await open_proxy("127.0.0.1", venue.port)
        broker = await open_proxy(*address(site.amqp_url, 5672))
        gateway = await stack.enter_async_context(
            site.gateway(
                f"ws://127.0.0.1:{exchange.port}", WSG_AMQP_URL=through(site.amqp_url, broker)
            )
        )
        await _subscribe(gateway, least_received=100)
        if trouble == "broker refuses":
            await broker.cut()
            await gateway.until_not_ready("broker_lost")
            await gateway.until_health(lambda h: h["delivery"]["in_flight"] > 10)
        elif trouble == "all is a black hole":
            await broker.stall()
            await gateway.until_health(lambda h: h["delivery"]["in_flight"] > 10)
            await exchange.cut()
            await exchange.stall()  # what connects now never hears an answer
            await gateway.until_not_ready("connection_not_streaming")
        else:
            await exchange.cut()
            await gateway.until_not_ready("connection_not_streaming")
        asked_at = time.monotonic()
        assert await gateway.terminate() == 0
        took = time.monotonic() - asked_at
        print(f"SIGTERM while {trouble}: gone after {took:.2f} s")  # noqa: T201 - a figure to look at
        assert took < (STOP_SECONDS - 1) * crowd()
        if trouble == "venue refuses":
            assert gateway.logged("gateway.stopped")[-1]["in_flight"] == 0
        else:
            words = gateway.logged("gateway.stopped_with_loss")[-1]
            assert words["lost"] == words["in_flight"] > 0


@pytest.mark.parametrize("broker_too", [False, True])
async def test_sigterm_with_a_silent_database_answers_the_open_requests(
    site: Site, open_proxy: OpenProxy, *, broker_too: bool
) -> None:
    """Eight posts hang in a database that swallows every byte: each gets 503, all ends in time."""
    assert site.database_url is not None
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(relay_to(to_postgres(site.database_url)))
        database = await open_proxy("127.0.0.1", port)
        broker = await open_proxy(*address(site.amqp_url, 5672))
        venue = await stack.enter_async_context(site.venue(rate=50, symbols=SYMBOLS + 2))
        parts = urlsplit(site.database_url)
        gateway = await stack.enter_async_context(
            site.gateway(
                venue.url,
                WSG_AMQP_URL=through(site.amqp_url, broker),
                WSG_DATABASE_URL=f"postgresql://postgres@127.0.0.1:{database.port}{parts.path}",
            )
        )
        await _subscribe(gateway, least_received=100)
        await database.stall()
        if broker_too:
            await broker.stall()
            await gateway.until_health(lambda h: h["delivery"]["in_flight"] > 10)
        posts = [
            asyncio.create_task(gateway.post("ticker", f"SIM{n:04}USDT", category="linear"))
            for n in range(1, SYMBOLS + 3)
        ]
        await _until_read(gateway, len(posts))  # they hang in the pool, or wait for a connection
        asked_at = time.monotonic()
        assert await gateway.terminate() == 0
        took = time.monotonic() - asked_at
        print(f"SIGTERM, silent database, broker too {broker_too}: {took:.2f} s")  # noqa: T201 - a figure to look at
        assert took < (STOP_SECONDS - 1) * crowd()
        for answer in await asyncio.gather(*posts):
            assert answer.status_code == 503, answer.text
            assert "retry-after" in answer.headers
        assert bool(gateway.logged("gateway.stopped_with_loss")) is broker_too


async def _until_read(gateway: Gateway, requests: int) -> None:
    """Wait until so many requests at once were taken from their sockets."""
    port = gateway.http.base_url.port
    process = psutil.Process(gateway.process.pid)

    async def are_accepted() -> bool:
        taken = [
            one
            for one in process.net_connections(kind="tcp")
            if one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
        ]
        return len(taken) >= requests

    await until(are_accepted, seconds=30, what=f"{requests} connections are accepted")
    for _ in range(2):  # what came before is read before
        assert (await gateway.http.get("/livez")).status_code == 200


async def test_sigterm_ends_the_start_too(site: Site, open_proxy: OpenProxy) -> None:
    """A broker that never answers the first proof does not hold the process; nothing was begun."""
    broker = await open_proxy(*address(site.amqp_url, 5672))
    await broker.stall()
    async with _starting(site, WSG_AMQP_URL=through(site.amqp_url, broker)) as program:
        async with asyncio.timeout(30):
            while not broker.accepted:  # noqa: ASYNC110 - the proxy has no event for it
                await asyncio.sleep(0.02)
        assert await program.terminate(4) == 0
        assert [r["event"] for r in program.records][-1] == "gateway.stopped_before_start"


async def test_sigterm_ends_the_wait_for_a_locked_schema(site: Site) -> None:
    """Whoever holds the database's schema, a stop is heard; the start itself would wait on."""
    holder = await asyncpg.connect(site.database_url)
    try:
        async with holder.transaction(), _starting(site) as program:
            await holder.execute("LOCK TABLE schema_migrations IN ACCESS EXCLUSIVE MODE")

            await _until_locked_out(holder)
            assert await program.terminate(4) == 0
            assert [r["event"] for r in program.records][-1] == "gateway.stopped_before_start"
    finally:
        await holder.close()


async def test_sigterm_ends_the_wait_for_stored_balances(site: Site) -> None:
    """They are taken up before anything else begins; a locked table held the stop up, too."""
    async with _starting(site) as program:

        async def started() -> bool:
            return bool(program.logged("gateway.started"))

        await until(started, seconds=30, what="a first start")
        assert await program.terminate() == 0
    holder = await asyncpg.connect(site.database_url)
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE account_balances_latest IN ACCESS EXCLUSIVE MODE")
            async with _starting(site) as program:
                await _until_locked_out(holder)
                assert await program.terminate(4) == 0
                assert [r["event"] for r in program.records][-1] == "gateway.stopped_before_start"
    finally:
        await holder.close()


async def _until_locked_out(holder: asyncpg.Connection) -> None:
    async def waiting() -> int | None:
        blocked: int = await holder.fetchval(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE d.datname = current_database() AND NOT granted"
        )
        return blocked

    await until(waiting, seconds=60, what="somebody waits for the lock")


@asynccontextmanager
async def _starting(site: Site, **settings: str) -> AsyncIterator[Program]:
    """Have a gateway that was started and has not come up."""
    environ = {**site.settings, "WSG_HTTP_PORT": "0", **settings}
    program = Program("ws_gateway", ["serve"], environ, site.folder)
    try:
        yield program
        assert "Traceback" not in program.words
    finally:
        await program.kill()
