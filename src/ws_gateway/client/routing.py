"""What a routing key says, for consumers that decide by it before they read the message."""

from __future__ import annotations

from typing import NamedTuple

from ws_gateway.domain.routing import read_routing_word


class Route(NamedTuple):
    """What a routing key names; None where it names nothing, as markers of private streams do."""

    event_class: str
    category: str | None
    symbol: str | None


def read_routing_key(key: str) -> Route:
    """Read a key as the gateway wrote it: `%2E` in a symbol is a dot again.

    Raises:
        ValueError: the key has not three words, so the gateway wrote it for something else than
            an event (`quarantine.{reason}`).
    """
    words = key.split(".")
    if len(words) != len(Route._fields):
        raise ValueError(f"{key!r} is no routing key of an event: it has {len(words)} words, not 3")
    event_class, category, symbol = words
    return Route(event_class, read_routing_word(category), read_routing_word(symbol))
