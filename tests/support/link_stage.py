"""Runner and publisher before a broker that answers when the test says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from pamqp.header import ContentHeader

from support.delivery_rig import NoVenue
from ws_gateway.config import QueueType
from ws_gateway.delivery.line import PublisherSettings
from ws_gateway.delivery.link import Link
from ws_gateway.delivery.outbox import Outbox
from ws_gateway.delivery.publisher import Publisher
from ws_gateway.delivery.spool import Spool
from ws_gateway.delivery.spool_records import condense
from ws_gateway.delivery.topology import Names
from ws_gateway.domain.topic import Topic
from ws_gateway.pipeline.runner import Runner
from ws_gateway.runtime.counters import Counters
from ws_gateway.runtime.identity import TraceIds
from ws_gateway.runtime.spool_log import SpoolLog


class Broker(Link):
    """A link whose broker answers when the test says; keeps what it took."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.resent: list[str] = []

    @property
    def is_writable(self) -> bool:
        """Take any number."""
        return True

    def write(self, frames: bytes) -> None:
        """Read the bodies out of whole frames."""
        while frames:
            kind, size = frames[0], int.from_bytes(frames[3:7])
            if kind == 2:
                header = ContentHeader()
                header.unmarshal(frames[7 : 7 + size])
                if header.properties.headers == {"resent": True}:
                    self.resent.append(str(header.properties.message_id))
            if kind == 3:
                self.bodies.append(json.loads(frames[7 : 7 + size]))
            frames = frames[8 + size :]


class Stage:
    """Runner and publisher before such a broker."""

    def __init__(
        self,
        *,
        max_events: int = 100,
        window: int = 20,
        spool: Path | None = None,
        spool_bytes: int = 1_000_000,
        epoch: str = "E",
    ) -> None:
        self.counters = Counters()
        self.outbox = Outbox(max_events=max_events, max_bytes=10**9)
        self.log: SpoolLog | None = None
        self.spool: Spool | None = None
        if spool is not None:
            self.log = SpoolLog(
                spool, max_bytes=spool_bytes, max_age_seconds=1e9, condense=condense
            )
            self.spool = Spool(
                self.log,
                self.outbox,
                self.counters,
                exchange="t.events",
                account="main",
                clock_us=lambda: time.time_ns() // 1000,
                new_trace_id=TraceIds(),
            )
        self.publisher = Publisher(
            PublisherSettings("", Names("t"), QueueType.CLASSIC, "main", window, 10.0),
            outbox=self.outbox,
            counters=self.counters,
            rng=Random(1),
            clock_us=lambda: time.time_ns() // 1000,
            spool=self.spool,
        )
        self.runner = Runner(
            outlet=self.publisher,
            resync=NoVenue(),
            counters=self.counters,
            epoch=epoch,
            clock_us=lambda: time.time_ns() // 1000,
            new_trace_id=TraceIds(),
        )
        self.publisher.report_losses_to(self.runner)
        self.private, self.public = self.publisher._senders
        self.broker = Broker()

    def begin(self) -> None:
        """Let both connections stand, to the one broker."""
        self.private.begin(self.broker)
        self.public.begin(self.broker)

    def end(self) -> None:
        """Let both be lost."""
        self.private.end()
        self.public.end()

    def flush(self) -> None:
        """Send what may be sent."""
        self.private.flush()
        self.public.flush()

    def confirm(self) -> None:
        """Answer for everything sent, and take what follows."""
        self.private.on_confirm(self.outbox.private.next_tag - 1, multiple=True)
        self.public.on_confirm(self.outbox.public.next_tag - 1, multiple=True)
        self.flush()

    def drain(self) -> None:
        """Take everything."""
        self._take_back()
        while self.outbox.messages:
            self.confirm()
            self._take_back()

    def _take_back(self) -> None:
        self.private.take_back()
        self.public.take_back()
        self.flush()

    def assert_balance(self) -> None:
        """Insist that every fact is somewhere."""
        held = self.publisher.in_flight + self.publisher.spooled
        assert self.counters.received == self.counters.settled() + held


class Rereader:
    """Remembers of which topics facts were lost, and since when.

    Attributes:
        asked: topics, None for whatever there is.
        since: exchange time, ms, of each loss.
    """

    def __init__(self) -> None:
        self.asked: list[Topic | None] = []
        self.since: list[int | None] = []

    def facts_lost(self, topics: Iterable[Topic] | None, since: int | None = None) -> None:
        """Remember it."""
        self.asked += [None] if topics is None else topics
        self.since.append(since)
