"""`ws-gateway tail`: events of one class as they are delivered, without taking them from anyone."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from ws_gateway.client.choice import binding_keys
from ws_gateway.client.link import Message, Position
from ws_gateway.client.messages import own_queue, read_messages
from ws_gateway.config import Settings
from ws_gateway.delivery.link import prove_broker
from ws_gateway.delivery.topology import Names
from ws_gateway.errors import BrokerLost, ConfigError, Rejected

_HELD = 10_000
"""Most events the broker keeps for a terminal that is slower than the market."""

_SUMMARY_CHARS = 100

_PREFETCH = 500
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class TailOptions:
    """What to print; `*` or None is everything."""

    event_class: str
    as_json: bool
    category: str
    symbol: str | None
    count: int | None
    account: str | None = None

    @property
    def binding_keys(self) -> list[str]:
        """The routing keys that are wanted; a filter does not hide that something is missing."""
        category = None if self.category == "*" else self.category
        return binding_keys(self.event_class, category, self.symbol)

    def takes(self, body: bytes) -> bool:
        """Say whether an event is of the account that is wanted, which no routing key names."""
        if self.account is None:
            return True
        return msgspec.json.decode(body, type=_Whose).account == self.account


class _Whose(msgspec.Struct):
    account: str | None = None


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
    except BrokerLost as exc:
        raise ConfigError(
            "WSG_AMQP_URL",
            f"RabbitMQ at {url.partition('://')[2].rpartition('@')[2]} cannot be used ({exc})",
            "start it, or correct the URL, its user and password",
        ) from exc
    if sys.stderr.isatty():
        sys.stderr.write(f"waiting for {options.event_class} events; Ctrl-C ends\n")
    queue = own_queue(settings.amqp_prefix, options.binding_keys, _PREFETCH, 0, _HELD)
    try:
        async with aclosing(
            read_messages(url, queue, Position(), reconnect=False, connect_seconds=_PATIENCE)
        ) as messages:
            await _print_events(messages, options, stop)
    except Rejected as exc:
        if exc.code == "refused":
            raise ConfigError(
                "WSG_AMQP_URL",
                f"its user may not read along: {exc}",
                f"let it configure, write and read '^{names.prefix}\\.reader\\.', and read "
                f"{names.exchange}, or name another user",
            ) from exc
        raise ConfigError(
            "WSG_AMQP_PREFIX",
            f"the broker has no exchange {names.exchange!r}",
            "start a gateway with this prefix, or name the prefix of the one that runs",
        ) from exc
    except BrokerLost as exc:
        raise BrokerLost(f"the connection to RabbitMQ was lost ({exc})") from exc


async def _print_events(
    messages: AsyncGenerator[Message], options: TailOptions, stop: asyncio.Event
) -> None:
    stopping = asyncio.ensure_future(stop.wait())
    printed = 0
    try:
        while options.count is None or printed < options.count:
            coming = asyncio.ensure_future(anext(messages))
            try:
                await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not coming.done():
                    coming.cancel()
                    await asyncio.wait({coming})
            if coming.cancelled():
                return
            message = coming.result()
            if not options.takes(message.body):
                await message.ack_in_turn()
                continue
            printed += 1
            try:
                print_event(message.body, as_json=options.as_json)
            except BrokenPipeError:  # `tail … | head`: the reader has enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return
            await message.ack_in_turn()
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
    stream = event["topic"]
    if event["account"] is not None:
        stream = f"{event['account']} {event['topic']} {event['symbol']}"
    return f"{at}  {place:<8} {stream:<28} {event['sequence']:>8}  {event['kind']:<8}  {payload}"
