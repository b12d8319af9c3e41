"""One gateway under load between a simulator and a broker of its own, through one outage.

Used both ways: for seconds by the tests, for a minute each by `make outages`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from rabbitmq_node import PrivateNode
from support import programs
from support.outage_account import TOPICS, UNKEPT_MS, Comparison, Ear, Told, compare, listening
from support.outage_reader import Reader, reading, waiting
from support.outage_watch import Watch, watching
from support.programs import Gateway, Venue, crowd, until
from support.proxy import TcpProxy, address, through
from support.site import KEYS, Site
from ws_gateway.storage.embedded import EmbeddedPostgres

PREFIX = "outage"
CLASSES = ("orderbook", "trade", "ticker", "order", "execution", "position", "balance")
PRIVATE_CHANNELS = ("order", "execution", "position", "balance")
RECOVER_SECONDS = 60.0
_FLOW_SECONDS = 1.5
_IDLE_SECONDS = 1.0
_HOPE_SECONDS = 4.0  # nothing more arrived for so long: nothing more will
_BACKLOG = 500


@dataclass(frozen=True, slots=True)
class Load:
    """How much is going on.

    Attributes:
        symbols: each with a book, trades and a ticker.
        rate: ticks per second of each symbol.
        trade_every: seconds between orders; each is about seven private facts.
        buffer_events: what the gateway may hold in memory.
    """

    symbols: int = 6
    rate: int = 20
    trade_every: float = 0.05
    buffer_events: int = 1000


Act = Callable[["OutageStage"], Awaitable[None]]


async def _nothing(_: OutageStage) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What goes wrong, and how it ends.

    Attributes:
        begin, midway, end: called at the start, after half of the time, and at its end.
        settings: of the gateway.
        is_lossy: private events may be lost, if each is counted and stands in a marker's hole.
        is_on_small_disk: the gateway's folder has room for a few hundred events only.
        has_own_database: a PostgreSQL of the outage's own, to be killed.
    """

    name: str
    begin: Act
    end: Act
    midway: Act = _nothing
    settings: Mapping[str, str] = field(default_factory=dict)
    is_lossy: bool = False
    is_on_small_disk: bool = False
    has_own_database: bool = False


@dataclass
class OutageStage:
    """Everything an outage may lay hands on.

    Attributes:
        watches: one per gateway process.
        killed_at_ms: when the first gateway was killed, None if it was not.
        unkept_ms: how long before that a fact may be told and not be read yet.
    """

    site: Site
    node: PrivateNode
    proxy: TcpProxy
    venue: Venue
    ear: Ear
    reader: Reader
    settings: Mapping[str, str]
    postgres: EmbeddedPostgres | None
    watches: list[Watch] = field(default_factory=list)
    gateways: list[Gateway] = field(default_factory=list)
    killed_at_ms: int | None = None
    unkept_ms: float = UNKEPT_MS
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def gateway(self) -> Gateway:
        """The gateway process of now."""
        return self.gateways[-1]

    @property
    def watch(self) -> Watch:
        """The watch over it."""
        return self.watches[-1]

    async def open_gateway(self) -> None:
        """Start a gateway, the first or a successor."""
        gateway = await self._stack.enter_async_context(
            self.site.gateway(self.venue.url, **KEYS, **self.settings)
        )
        url = str(gateway.http.base_url)
        watch = self._stack.enter_context(watching(url, gateway.process.pid))
        self.gateways.append(gateway)
        self.watches.append(watch)

    async def kill_gateway(self) -> None:
        """End it without a goodbye."""
        self.unkept_ms = UNKEPT_MS * crowd()
        self.killed_at_ms = time.time_ns() // 1_000_000
        await self.gateway.kill()

    async def close_gateway(self) -> None:
        """End it well; its context insists that it exits with 0."""
        await self._stack.aclose()


@dataclass
class Figures:
    """What one outage came to; `broken` names the promises that did not hold."""

    name: str
    seconds: float
    received: int = 0
    confirmed: int = 0
    shed: dict[str, int] = field(default_factory=dict)
    most_spooled: int = 0
    private: Comparison = field(default_factory=Comparison)
    private_repeats: int = 0
    marked_holes: int = 0
    marked_numbers: int = 0
    unmarked_holes: int = 0
    recovery_seconds: float = 0.0
    private_seconds: float = 0.0
    most_rss_mb: float = 0.0
    rss_growth_mb: float = 0.0
    longest_health_ms: float = 0.0
    scrapes: int = 0
    rate: float = 0.0
    lost_at: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@asynccontextmanager
async def staged(
    site: Site, node: PrivateNode, outage: Outage, load: Load, postgres: EmbeddedPostgres | None
) -> AsyncIterator[OutageStage]:
    """Have everything running and flowing."""
    settings = {
        "WSG_BUFFER_MAX_EVENTS": str(load.buffer_events),
        **outage.settings,
    }
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(TcpProxy(*address(node.url, 5672)))
        settings["WSG_AMQP_URL"] = through(node.url, proxy)
        settings["WSG_AMQP_PREFIX"] = PREFIX
        venue = await stack.enter_async_context(
            programs.venue(
                site.folder,
                rate=load.rate,
                symbols=load.symbols,
                trade_every=load.trade_every,
                api_key=KEYS["WSG_BYBIT_API_KEY"],
                api_secret=KEYS["WSG_BYBIT_API_SECRET"],
            )
        )
        reader = await stack.enter_async_context(reading(node.url, PREFIX, CLASSES))
        stage = OutageStage(site, node, proxy, venue, Ear(), reader, settings, postgres)
        try:
            await stage.open_gateway()
            await _subscribe(stage.gateway, load)
            stage.ear = await stack.enter_async_context(
                listening(venue.url, KEYS["WSG_BYBIT_API_KEY"], KEYS["WSG_BYBIT_API_SECRET"])
            )
            await until_flowing(stage, time.monotonic())
            yield stage
        finally:
            await stage.close_gateway()


async def _subscribe(gateway: Gateway, load: Load) -> None:
    for channel in PRIVATE_CHANNELS:
        await gateway.add(channel)
    for number in range(1, load.symbols + 1):
        for channel in ("orderbook", "trades", "ticker"):
            await gateway.add(channel, f"SIM{number:04}USDT", category="linear")
    await gateway.until_ready()


async def run_outage(stage: OutageStage, outage: Outage, seconds: float) -> Figures:
    """Let it happen for so long, and judge what was promised."""
    figures = Figures(outage.name, seconds)
    began_ms = time.time_ns() // 1_000_000
    began, before = time.monotonic(), stage.watch.last["delivery"]["received"]
    await outage.begin(stage)
    await asyncio.sleep(max(0.0, began + seconds / 2 - time.monotonic()))
    await outage.midway(stage)
    await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
    if len(stage.gateways) == 1:
        during = stage.watch.last["delivery"]["received"] - before
        figures.rate = during / (time.monotonic() - began)
    await outage.end(stage)
    ended = time.monotonic()
    await _until_private_caught_up(stage, ended, figures)
    await until_flowing(stage, ended)
    figures.recovery_seconds = time.monotonic() - ended
    told = stage.ear.copy()
    await asyncio.sleep(_FLOW_SECONDS)  # what was told by then has to arrive, and is on its way
    await until_heard(stage, told)
    last = [watch.last for watch in stage.watches]
    await stage.close_gateway()
    await until_idle(stage)
    private = _compared(stage, told)
    figures.private = private
    _sum_up(stage, figures, [one["delivery"] for one in last])
    figures.lost_at = [
        f"{topic} at {(at - began_ms) / 1000:.2f} s" for topic, at in private.lost_at[:50]
    ]
    _judge(stage, outage, figures)
    return figures


async def _until_private_caught_up(stage: OutageStage, since: float, figures: Figures) -> None:
    async def caught_up() -> bool:
        health = stage.watch.last
        return bool(
            health
            and health["broker"]["status"] == "ready"
            and health["delivery"]["spooled"] == 0
            and _lane(health, "private") < _BACKLOG
        )

    await until(
        caught_up,
        seconds=RECOVER_SECONDS,
        what=lambda: f"private events caught up, but {stage.watch.last.get('broker')}",
    )
    figures.private_seconds = time.monotonic() - since


def _lane(health: dict[str, object], name: str) -> int:
    broker = health["broker"]
    assert isinstance(broker, dict)
    return next(int(lane["events"]) for lane in broker["lanes"] if lane["lane"] == name)


async def until_flowing(stage: OutageStage, since: float) -> None:
    """Wait until the gateway is ready and every stream was read since."""
    wanted = [f"linear:{topic}" for topic in await _topics(stage)]

    async def flowing() -> bool:
        heard = stage.reader.streams
        return bool(
            all(heard.get(key, 0.0) > since for key in wanted)
            and stage.watch.last
            and stage.watch.last["broker"]["buffered_events"] < _BACKLOG
        )

    def what() -> str:
        silent = [key for key in wanted if stage.reader.streams.get(key, 0.0) <= since]
        return (
            f"all flow, but {silent[:4]} of {len(silent)} do not; {stage.watch.last.get('broker')}"
        )

    await until(flowing, seconds=RECOVER_SECONDS, what=what)
    await stage.gateway.until_ready(RECOVER_SECONDS)


async def _topics(stage: OutageStage) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "100"} | ({} if cursor is None else {"cursor": cursor})
        answer = (await stage.gateway.http.get("/api/v1/subscriptions", params=query)).json()
        found += [one["topic"] for one in answer["items"] if one["topic"] not in TOPICS]
        cursor = answer["next_cursor"]
        if cursor is None:
            return found


def _compared(stage: OutageStage, told: dict[str, list[Told]]) -> Comparison:
    return compare(
        told,
        stage.reader.private,
        killed_at_ms=stage.killed_at_ms,
        unkept_ms=stage.unkept_ms,
    )


async def until_heard(stage: OutageStage, told: dict[str, list[Told]]) -> None:
    """Give what was told time to arrive; what does not is for the comparison to say."""
    lost, since = -1, time.monotonic()
    while lost and time.monotonic() < since + _HOPE_SECONDS:
        found = _compared(stage, told)
        if found.lost != lost:
            lost, since = found.lost, time.monotonic()
        await asyncio.sleep(0.25)


async def until_idle(stage: OutageStage) -> None:
    """Wait until the queues hold nothing, and nothing came for a while."""

    async def idle() -> bool:
        is_quiet = time.monotonic() > stage.reader.heard_at + _IDLE_SECONDS
        return is_quiet and await waiting(stage.node.url, stage.reader) == 0

    # No promise of the gateway's: a busy machine's reader may have a minute's backlog before it.
    await until(idle, seconds=180, what="the queues are read to their end")


def _sum_up(stage: OutageStage, figures: Figures, ends: list[dict[str, object]]) -> None:
    for end in ends:
        figures.received += int(end["received"])  # type: ignore[call-overload]
        figures.confirmed += int(end["confirmed"])  # type: ignore[call-overload]
        shed = end["shed"]
        assert isinstance(shed, dict)
        for reason, count in shed.items():
            figures.shed[reason] = figures.shed.get(reason, 0) + count
    watches, reader = stage.watches, stage.reader
    figures.most_spooled = max(watch.most_spooled for watch in watches)
    figures.private_repeats = reader.private.repeats
    figures.marked_holes = sum(
        count for reason, count in reader.checker.markers.items() if reason != "restart"
    )
    figures.marked_numbers = sum(reader.holes.values())
    figures.unmarked_holes = len(reader.checker.problems)
    figures.most_rss_mb = max(watch.most_rss_bytes for watch in watches) / 1e6
    figures.rss_growth_mb = max(w.most_rss_bytes - w.first_rss_bytes for w in watches) / 1e6
    figures.longest_health_ms = max(watch.longest_seconds for watch in watches) * 1e3
    figures.scrapes = sum(watch.scrapes for watch in watches)


def _judge(stage: OutageStage, outage: Outage, figures: Figures) -> None:
    figures.broken += [
        *_broken_private(stage, outage, figures),
        *_broken_streams(stage, figures),
        *(words for watch in stage.watches for words in _broken_looks(watch)),
    ]


def _broken_private(stage: OutageStage, outage: Outage, figures: Figures) -> list[str]:
    broken, private = [], figures.private
    counted = sum(figures.shed.get(word, 0) for word in ("no_room", "spool_overflow"))
    if private.lost and not outage.is_lossy:
        broken.append(f"{private.lost} private events lost: {figures.lost_at}")
    if private.lost > counted and outage.is_lossy:
        broken.append(f"{private.lost} private events lost, and {counted} are counted")
    if figures.shed.get("spool_damaged"):
        broken.append(f"the spool was damaged: {figures.shed}")
    if private.disordered:
        broken.append(f"{private.disordered} private events out of order")
    if stage.reader.private.ambiguous:
        broken.append(f"ids that do not tell: {stage.reader.private.ambiguous[:2]}")
    return broken


def _broken_streams(stage: OutageStage, figures: Figures) -> list[str]:
    broken = []
    if figures.unmarked_holes:
        broken.append(f"holes without a marker: {stage.reader.checker.problems[:3]}")
    # A killed gateway's holes are part of what the next one's `restart` marker tells.
    if not stage.killed_at_ms and figures.marked_numbers < figures.shed.get("no_room", 0):
        broken.append(f"markers name {figures.marked_numbers} of {figures.shed} events shed")
    return broken


def _broken_looks(watch: Watch) -> list[str]:
    broken = []
    if watch.imbalances:
        broken.append(f"{len(watch.imbalances)} looks out of balance: {watch.imbalances[0]}")
    if watch.hangs:
        broken.append(f"{watch.hangs} looks got no answer")
    return broken
