"""`ws-gateway tail`: events of one class as they are delivered, without taking them from anyone."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aio_pika
import aio_pika.exceptions
import msgspec

from ws_gateway.config import Settings
from ws_gateway.delivery.link import prove_broker
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.routing import routing_word
from ws_gateway.errors import BrokerLost, ConfigError

_HELD = 10_000
"""Most events the broker keeps for a terminal that is slower than the market."""

_SUMMARY_CHARS = 100

_LOST = (aio_pika.exceptions.AMQPError, OSError, StopAsyncIteration, asyncio.CancelledError)
"""How aio-pika tells that nothing more will come."""


@dataclass(frozen=True, slots=True)
class TailOptions:
    """What to print; `*` or None is everything."""

    event_class: str
    as_json: bool
    category: str
    symbol: str | None
    count: int | None

    @property
    def binding_keys(self) -> list[str]:
        """The routing keys that are wanted.

        Markers of private streams name no symbol, and no category either unless their topic is of
        one, for they are about all of them; a filter must not hide that something is missing.
        """
        if self.category == "*" and self.symbol is None:
            return [f"{self.event_class}.#"]
        wanted = "*" if self.symbol is None else routing_word(self.symbol)
        keys = [f"{self.event_class}.{self.category}.{wanted}", f"{self.event_class}.-.-"]
        return keys if wanted == "*" else [*keys, f"{self.event_class}.{self.category}.-"]


async def run_tail(settings: Settings, options: TailOptions, stop: asyncio.Event) -> None:
    """Print events until `stop` is set or enough were printed.

    Raises:
        ConfigError: the broker or the exchange is not there.
        BrokerLost: the connection went away meanwhile.
    """
    names = Names(settings.amqp_prefix)
    url = settings.amqp_url.get_secret_value()
    try:
        await prove_broker(url)  # it finds the broker's own words where the driver hides them
        connection = await aio_pika.connect(url, timeout=5)
    except (BrokerLost, OSError, aio_pika.exceptions.AMQPError) as exc:
        raise ConfigError(
            "WSG_AMQP_URL",
            f"RabbitMQ at {url.partition('://')[2].rpartition('@')[2]} refuses ({exc})",
            "start it, or correct the URL",
        ) from exc
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=500)
        try:
            exchange = await channel.get_exchange(names.exchange)
        except aio_pika.exceptions.ChannelClosed as exc:
            raise ConfigError(
                "WSG_AMQP_PREFIX",
                f"the broker has no exchange {names.exchange!r}",
                "start a gateway with this prefix, or name the prefix of the one that runs",
            ) from exc
        queue = await channel.declare_queue(
            exclusive=True, auto_delete=True, arguments={"x-max-length": _HELD}
        )
        for key in options.binding_keys:
            await queue.bind(exchange, key)
        if sys.stderr.isatty():
            sys.stderr.write(f"waiting for {options.event_class} events; Ctrl-C ends\n")
        await _print_events(queue, options, stop)


async def _print_events(
    queue: aio_pika.abc.AbstractQueue, options: TailOptions, stop: asyncio.Event
) -> None:
    stopping = asyncio.ensure_future(stop.wait())
    printed = 0
    try:
        async with queue.iterator(no_ack=True) as events:
            while options.count is None or printed < options.count:
                coming = asyncio.ensure_future(anext(events))
                await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    return
                try:
                    message = coming.result()
                except _LOST as exc:
                    why = str(exc) or "it was closed"
                    raise BrokerLost(f"the connection to RabbitMQ was lost ({why})") from exc
                printed += 1
                try:
                    print_event(message.body, as_json=options.as_json)
                except BrokenPipeError:  # `tail … | head`: the reader has enough
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                    return
    finally:
        stopping.cancel()


def print_event(body: bytes, *, as_json: bool) -> None:
    """Print one event: the whole envelope, or what a person wants to see of it."""
    if as_json:
        # The venue's own line breaks would tear the line.
        line = msgspec.json.format(body, indent=-1) if b"\n" in body else body
        sys.stdout.write(line.decode() + "\n")
    else:
        sys.stdout.write(_summary(msgspec.json.decode(body)) + "\n")
    sys.stdout.flush()


def _summary(event: dict[str, Any]) -> str:
    if "event_type" not in event:  # a quarantined frame
        return f"{event['reason']}  {event['origin']}  {event['size']} bytes  {event['detail']}"
    at = datetime.fromtimestamp(event["received_at"] / 1e6, tz=UTC).strftime("%H:%M:%S.%f")[:-3]
    payload = msgspec.json.encode(event["payload"]).decode()
    if len(payload) > _SUMMARY_CHARS:
        payload = payload[:_SUMMARY_CHARS] + "…"
    place = event["category"] or event["account"] or "-"
    stream = event["topic"] if event["account"] is None else f"{event['topic']} {event['symbol']}"
    return f"{at}  {place:<8} {stream:<28} {event['sequence']:>8}  {event['kind']:<8}  {payload}"
