"""An unmodified pybit client talks to the simulator as if it were Bybit.

pybit builds `wss://stream.<domain>.com/v5/...` itself and takes neither a port nor `ws://`. So it
is left alone: the proxy that its socket library reads from the environment leads every CONNECT to
the simulator, which shows a certificate for the very host names pybit asks for, issued by a
certificate authority made for the test.
"""

from __future__ import annotations

import asyncio
import copy
import queue
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from pybit.unified_trading import HTTP, WebSocket

from bybit_sim import Simulator, SimulatorConfig
from support.sim_client import KEY, SECRET, eventually

# A reserved domain: if the proxy were ever passed over, nothing outside could answer.
DOMAIN = "bybit-sim.invalid"
HOSTS = (f"stream.{DOMAIN}.com", f"api.{DOMAIN}.com")
PATIENCE_SECONDS = 30.0
# No exchange is nearer than this, and pybit counts on it: it notes a subscription only after
# having sent it, and raises in its reader if the answer was quicker.
DISTANCE_SECONDS = 0.02


async def _pipe(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_seconds: float = 0.0
) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            await asyncio.sleep(delay_seconds)
            writer.write(data)
            await writer.drain()
    with suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def connect_proxy(port: int) -> AsyncIterator[tuple[int, list[str]]]:
    """Serve HTTP CONNECT; every tunnel ends at `port`. Yields its own port and the asked hosts."""
    asked: list[str] = []
    tunnels: set[asyncio.Task[Any]] = set()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tunnels.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            asked.append(head.split()[1].decode())
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(
                _pipe(reader, inner_writer), _pipe(inner_reader, writer, DISTANCE_SECONDS)
            )
        finally:
            tunnels.discard(task)

    server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()
        await server.wait_closed()
        if tunnels:
            await asyncio.wait(tunnels, timeout=PATIENCE_SECONDS)


@pytest.fixture
async def venue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Simulator, list[str]]]:
    """A simulator behind TLS, and an environment in which pybit finds it by itself."""
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS).configure_cert(context)
    simulator = Simulator(
        SimulatorConfig(seed=7, rate=20, api_key=KEY, api_secret=SECRET, ssl=context)
    )
    await simulator.start(port=0)
    async with connect_proxy(simulator.port) as (port, asked):
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(bundle))
        try:
            yield simulator, asked
        finally:
            await simulator.stop()


class PybitSocket:
    """A pybit socket whose threads end with the test, and what it heard."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.heard: queue.Queue[dict[str, Any]] = queue.Queue()

    def hear(self, message: dict[str, Any]) -> None:
        """Take a message; called in pybit's thread, which goes on changing the book in it."""
        self.heard.put(copy.deepcopy(message))

    async def until(self, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Collect messages until they are enough."""
        collected: list[dict[str, Any]] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not enough(collected):
                with suppress(queue.Empty):
                    collected.append(self.heard.get_nowait())
                    continue
                await asyncio.sleep(0.01)
        return collected


@asynccontextmanager
async def pybit(simulator: Simulator, channel: str, **settings: Any) -> AsyncIterator[PybitSocket]:
    """Open pybit's socket for a channel, in threads of its own, and end them."""
    socket = await asyncio.to_thread(
        WebSocket,
        channel_type=channel,
        testnet=False,
        domain=DOMAIN,
        retries=3,
        restart_on_error=False,
        ping_interval=2,
        ping_timeout=1.5,
        **settings,
    )
    raw = socket.ws.sock.sock
    try:
        yield PybitSocket(socket)
    finally:
        # The exchange hangs up first: pybit's `exit` pulls the socket from under its reader,
        # which raises in its thread if a frame arrives at that moment.
        await simulator.drop_connections(code=1000)
        await asyncio.to_thread(socket.wst.join, PATIENCE_SECONDS)
        await asyncio.to_thread(socket.exit)
        raw.close()  # the library forgets it when the other side has closed


def topics_of(messages: list[dict[str, Any]]) -> set[str]:
    """Name the topics that were heard."""
    return {message["topic"] for message in messages}


@pytest.mark.parametrize("channel", ["linear", "spot"])
async def test_public_data(channel: str, venue: tuple[Simulator, list[str]]) -> None:
    """Pybit subscribes books, trades and tickers, merges the deltas, and pings."""
    simulator, asked = venue
    wanted = {"orderbook.50.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT"}
    async with pybit(simulator, channel) as client:
        await asyncio.to_thread(client.socket.orderbook_stream, 50, "BTCUSDT", client.hear)
        await asyncio.to_thread(client.socket.trade_stream, "BTCUSDT", client.hear)
        await asyncio.to_thread(client.socket.ticker_stream, "BTCUSDT", client.hear)
        messages = await client.until(lambda heard: topics_of(heard) == wanted and len(heard) > 30)
        await eventually(
            lambda: any(request.message == {"op": "ping"} for request in simulator.requests)
        )
        assert client.socket.is_connected()
    assert asked == [f"stream.{DOMAIN}.com:443"]
    # pybit's own merge deletes by price and raises on a level it was never told of.
    books = [each["data"] for each in messages if each["topic"] == "orderbook.50.BTCUSDT"]
    assert len(books[-1]["b"]) == len(books[-1]["a"]) == 50
    assert max(float(price) for price, _ in books[-1]["b"]) < min(
        float(price) for price, _ in books[-1]["a"]
    )
    updates = [book["u"] for book in books]
    assert updates == list(range(updates[0], updates[0] + len(updates)))


async def test_option_acks_without_req_id(venue: tuple[Simulator, list[str]]) -> None:
    """Pybit copes with the option socket's acks, which echo neither op nor req_id."""
    simulator, _ = venue
    async with pybit(simulator, "option") as client:
        symbol = "BTC-25JUN27-106000-P-USDT"
        await asyncio.to_thread(client.socket.ticker_stream, symbol, client.hear)
        messages = await client.until(lambda heard: len(heard) >= 3)
    assert topics_of(messages) == {f"tickers.{symbol}"}


async def test_private_data(venue: tuple[Simulator, list[str]]) -> None:
    """Pybit authenticates and hears an order, its execution, the position and the wallet."""
    simulator, _ = venue
    async with pybit(
        simulator, "private", api_key=KEY, api_secret=SECRET, private_auth_expire=5
    ) as client:
        for subscribe in (
            client.socket.order_stream,
            client.socket.execution_stream,
            client.socket.fast_execution_stream,
            client.socket.position_stream,
            client.socket.wallet_stream,
        ):
            await asyncio.to_thread(subscribe, client.hear)
        await eventually(lambda: len(simulator.connections[0].topics) == 5)
        await eventually(lambda: bool(client.socket.auth))
        simulator.place_market_order("BTCUSDT", "Buy", "0.002")
        messages = await client.until(lambda heard: len(heard) == 8)
    assert [each["topic"] for each in messages][-5:] == [
        "execution.fast", "order", "execution", "position", "wallet",
    ]  # fmt: skip
    assert messages[-2]["data"][0]["size"] == "0.002"


async def test_rest(venue: tuple[Simulator, list[str]], tmp_path: Path) -> None:
    """Pybit's REST client signs, pages and reads the account."""
    simulator, _ = venue
    order = simulator.place_market_order("ETHUSDT", "Sell", "1")
    await eventually(lambda: order.status == "Filled")

    def ask() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
        session = HTTP(domain=DOMAIN, api_key=KEY, api_secret=SECRET)
        # pybit sends prepared requests, for which its HTTP library ignores the environment's CA.
        session.client.verify = str(tmp_path / "ca.pem")
        try:
            return (
                session.get_server_time(),
                session.get_instruments_info(category="linear", limit=2),
                session.get_positions(category="linear", settleCoin="USDT"),
                session.get_wallet_balance(accountType="UNIFIED", coin="USDT"),
            )
        finally:
            session.client.close()

    time, instruments, positions, wallet = await asyncio.to_thread(ask)
    assert time["retCode"] == 0
    assert instruments["result"]["nextPageCursor"]
    assert positions["result"]["list"][0]["side"] == "Sell"
    fee = order.fee
    assert wallet["result"]["list"][0]["coin"][0]["walletBalance"] == f"{100_000 - fee:f}".rstrip(
        "0"
    )
