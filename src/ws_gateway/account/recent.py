"""Which facts of a stream were told lately, and the newest state of each order."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from ws_gateway.account.reconcile_plan import OrderAge, decode_head, order_age

_MOST_IDS = 50_000
_MOST_ORDERS = 20_000


def id_digest(event_id: str, key: str) -> bytes:
    """Return what stands for a fact whatever the topic it is told on: 8 bytes."""
    return blake2b(event_id[len(key) + 1 :].encode(), digest_size=8).digest()


class RecentIds:
    """A bounded memory of what one stream told."""

    def __init__(self, most: int = _MOST_IDS) -> None:
        self._most = most
        self._ids: dict[bytes, None] = {}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._ids

    def add(self, digest: bytes) -> None:
        """Remember one."""
        self._ids[digest] = None
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]

    def forget(self, digest: bytes) -> None:
        """Let it be told again."""
        self._ids.pop(digest, None)

    def seed(self, digests: Iterable[bytes]) -> None:
        """Remember what an earlier process told."""
        for digest in digests:
            self.add(digest)


class OrderBook:
    """The newest state of each order that one stream told; closed ones are bounded in number."""

    def __init__(self, most: int = _MOST_ORDERS) -> None:
        self._most = most
        self._open: dict[tuple[str, str], OrderAge] = {}
        self._closed: dict[tuple[str, str], OrderAge] = {}

    def is_outdated(self, category: str, payload: bytes) -> bool:
        """Say whether a later state of this order was told already."""
        try:
            head = decode_head(payload)
        except msgspec.DecodeError:
            return False
        known = self._known((category, head.order_id))
        # A closed order stays closed, whatever its times say.
        return known is not None and (order_age(head) < known or (known[2] and head.is_open))

    def note(self, category: str, payload: bytes) -> None:
        """Take note of a state that was told."""
        try:
            head = decode_head(payload)
        except msgspec.DecodeError:
            return
        key, age = (category, head.order_id), order_age(head)
        known = self._known(key)
        if known is not None and (age < known or (known[2] and not age[2])):
            return
        self._open.pop(key, None)
        self._closed.pop(key, None)
        book = self._open if head.is_open else self._closed
        book[key] = age
        if len(book) > self._most:
            del book[next(iter(book))]

    def open_ids(self, category: str, before: int) -> set[str]:
        """Name the orders that live, as far as the stream told, and were last told before then."""
        return {
            order_id
            for (of, order_id), age in self._open.items()
            if of == category and age[0] < before
        }

    def _known(self, key: tuple[str, str]) -> OrderAge | None:
        return self._open.get(key) or self._closed.get(key)
