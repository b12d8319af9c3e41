"""What happens in the demo: subscribe over HTTP, consume, show, sum up."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika.exceptions

from ws_gateway.config import Settings
from ws_gateway.delivery.topology import Names
from ws_gateway.demo.audience import Audience, remove_leftovers
from ws_gateway.demo.positions import Comparison, compare, embedded_url, has_position_manager, lines
from ws_gateway.demo.screen import Figures, Screen
from ws_gateway.demo.stage import PREFIX, Stage, set_up
from ws_gateway.domain.topic import EVENT_CLASS_OF, Channel
from ws_gateway.errors import ConfigError, Fatal

SERVICE = "demo"
LOOK_SECONDS = 1.0
DRAIN_SECONDS = 10.0
"""Longest wait for the last confirmed event to reach the consumers."""

EXIT_HOLES = 1
_DRAIN_LOOK_SECONDS = 0.1

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
    """Run the demo; answers the exit code.

    It is 0 only if every class arrived, without a hole, everything that was confirmed reached the
    consumer, the table of positions is the exchange's account, and all processes ended well.

    Raises:
        Fatal: something did not come up; the text says what to do.
    """
    amqp_url = settings.amqp_url.get_secret_value()
    names = Names(f"{PREFIX}-{secrets.token_hex(2)}")
    await _clear(amqp_url, names)
    audience = Audience(names, {EVENT_CLASS_OF[Channel(str(w["channel"]))] for w in WISHES})
    screen = Screen(audience)
    screen.say("starting a simulated exchange and the gateway …")
    async with (
        set_up(settings, names.prefix, seed=options.seed, rate=options.rate) as stage,
        audience.seated(amqp_url),
    ):
        await _subscribe(stage)
        _introduce(stage, screen)
        with screen.open():
            figures = await _watch(stage, audience, screen, options.seconds, stop)
        deadline = time.monotonic() + DRAIN_SECONDS
        positions = await _compare_positions(stage, figures)
        faults = await _drain(stage, audience, figures, deadline)
    await _clear(amqp_url, names)
    if positions is not None and positions.difference is not None:
        faults.append(positions.difference)
    return _sum_up(audience, screen, figures, [*faults, *stage.faults], lines(positions))


async def _clear(amqp_url: str, names: Names) -> None:
    try:
        await remove_leftovers(amqp_url, names)
    except (OSError, aio_pika.exceptions.AMQPError, TimeoutError) as exc:
        raise ConfigError(
            "WSG_AMQP_URL",
            f"RabbitMQ cannot be used ({exc})",
            "use `make demo`, which brings one, or name one that runs",
        ) from exc


async def _subscribe(stage: Stage) -> None:
    for wish in WISHES:
        await stage.call("POST", "/api/v1/subscriptions", wish | {"requesting_service": SERVICE})


def _introduce(stage: Stage, screen: Screen) -> None:
    screen.say(f"  exchange  {stage.venue_url}   (simulated)")
    screen.say(f"  gateway   {stage.gateway_url}/health")
    screen.say(f"  log       {stage.log_file}   (kept if something goes wrong)")
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
    screen.say(f"  WSG_AMQP_URL={stage.amqp_url} {prefix} {command} tail trade")
    venue = stage.venue_url.replace("ws:", "http:", 1)
    screen.say("and, to see `gap` and `resumed` there, cut the connections:")
    screen.say(f"  {command.with_name('bybit-sim')} fault drop --url {venue}\n")


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


async def _compare_positions(stage: Stage, figures: Figures) -> Comparison | None:
    """Hold the reference consumer's table against the exchange; None where there is none."""
    if not has_position_manager():
        return None
    if figures.health and figures.health["broker"]["status"] != "ready":
        return Comparison({}, "the table of positions is not current: the broker is away")
    return await compare(embedded_url(stage.data_dir), stage.positions)


async def _drain(stage: Stage, audience: Audience, figures: Figures, deadline: float) -> list[str]:
    """End every subscription, and wait until what was confirmed has arrived; answers what has not.

    Those of the person watching end too: nothing may be under way when both sides are compared.
    """
    while items := (await stage.call("GET", "/api/v1/subscriptions?limit=500"))["items"]:
        for service in {item["requesting_service"] for item in items}:
            await stage.call("DELETE", f"/api/v1/subscriptions/by-service/{service}")
    while True:
        figures.take(await stage.call("GET", "/health"), audience)
        difference = missing_at_end(figures.health, audience.observed)
        if difference is None:
            return []
        if time.monotonic() > deadline:
            return [difference]
        await asyncio.sleep(_DRAIN_LOOK_SECONDS)


def missing_at_end(health: Mapping[str, Any], observed: int) -> str | None:
    """Say what keeps the gateway's account and the consumer's from being the same."""
    counters = health["delivery"]
    if topics := sum(health["subscriptions"].values()):
        return f"{topics} topics did not end although nobody wants them"
    if in_flight := counters["in_flight"]:
        return f"{in_flight:,} events were not confirmed"
    if observed != counters["confirmed"]:
        return f"{counters['confirmed']:,} were confirmed, but {observed:,} reached the consumer"
    return None


def not_sent(counters: Mapping[str, Any]) -> list[str]:
    """Say where what was received and not confirmed has ended, in the gateway's own words."""
    meanings = {
        "suppressed": "no news beside what was told before, so not sent",
        "shed": "given up, with a gap marker in each stream",
        "rejected": "refused by the broker, with a gap marker in each stream",
    }
    return [
        f"the others: {count:,} {end} ({reason}), "
        + ("a newer value took its place" if reason == "conflated" else meaning)
        for end, meaning in meanings.items()
        for reason, count in sorted(counters.get(end, {}).items())
        if count
    ]


def _sum_up(
    audience: Audience,
    screen: Screen,
    figures: Figures,
    faults: Sequence[str],
    positions: Sequence[str] = (),
) -> int:
    counters = figures.health.get("delivery", {})
    screen.say("\nsummary")
    for name, count in sorted(audience.received.items()):
        screen.say(f"  {name:<12} {count:>9,} events")
    screen.say(
        f"  received {counters.get('received', 0):,}, confirmed {counters.get('confirmed', 0):,}, "
        f"receive→confirm p50/p99 {figures.latency if figures.health else '-'}"
    )
    for line in not_sent(counters):
        screen.say(f"  {line}")
    for line in positions:
        screen.say(f"  {line}")
    checker = audience.checker
    for problem in checker.problems[:10]:
        screen.say(f"  hole: {problem}")
    for name in audience.silent_classes:
        screen.say(f"  nothing came of class {name}")
    for fault in faults:
        screen.say(f"  {fault}")
    if checker.problems or audience.silent_classes or faults:
        screen.say("not all is well")
        return EXIT_HOLES
    screen.say(
        "every subscribed class arrived, no stream has a hole, "
        "and all that was confirmed reached the consumer"
    )
    return 0
