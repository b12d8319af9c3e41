"""The simulator: one port for sockets and REST, and the handles a test pulls."""

from __future__ import annotations

import asyncio
import errno
import http
import logging
import random
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response

from bybit_sim import wire
from bybit_sim.account import Account, Order
from bybit_sim.broadcaster import Broadcaster
from bybit_sim.config import SimulatorConfig, SimulatorError
from bybit_sim.conversation import Conversation, LiveConnection
from bybit_sim.faults import ConnectionLimiter, Faults
from bybit_sim.instruments import PUBLIC_CATEGORIES, listing
from bybit_sim.market import Market
from bybit_sim.private_stage import PrivateStage, Trader
from bybit_sim.pulse import Pulse
from bybit_sim.rest import RestAnswer, RestDesk

logger = logging.getLogger(__name__)

PRIVATE_PATH = "/v5/private"
SOCKET_KINDS = {f"/v5/public/{category}": category for category in PUBLIC_CATEGORIES} | {
    PRIVATE_PATH: "private"
}
_CLOSE_SECONDS = 1.0
_ACTIVE_TIME_RANGE = (30.0, 600.0)


class ClientRequest(NamedTuple):
    """One message a client sent: the path of its socket, and the JSON (text if it was none)."""

    path: str
    message: Any


class Simulator:
    """A local Bybit. Call `start`, use `ws_url` and `rest_url`, pull the handles, call `stop`.

    Everything runs in the event loop that called `start`; handles are not thread-safe.

    Attributes:
        config: as given.
        faults: switches of misbehaviour; the common ones are also properties here.
        market: the books as the matching engine sees them.
        account: balances, positions and orders, to compare with what was streamed.
        broadcaster: public topics and their counters.
        stage: private topics.
        connections: live connections, oldest first.
        connection_attempts: WebSocket handshakes seen, refused ones included.
        requests: client messages, oldest first, bounded by `config.request_log_size`.
    """

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self.faults = Faults()
        self.market = Market(listing(self.config.symbols), self.config.seed)
        self.account = Account(self.market, self.config.seed)
        self.connections: list[LiveConnection] = []
        self.connection_attempts = 0
        self.requests: deque[ClientRequest] = deque(maxlen=self.config.request_log_size)
        self._pulse = Pulse(self.config.clock)
        self.broadcaster = Broadcaster(self.market, self._pulse, self.config)
        self.stage = PrivateStage(
            self.account,
            self._pulse,
            self.broadcaster.deliver,
            uid=self.config.uid,
            seed=self.config.seed,
        )
        self._rest = RestDesk(self.config, self.market, self.account)
        self._trader = Trader(self.account, self.place_market_order, self.config.seed)
        self._limiter = ConnectionLimiter(
            self.config.connections_per_window, self.config.connection_window_seconds
        )
        self._ids = random.Random(f"{self.config.seed}:connections")
        self._server: Server | None = None
        self._market_task: asyncio.Task[None] | None = None
        self._address = ("127.0.0.1", 0)

    @property
    def port(self) -> int:
        """The port it listens on; 0 before `start`."""
        return self._address[1]

    @property
    def ws_url(self) -> str:
        """Base of socket URLs, without a path."""
        return self._url("wss" if self.config.ssl else "ws")

    @property
    def rest_url(self) -> str:
        """Base of REST URLs, without a path."""
        return self._url("https" if self.config.ssl else "http")

    @property
    def silence_pongs(self) -> bool:
        """Whether pings go unanswered."""
        return self.faults.silence_pongs

    @silence_pongs.setter
    def silence_pongs(self, value: bool) -> None:
        self.faults.silence_pongs = value

    @property
    def silence_acks(self) -> bool:
        """Whether requests are carried out without an answer."""
        return self.faults.silence_acks

    @silence_acks.setter
    def silence_acks(self, value: bool) -> None:
        self.faults.silence_acks = value

    @property
    def refuse_handshakes(self) -> int | None:
        """HTTP status every WebSocket handshake gets, None to accept them."""
        return self.faults.refuse_handshakes

    @refuse_handshakes.setter
    def refuse_handshakes(self, value: int | None) -> None:
        self.faults.refuse_handshakes = value

    def now_ms(self) -> int:
        """Return server time in milliseconds."""
        return int(self._pulse.now_ms())

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; on return it serves.

        Raises:
            SimulatorError: the address cannot be listened on.
        """
        deflate = ServerPerMessageDeflateFactory(
            server_no_context_takeover=True, client_no_context_takeover=True
        )
        try:
            self._server = await serve(
                self._converse,
                host,
                port,
                process_request=self._process_request,
                compression=None,
                extensions=[deflate] if self.config.compression else None,
                ping_interval=None,  # Bybit sends no WebSocket pings of its own
                close_timeout=_CLOSE_SECONDS,
                max_queue=None,
                server_header="Openresty",
                ssl=self.config.ssl,
            )
        except OSError as exc:
            reason = "is in use" if exc.errno == errno.EADDRINUSE else f"cannot be used: {exc}"
            raise SimulatorError(
                f"{host}:{port} {reason}; choose another with --port, or 0 for any free one"
            ) from exc
        self._address = (host, next(iter(self._server.sockets)).getsockname()[1])
        self._market_task = asyncio.create_task(self._pulse.run(), name="bybit-sim-pulse")
        self._market_task.add_done_callback(_report_death)
        self._schedule(self.config.idle_scan_seconds, self._cut_idle)
        if self.config.trade_every_seconds is not None:
            self._schedule(self.config.trade_every_seconds, self._trader.act)

    async def stop(self) -> None:
        """Close every connection and stop listening; safe to call twice."""
        if self._market_task is not None:
            self._market_task.cancel()
            await asyncio.gather(self._market_task, return_exceptions=True)
            self._market_task = None
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def drop_connections(self, path: str | None = None, code: int | None = None) -> None:
        """End all connections of a path (None: of all); returns when they are gone.

        Args:
            path: such as `/v5/public/linear`.
            code: close with this code; None cuts TCP without a close frame, which the client
                sees as 1006 and which is how Bybit usually ends a connection.
        """
        chosen = self._on(path)
        if code is None:
            for each in chosen:
                each.socket.transport.abort()
        else:
            await asyncio.gather(*(each.socket.close(code) for each in chosen))
        await asyncio.gather(*(each.socket.wait_closed() for each in chosen))

    async def inject(self, path: str, raw: str | bytes) -> None:
        """Send a raw frame to all connections of a path: text for str, binary for bytes."""
        broadcast([each.socket for each in self._on(path)], raw)
        await asyncio.sleep(0)

    def stall(self, topic: str, path: str | None = None) -> None:
        """Silence a topic while everything else goes on; what it says later fits on."""
        self.stage.stalled.add(topic)
        for stream in self._streams(path, topic):
            stream.is_stalled = True

    def unstall(self, topic: str, path: str | None = None) -> None:
        """Let a silenced topic speak again."""
        self.stage.stalled.discard(topic)
        for stream in self._streams(path, topic):
            stream.is_stalled = False

    def skip_updates(self, path: str, topic: str, n: int = 1) -> None:
        """Lose the next `n` frames of a topic for everybody, which leaves a hole in its `u`."""
        for stream in self._streams(path, topic):
            stream.swallow += n

    def restart_book(self, path: str, topic: str) -> None:
        """Send a snapshot with `u` 1 to everybody on a book, as a service restart does."""
        for stream in self._streams(path, topic):
            self.broadcaster.restart_book(stream)

    def place_market_order(
        self,
        symbol: str,
        side: str,
        qty: str | Decimal,
        category: str = "linear",
        *,
        fills: int = 1,
        link_id: str = "",
    ) -> Order:
        """Place an order on the account and let its events play (about 15 ms in all).

        Args:
            symbol: in that category.
            side: `Buy` or `Sell`.
            qty: base coin, contracts on inverse.
            category: `spot`, `linear`, `inverse` or `option`.
            fills: in how many executions it is matched.
            link_id: `orderLinkId`.

        Returns:
            The order, accepted and not yet filled; it changes as its events play.

        Raises:
            SimulatorError: it makes no sense.
        """
        order = self.account.place(
            category, symbol, side, Decimal(qty), link_id=link_id, now_ms=self.now_ms()
        )
        self.stage.play_market_order(order, fills)
        return order

    def _url(self, scheme: str) -> str:
        host = "127.0.0.1" if self._address[0] in {"0.0.0.0", "::", ""} else self._address[0]  # noqa: S104
        return f"{scheme}://{host}:{self._address[1]}"

    def _on(self, path: str | None) -> list[LiveConnection]:
        return [each for each in self.connections if path in {None, each.path}]

    def _streams(self, path: str | None, topic: str) -> Iterable[Any]:
        category = None if path is None else SOCKET_KINDS[path]
        if category == "private":
            return []
        return self.broadcaster.streams_of(topic, category)

    def _schedule(self, every_seconds: float, action: Any) -> None:
        def act(now_ms: float) -> None:
            action()
            self._pulse.at(now_ms + every_seconds * 1000.0, act)

        self._pulse.at(self._pulse.now_ms() + every_seconds * 1000.0, act)

    def _cut_idle(self) -> None:
        """Abort connections with neither client ping nor server data for too long."""
        now = self._pulse.now_ms()
        for each in list(self.connections):
            data = (
                stream.last_push_ms if stream else self.stage.last_told_ms.get(topic, 0.0)
                for topic, stream in each.topics.items()
            )
            quiet_ms = now - max([each.last_ping_ms, *data])
            if quiet_ms > each.max_idle_seconds * 1000.0:
                each.socket.transport.abort()

    def _process_request(self, socket: ServerConnection, request: Request) -> Response | None:
        """Answer REST and refuse handshakes before the WebSocket library looks at them."""
        path = request.path.partition("?")[0]
        if request.headers.get("Upgrade", "").lower() != "websocket":
            answer = self._rest.answer(request.path, request.headers)
            if answer is not None:
                return _http_response(answer)
            return socket.respond(http.HTTPStatus.NOT_FOUND, "404 page not found\n")
        self.connection_attempts += 1
        if self.faults.refuse_handshakes is not None:
            return socket.respond(self.faults.refuse_handshakes, "refused\n")
        if path not in SOCKET_KINDS:
            return socket.respond(http.HTTPStatus.NOT_FOUND, "404 page not found\n")
        address = str(socket.remote_address[0]) if socket.remote_address else ""
        if not self._limiter.admit(address, self.config.clock()):
            return socket.respond(http.HTTPStatus.FORBIDDEN, "too many connections\n")
        return None

    async def _converse(self, socket: ServerConnection) -> None:
        target = socket.request.path if socket.request else ""
        path, _, query = target.partition("?")
        connection = LiveConnection(
            id=wire.new_conn_id(self._ids),
            path=path,
            kind=SOCKET_KINDS[path],
            socket=socket,
            max_idle_seconds=self._max_idle(path, query),
            last_ping_ms=self._pulse.now_ms(),
        )
        conversation = Conversation(self, connection)
        self.connections.append(connection)
        try:
            async for message in socket:
                self.requests.append(ClientRequest(path, conversation.handle(message)))
        except ConnectionClosed:
            logger.debug("= %s closed without a goodbye", connection.id)
        finally:
            self.connections.remove(connection)
            conversation.close()

    def _max_idle(self, path: str, query: str) -> float:
        """Read `max_active_time` (`45s`, `2m`) of the private socket; nonsense is ignored."""
        text = parse_qs(query).get("max_active_time", [""])[0]
        unit = {"s": 1.0, "m": 60.0}.get(text[-1:], 0.0)
        if path == PRIVATE_PATH and unit and text[:-1].isdecimal():
            shortest, longest = _ACTIVE_TIME_RANGE
            return min(max(float(text[:-1]) * unit, shortest), longest)
        return self.config.idle_timeout_seconds


def _report_death(task: asyncio.Task[None]) -> None:
    """Say so when the market stops by a defect: a silent simulator would look like a fault."""
    if not task.cancelled() and (exc := task.exception()) is not None:
        logger.error("the market stopped", exc_info=exc)


def _http_response(answer: RestAnswer) -> Response:
    status = http.HTTPStatus(answer.status)
    headers = Headers(
        {
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(answer.body)),
            "Connection": "close",
            **answer.headers,
        }
    )
    return Response(status.value, status.phrase, headers, answer.body)
