"""Cryptofeed's Bybit feed into its RabbitMQ backend, both as shipped, fed by the flooding venue.

    python -m contenders.cryptofeed_stack VENUE_URL AMQP_URL EXCHANGE SYMBOL,SYMBOL…

Runs in an environment of its own (`make bench ARGS=--with-cryptofeed` makes it). Changed are only
the address of its socket, its list of instruments, which it would ask of the venue over REST, and
that every awaited publish is counted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from cryptofeed import FeedHandler
from cryptofeed.backends.rabbitmq import BookRabbit
from cryptofeed.defines import L2_BOOK
from cryptofeed.exchanges import Bybit
from cryptofeed.symbols import Symbols

from contenders.tally import Tally, answer

VENUE, AMQP, EXCHANGE, SYMBOLS = sys.argv[1:5]


class LocalBybit(Bybit):  # type: ignore[misc]  # cryptofeed has no types
    """The feed, on a plain socket of this machine."""

    def connect(self) -> list[Any]:
        """Name the flooding venue instead; the class itself takes wss addresses only."""
        connections: list[Any] = super().connect()
        for connection, *_ in connections:
            connection.address = f"{VENUE}/v5/public/linear"
        return connections


class CountedBook(BookRabbit):  # type: ignore[misc]  # as above
    """The backend, counted."""

    def __init__(self, tally: Tally, **given: Any) -> None:
        super().__init__(**given)
        self._tally = tally

    async def write(self, data: dict[str, Any]) -> None:
        """Publish, and count when the broker has confirmed."""
        await super().write(data)
        self._tally.note(time.time() - data["receipt_timestamp"])


def main() -> None:
    """Run until standard input ends."""
    tally, names = Tally(), SYMBOLS.split(",")
    normal = {f"{name.removesuffix('USDT')}-USDT-PERP": name for name in names}
    Symbols.set(Bybit.id, normal, {"instrument_type": {}, "tick_size": {}})
    address = urlsplit(AMQP)
    backend = CountedBook(
        tally,
        host=address.netloc + address.path,
        exchange_mode=True,
        exchange_name=EXCHANGE,
        exchange_type="topic",
        routing_key=f"orderbook.linear.{names[0]}",
    )
    handler = FeedHandler(config={"uvloop": True, "log": {"disabled": True}})
    handler.add_feed(
        LocalBybit(
            symbols=list(normal),
            channels=[L2_BOOK],
            callbacks={L2_BOOK: backend},
            config=handler.config,
        )
    )
    loop = asyncio.new_event_loop()  # uvloop's: the handler has set the policy
    asyncio.set_event_loop(loop)
    handler.run(start_loop=False, install_signal_handlers=False)
    loop.run_until_complete(answer(tally))


if __name__ == "__main__":
    main()
