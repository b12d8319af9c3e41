"""What of the delivered events a consumer wants: the routing keys that bring it, and the filter.

Keys cannot say everything, and a filter must not hide that something is missing.
"""

from __future__ import annotations

from datetime import datetime

from ws_gateway.client.event import Envelope
from ws_gateway.domain.routing import ABSENT, routing_word
from ws_gateway.domain.topic import LANE_OF, EventClass, Lane

_US = 1_000_000


def binding_keys(event_class: str, category: str | None, symbol: str | None) -> list[str]:
    """Return the routing keys that bring the wanted events and the markers about them.

    Markers of private streams name no symbol, and no category either unless their topic is of
    one, for they are about all of them; a filter must not hide that something is missing.
    """
    if category is None and symbol is None:
        return [f"{event_class}.#"]
    where = "*" if category is None else routing_word(category)
    wanted = "*" if symbol is None else routing_word(symbol)
    keys = [f"{event_class}.{where}.{wanted}", f"{event_class}.{ABSENT}.{ABSENT}"]
    return keys if wanted == "*" else [*keys, f"{event_class}.{where}.{ABSENT}"]


def own_keys(event_class: EventClass, category: str | None, symbol: str | None) -> list[str]:
    """Return what the own queue is bound by: whole streams, whose numbers can be followed."""
    if LANE_OF[event_class] is Lane.PRIVATE:
        return binding_keys(event_class, None, None)
    return binding_keys(event_class, category, symbol)


class Choice:
    """What of a queue's messages is wanted."""

    def __init__(
        self,
        event_class: str,
        category: str | None,
        symbol: str | None,
        since: datetime | None,
        account: str | None = None,
    ) -> None:
        self._event_class = event_class
        self._category = category
        self._symbol = symbol
        self._account = account
        self._since_us = None if since is None else since.timestamp() * _US

    def is_early(self, envelope: Envelope) -> bool:
        """Say whether the replay has not begun: a stream gives whole chunks of messages."""
        if self._since_us is None:
            return False
        if envelope.received_at < self._since_us:
            return True
        self._since_us = None
        return False

    def takes(self, envelope: Envelope) -> bool:
        """Say whether it passes the filter."""
        return (
            envelope.event_type == self._event_class
            and self._account in (None, envelope.account)
            and self._fits(self._category, envelope.category, envelope)
            and self._fits(self._symbol, envelope.symbol, envelope)
        )

    def concerns(self, envelope: Envelope) -> bool:
        """Say whether what is missing before an event may be wanted.

        A private stream has all symbols, and all categories unless its topic names one.
        """
        if envelope.account is None or envelope.event_type != self._event_class:
            return self.takes(envelope)
        if self._account not in (None, envelope.account):
            return False
        one = envelope.topic.rpartition(".")[2]
        return self._category in (None, envelope.category) or one != envelope.category

    @staticmethod
    def _fits(wanted: str | None, found: str | None, envelope: Envelope) -> bool:
        return wanted is None or wanted == found or (found is None and envelope.is_marker)
