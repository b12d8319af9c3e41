"""Says when everything private that was taken so far is safe: at the broker, or on disk."""

from __future__ import annotations

from ws_gateway.delivery.message import Message
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.delivery.spool import Spool


class Receipt:
    """The private messages that were in memory alone at one moment, until they are not."""

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages

    @property
    def is_safe(self) -> bool:
        """Say whether each was confirmed, given up with a marker, or written to the spool."""
        self._messages = [m for m in self._messages if not m.is_settled and m.record is None]
        return not self._messages


class Receipts:
    """Makes receipts for what delivery holds."""

    def __init__(self, outbox: Outbox, spool: Spool) -> None:
        self._outbox = outbox
        self._spool = spool

    def take(self) -> Receipt:
        """Return one for every private message taken so far."""
        return Receipt([*self._outbox.private.messages(), *self._spool.pending()])
