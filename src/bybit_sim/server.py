"""The simulator: one port for sockets and REST, and the handles a test pulls."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from bybit_sim import wire
from bybit_sim.account import Account
from bybit_sim.broadcaster import Broadcaster, Catalogue, MarketCatalogue
from bybit_sim.busy import OrderPlan, Runs
from bybit_sim.config import FIRST_ACCOUNT, AccountConfig, SimulatorConfig, SimulatorError
from bybit_sim.connection import LiveConnection
from bybit_sim.control import ControlDesk
from bybit_sim.conversation import Conversation
from bybit_sim.cuts import Cuts
from bybit_sim.door import Door
from bybit_sim.fault import LONGEST_HANDSHAKE_SECONDS, Fault, Hook
from bybit_sim.faults import Faults
from bybit_sim.idle import cut_silent, longest_silence
from bybit_sim.instruments import listing
from bybit_sim.ledger import Ledger
from bybit_sim.market import Market
from bybit_sim.orders import Order
from bybit_sim.party import Party, party_of_name
from bybit_sim.private_stage import PrivateStage
from bybit_sim.pulse import Pulse
from bybit_sim.recorded import Playback, recording_files
from bybit_sim.rest import RestDesk
from bybit_sim.rest_market import MarketDesk
from bybit_sim.rest_private import PrivateDesk
from bybit_sim.status import StatusBoard
from bybit_sim.topics import SOCKET_KINDS
from bybit_sim.trader import Trader
from bybit_sim.trading import Trading
from bybit_sim.venue_socket import VenueSocket

logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 1.0
_SEED_STEP = 1_000_003
_OPEN_SECONDS = LONGEST_HANDSHAKE_SECONDS + 10.0


class ClientRequest(NamedTuple):
    """One message a client sent: the path of its socket, and the JSON (text if it was none)."""

    path: str
    message: Any


class Simulator:
    """A local Bybit. Call `start`, use `ws_url` and `rest_url`, pull the handles, call `stop`.

    Everything runs in the event loop that called `start`; handles are not thread-safe.

    Attributes:
        config: as given.
        faults: misbehaviour that is going on; `fault` begins one, `clear_faults` ends them.
        pulse: the agenda of everything that happens by itself.
        playback: of a recording; None where there is a market.
        status: system notices.
        market: the books as the matching engine sees them.
        parties: all accounts, the first one first; the next four are of that.
        account: balances, positions and orders, to compare with what was streamed.
        broadcaster: public topics and their counters.
        stage: private topics.
        runs: busy traders.
        cuts: of connections, now or at random.
        trading: the way to place, fill, amend and cancel orders, and to exchange funding.
        connections: live connections, oldest first.
        requests: client messages, oldest first, bounded by `config.request_log_size`.
    """

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self.market = Market(listing(self.config.symbols), self.config.seed)
        self.connections: list[LiveConnection] = []
        self.requests: deque[ClientRequest] = deque(maxlen=self.config.request_log_size)
        self.pulse = Pulse(self.config.clock)
        self.playback: Playback | None = None
        catalogue: Catalogue = MarketCatalogue(self.market, self.config)
        if self.config.recording:
            self.playback = Playback(
                self,
                recording_files(self.config.recording),
                speed=self.config.recording_speed,
                patience_seconds=self.config.recording_patience_seconds,
            )
            catalogue = self.playback.catalogue
        self.broadcaster = Broadcaster(catalogue, self.pulse, self.config)
        self.status = StatusBoard(self.config.seed)
        self.faults = Faults(self)
        first = AccountConfig(FIRST_ACCOUNT, self.config.api_key, self.config.api_secret)
        self.parties = [
            self._open_account(of, number)
            for number, of in enumerate((first, *self.config.accounts))
        ]
        main = self.parties[0]
        self.account, self.stage, self.trading = main.account, main.stage, main.trading
        self.runs = main.runs
        rest = RestDesk(
            self.config,
            self.market,
            parties=self.parties,
            desk=MarketDesk(self.market, self.broadcaster),
            status=self.status,
            pulse=self.pulse,
            faults=self.faults,
        )
        self._door = Door(self.config, self.faults, rest, ControlDesk(self))
        self.cuts = Cuts(lambda: self.connections, self.pulse)
        self._ids = random.Random(f"{self.config.seed}:connections")
        self._server: Server | None = None
        self._market_task: asyncio.Task[None] | None = None
        self._playing: asyncio.Task[None] | None = None
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
    def connection_attempts(self) -> int:
        """WebSocket handshakes seen, refused ones included."""
        return self._door.attempts

    @property
    def attempt_times(self) -> Sequence[float]:
        """When the last of those were, on the configured clock."""
        return self._door.attempt_times

    @property
    def silence_pongs(self) -> bool:
        """Whether pings go unanswered; the fault `missing_pongs`."""
        return bool(self.faults.named("missing_pongs"))

    @silence_pongs.setter
    def silence_pongs(self, value: bool) -> None:
        self._switch("missing_pongs", {} if value else None)

    @property
    def silence_acks(self) -> bool:
        """Whether requests are carried out without an answer; the fault `missing_acks`."""
        return bool(self.faults.named("missing_acks"))

    @silence_acks.setter
    def silence_acks(self, value: bool) -> None:
        self._switch("missing_acks", {} if value else None)

    @property
    def refuse_handshakes(self) -> int | None:
        """HTTP status handshakes get, None to accept them; the fault `refuse_handshake`."""
        active = self.faults.named("refuse_handshake")
        return active[-1].parameters()["status"] if active else None

    @refuse_handshakes.setter
    def refuse_handshakes(self, value: int | None) -> None:
        self._switch("refuse_handshake", None if value is None else {"status": value})

    @property
    def ledger(self) -> Ledger:
        """What the account went through, to compare with what was streamed."""
        return self.trading.ledger

    def now_ms(self) -> int:
        """Return server time in milliseconds."""
        return self.pulse.server_ms()

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
                process_request=self._door.process_request,
                compression=None,
                extensions=[deflate] if self.config.compression else None,
                ping_interval=None,  # Bybit sends no WebSocket pings of its own
                close_timeout=_CLOSE_SECONDS,
                open_timeout=_OPEN_SECONDS,
                create_connection=VenueSocket,
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
        self._market_task = asyncio.create_task(self.pulse.run(), name="bybit-sim-pulse")
        self._market_task.add_done_callback(_report_death)
        if self.playback is not None:
            self._playing = asyncio.create_task(self.playback.run(), name="bybit-sim-playback")
            self._playing.add_done_callback(_report_death)
        self._schedule(
            self.config.idle_scan_seconds,
            lambda: cut_silent(self.connections, self.pulse.now_ms()),
        )
        if self.config.trade_every_seconds is not None:
            for party in self.parties:
                self._schedule(self.config.trade_every_seconds, party.trader.act)
        if self.config.funding_every_seconds is not None:
            for party in self.parties:
                self._schedule(self.config.funding_every_seconds, party.trading.fund)
        if self.config.orders:
            plan = OrderPlan(self.config.orders, self.config.order_rate, seed=self.config.seed)
            for party in self.parties:
                party.runs.begin(plan)

    async def stop(self) -> None:
        """Close every connection and stop listening; safe to call twice."""
        if self._market_task is not None:
            self._market_task.cancel()
            await asyncio.gather(self._market_task, return_exceptions=True)
            self._market_task = None
        if self._playing is not None:
            self._playing.cancel()
            await asyncio.gather(self._playing, return_exceptions=True)
            self._playing = None
        self.faults.clear()
        if self._server is not None:
            self._server.close()
            self._door.close()
            await self._server.wait_closed()
            self._server = None

    async def fault(self, name: str, /, **parameters: Any) -> Fault:
        """Begin a fault by its name; returns when what it did has come about.

        `bybit_sim.faults.REGISTRY` lists them; `docs/simulator.md` shows each.

        Returns:
            The fault: `hits` counts what it did, `is_active` tells whether it goes on.

        Raises:
            FaultError: there is no such fault, or a parameter makes no sense.
        """
        fault = self.faults.begin(name, parameters)
        await fault.settle()
        return fault

    def clear_faults(self, name: str | None = None) -> int:
        """End all faults, or those of a name; return how many were active."""
        return self.faults.clear(name)

    async def drop_connections(self, path: str | None = None, code: int | None = None) -> None:
        """End all connections of a path (None: of all), by the fault `drop`; wait for it.

        Args:
            path: such as `/v5/public/linear`.
            code: close with this code; None cuts TCP without a close frame, which the client
                sees as 1006 and which is how Bybit usually ends a connection.
        """
        goodbye = {} if code is None else {"close_frame": True, "code": code}
        await self.fault("drop", path=path, **goodbye)

    async def inject(self, path: str, raw: str | bytes) -> None:
        """Send a raw frame to all connections of a path: text for str, binary for bytes."""
        self.send_raw(path, raw)
        await asyncio.sleep(0)

    def send_raw(self, path: str | None, raw: str | bytes) -> None:
        """Send a raw frame to all connections of a path (None: to all), without waiting."""
        broadcast([each.socket for each in self.connections if path in {None, each.path}], raw)

    def stall(self, topic: str, path: str | None = None) -> None:
        """Silence a topic by the fault `stall`."""
        self.faults.begin("stall", {"topic": topic, "path": path})

    def unstall(self, topic: str, path: str | None = None) -> None:
        """Let a silenced topic speak again."""
        for fault in self.faults.named("stall"):
            given = fault.parameters()
            if given["topic"] == topic and path in {None, given["path"]}:
                self.faults.end(fault)

    def skip_updates(self, path: str, topic: str, n: int = 1) -> None:
        """Lose the next `n` frames of a topic by the fault `update_gap`."""
        self.faults.begin("update_gap", {"topic": topic, "path": path, "count": n})

    def restart_book(self, path: str, topic: str) -> None:
        """Send a snapshot with `u` 1 by the fault `book_restart`."""
        self.faults.begin("book_restart", {"topic": topic, "path": path})

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
        return self.trading.place(symbol, side, qty, category, fills=fills, link_id=link_id)

    def party(self, name: str | None = None) -> Party:
        """Return an account by its name, the first one without.

        Raises:
            SimulatorError: there is none.
        """
        return party_of_name(self.parties, name)

    def _open_account(self, of: AccountConfig, number: int) -> Party:
        """Open an account; its ids are made of another seed than those of the others."""
        seed, uid = self.config.seed + number * _SEED_STEP, self.config.uid + number
        account = Account(self.market, seed, self.config.hedge_symbols)
        stage = PrivateStage(self.pulse, self.broadcaster.deliver, uid=uid)
        self.faults.stages.append(stage)
        trading = Trading(account, self.market, stage, self.pulse, seed=seed)
        return Party(
            of,
            uid,
            account,
            stage,
            trading,
            Runs(account, self.market, trading, self.pulse),
            PrivateDesk(account, trading.ledger, self.market, self.faults),
            Trader(account, trading.place, seed),
        )

    def _url(self, scheme: str) -> str:
        host = "127.0.0.1" if self._address[0] in {"0.0.0.0", "::", ""} else self._address[0]  # noqa: S104
        return f"{scheme}://{host}:{self._address[1]}"

    def _switch(self, name: str, parameters: dict[str, Any] | None) -> None:
        """Have a fault exactly once with these parameters, or not at all."""
        self.faults.clear(name)
        if parameters is not None:
            self.faults.begin(name, parameters)

    def _schedule(self, every_seconds: float, action: Any) -> None:
        def act(now_ms: float) -> None:
            action()
            self.pulse.at(now_ms + every_seconds * 1000.0, act)

        self.pulse.at(self.pulse.now_ms() + every_seconds * 1000.0, act)

    async def _converse(self, socket: ServerConnection) -> None:
        assert isinstance(socket, VenueSocket)  # noqa: S101 - `create_connection` says so
        target = socket.request.path if socket.request else ""
        path, _, query = target.partition("?")
        connection = LiveConnection(
            id=wire.new_conn_id(self._ids),
            path=path,
            kind=SOCKET_KINDS[path],
            socket=socket,
            max_idle_seconds=longest_silence(path, query, self.config.idle_timeout_seconds),
            last_ping_ms=self.pulse.now_ms(),
        )
        conversation = Conversation(self, connection)
        self.connections.append(connection)
        for fault in self.faults.at(Hook.OPENED):
            fault.opened(connection)
        try:
            async for message in socket:
                request = conversation.handle(message)
                self.requests.append(ClientRequest(path, request))
                if self.playback is not None:
                    self.playback.heard(connection, request)
        except ConnectionClosed:
            logger.debug("= %s closed without a goodbye", connection.id)
        finally:
            self.connections.remove(connection)
            conversation.close()


def _report_death(task: asyncio.Task[None]) -> None:
    """Say so when the market stops by a defect: a silent simulator would look like a fault."""
    if not task.cancelled() and (exc := task.exception()) is not None:
        logger.error("the market stopped", exc_info=exc)
