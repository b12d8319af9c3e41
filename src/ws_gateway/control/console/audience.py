"""Who watches: how many may, for how long, and what each is sent."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from ws_gateway.control.access import require
from ws_gateway.control.console.pictures import PICTURE_SECONDS, Pictures
from ws_gateway.control.console.schemas import Begin, LiveQuery
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.errors import Throttled

MOST_STREAMS = 24
"""How many may watch at once."""

MOST_OF_A_KEY = 6
"""How many may watch with one key, so that no service shuts out the people."""

MOST_SECONDS = 60.0
"""How long one may watch with a key that was looked at once."""

LOOK_SECONDS = 0.1
"""How often it is looked whether what was sent has arrived."""

WAIT_SECONDS = 10.0
"""When somebody for whom there was no place may come again."""


def _nothing_unsent() -> int:
    return 0


class Audience:
    """Lets people watch.

    A stream is pulled: a picture is taken when the one before has arrived, so who reads slowly
    sees fewer, none of them old, and costs no memory. After a minute it ends, however few were
    sent, and the page asks anew, so that a key that was revoked meanwhile shows nothing any more.

    Args:
        pictures: what there is to see.
        most, most_of_a_key: how many may watch at once.
        most_seconds: how long a stream lasts.
        monotonic: clock in seconds.
    """

    def __init__(
        self,
        pictures: Pictures,
        *,
        most: int = MOST_STREAMS,
        most_of_a_key: int = MOST_OF_A_KEY,
        most_seconds: float = MOST_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pictures = pictures
        self._most = most
        self._most_of_a_key = most_of_a_key
        self._most_seconds = most_seconds
        self._monotonic = monotonic
        self._watching: Counter[str] = Counter()
        self._ended = asyncio.Event()

    @property
    def size(self) -> int:
        """Say how many watch."""
        return self._watching.total()

    @contextmanager
    def seat(self, caller: Caller) -> Iterator[None]:
        """Have a place meanwhile.

        Raises:
            Forbidden: the key may not read.
            Throttled: there is none left.
        """
        require(caller, Scope.SUBSCRIPTIONS_READ)
        if self._watching[caller.key_id] >= self._most_of_a_key:
            raise Throttled(
                f"{self._most_of_a_key} live streams are open with this key; close one",
                code="live_streams_of_key",
                retry_after_seconds=WAIT_SECONDS,
            )
        if self.size >= self._most:
            raise Throttled(
                f"{self._most} live streams are open, which is all there may be; close one",
                code="live_streams",
                retry_after_seconds=WAIT_SECONDS,
            )
        self._watching[caller.key_id] += 1
        try:
            yield
        finally:
            self._watching[caller.key_id] -= 1
            if not self._watching[caller.key_id]:
                del self._watching[caller.key_id]

    def end(self) -> None:
        """End every stream: the gateway stops."""
        self._ended.set()
        self._pictures.close()

    async def watch(
        self,
        caller: Caller,
        wanted: LiveQuery,
        unsent: Callable[[], int] = _nothing_unsent,
    ) -> AsyncIterator[bytes]:
        """Yield what a viewer is sent, a second apart or more, as server-sent events.

        Args:
            caller: who watches.
            wanted: what is sent.
            unsent: says how many bytes of what was sent have not arrived yet.
        """
        ends_at = self._monotonic() + self._most_seconds
        is_allowed = caller.services is None
        told: dict[str, int] = {}
        # At once, so that the viewer knows how far the two clocks are apart, to within this answer.
        yield _event("begin", Begin(at=datetime.now(UTC)).model_dump_json()).encode()
        for number in range(wanted.pictures):
            if number and not await self._is_next_due(ends_at, unsent):
                break
            shot = await self._pictures.newest(self.size)
            parts = [
                _event("picture", shot.picture),
                _event("topics", await shot.topics(wanted.search, wanted.topics)),
            ]
            for name, (revision, text) in (
                ("markers", self._pictures.markers()),
                ("errors", self._pictures.troubles(is_allowed=is_allowed)),
            ):
                if told.get(name) != revision:
                    told[name] = revision
                    parts.append(_event(name, text))
            yield "".join(parts).encode()
        why = "the gateway stops" if self._ended.is_set() else "ask again"
        yield _event("end", f'{{"why":"{why}"}}').encode()

    async def _is_next_due(self, ends_at: float, unsent: Callable[[], int]) -> bool:
        """Wait for the next picture's time and for room, or for the end; say which it was."""
        due_at = self._monotonic() + PICTURE_SECONDS
        while (now := self._monotonic()) < ends_at:
            if now >= due_at and not unsent():
                return True
            if await self._is_over(min(max(due_at - now, LOOK_SECONDS), ends_at - now)):
                break
        return False

    async def _is_over(self, seconds: float) -> bool:
        """Wait so long, or until all end; say which it was."""
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"  # JSON has no line breaks
