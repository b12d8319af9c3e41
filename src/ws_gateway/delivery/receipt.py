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

    @property
    def has_ease(self) -> bool:
        """Say whether half of what is kept for private events is free, in memory or for the disk.

        What waits for the disk is gone in a moment; what is in memory while the disk takes what
        comes does not stand in the way.
        """
        many = self._spool.pending_count if self._spool.is_taking else self._outbox.private_held
        return many < max(1, self._outbox.private_reserve // 2)

    def take(self) -> Receipt:
        """Return one for every private message taken so far."""
        return Receipt([*self._outbox.private.messages(), *self._spool.pending()])
