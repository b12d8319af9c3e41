"""What happens in the demo: subscribe over HTTP, consume, show, sum up."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import aio_pika.exceptions

from ws_gateway.config import Settings
from ws_gateway.delivery.topology import Names
from ws_gateway.demo.audience import Audience, remove_leftovers
from ws_gateway.demo.screen import Figures, Screen
from ws_gateway.demo.stage import PREFIX, Stage, set_up
from ws_gateway.domain.topic import EVENT_CLASS_OF, Channel
from ws_gateway.errors import ConfigError, Fatal

SERVICE = "demo"
LOOK_SECONDS = 1.0
EXIT_HOLES = 1

WISHES: list[dict[str, object]] = [
    {"channel": "orderbook", "symbol": "BTCUSDT", "category": "linear", "depth": 50},
    {"channel": "orderbook", "symbol": "BTCUSDT", "category": "spot", "depth": 50},
    {"channel": "orderbook", "symbol": "SOLUSDT_SOL/USDT"},
    {"channel": "trades", "symbol": "BTCUSDT", "category": "linear"},
    {"channel": "trades", "symbol": "ETHUSDT", "category": "spot"},
    {"channel": "ticker", "symbol": "BTCUSDT", "category": "linear"},
    {"channel": "ticker", "symbol": "BTCUSD"},
    {"channel": "ticker", "symbol": "XRP-30OCT26-0.4-P-USDT"},
    {"channel": "kline", "symbol": "BTCUSDT", "category": "linear", "interval": "1"},
    {"channel": "order"},
    {"channel": "execution"},
    {"channel": "position"},
    {"channel": "balance"},
]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """How long, and which market."""

    seconds: float | None
    seed: int
    rate: float


async def run_demo(settings: Settings, options: DemoOptions, stop: asyncio.Event) -> int:
    """Run the demo; answers the exit code: 0 only if every class arrived without a hole.

    Raises:
        Fatal: something did not come up; the text says what to do.
    """
    amqp_url = settings.amqp_url.get_secret_value()
    names = Names(f"{PREFIX}-{secrets.token_hex(2)}")
    await _clear(amqp_url, names)
    audience = Audience(names, {EVENT_CLASS_OF[Channel(str(w["channel"]))] for w in WISHES})
    screen = Screen(audience)
    screen.say("starting a simulated exchange and the gateway …")
    async with set_up(settings, names.prefix, seed=options.seed, rate=options.rate) as stage:
        async with audience.seated(amqp_url):
            await _subscribe(stage)
            _introduce(stage, screen)
            with screen.open():
                figures = await _watch(stage, audience, screen, options.seconds, stop)
        await stage.call("DELETE", f"/api/v1/subscriptions/by-service/{SERVICE}")
    await _clear(amqp_url, names)
    return _sum_up(audience, screen, figures)


async def _clear(amqp_url: str, names: Names) -> None:
    try:
        await remove_leftovers(amqp_url, names)
    except (OSError, aio_pika.exceptions.AMQPError, TimeoutError) as exc:
        raise ConfigError(
            "WSG_AMQP_URL",
            f"RabbitMQ refuses ({exc})",
            "use `make demo`, which brings one, or name one that runs",
        ) from exc


async def _subscribe(stage: Stage) -> None:
    for wish in WISHES:
        await stage.call("POST", "/api/v1/subscriptions", wish | {"requesting_service": SERVICE})


def _introduce(stage: Stage, screen: Screen) -> None:
    screen.say(f"  exchange  {stage.venue_url}   (simulated)")
    screen.say(f"  gateway   {stage.gateway_url}/health   log: {stage.log_file}")
    screen.say(f"  broker    exchange {stage.amqp_prefix}.events, queues {stage.amqp_prefix}.*")
    screen.say("try, in another terminal:")
    screen.say(
        f"  curl -s -X POST {stage.gateway_url}/api/v1/subscriptions"
        f" -H 'X-API-Key: {stage.api_key}'"
        " -H 'Content-Type: application/json' -d "
        '\'{"channel":"trades","symbol":"SOLUSDT","category":"linear","requesting_service":"me"}\''
    )
    command = Path(sys.executable).with_name("ws-gateway")
    prefix = f"WSG_AMQP_PREFIX={stage.amqp_prefix}"
    screen.say(f"  WSG_AMQP_URL={stage.amqp_url} {prefix} {command} tail trade\n")


async def _watch(
    stage: Stage,
    audience: Audience,
    screen: Screen,
    seconds: float | None,
    stop: asyncio.Event,
) -> Figures:
    figures = Figures()
    end = None if seconds is None else time.monotonic() + seconds
    while not stop.is_set() and (end is None or time.monotonic() < end):
        if stage.gateway.returncode is not None:
            raise Fatal(f"the gateway ended by itself; see {stage.log_file}")
        await audience.look_at_queues()
        figures.take(await stage.call("GET", "/health"), audience)
        screen.show(figures)
        left = LOOK_SECONDS if end is None else min(LOOK_SECONDS, end - time.monotonic())
        try:
            async with asyncio.timeout(max(left, 0)):
                await stop.wait()
        except TimeoutError:
            continue
    return figures


def _sum_up(audience: Audience, screen: Screen, figures: Figures) -> int:
    counters = figures.health.get("delivery", {})
    screen.say("\nsummary")
    for name, count in sorted(audience.received.items()):
        screen.say(f"  {name:<12} {count:>9,} events")
    screen.say(
        f"  received {counters.get('received', 0):,}, confirmed {counters.get('confirmed', 0):,}, "
        f"receive→confirm p50/p99 {figures.latency if figures.health else '-'}"
    )
    checker = audience.checker
    for problem in checker.problems[:10]:
        screen.say(f"  hole: {problem}")
    for name in audience.silent_classes:
        screen.say(f"  nothing came of class {name}")
    if checker.problems or audience.silent_classes:
        screen.say("not all is well")
        return EXIT_HOLES
    screen.say("every subscribed class arrived, and no stream has a hole")
    return 0
