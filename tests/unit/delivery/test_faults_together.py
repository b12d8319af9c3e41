"""Everything between a fact and its reader, with broker, disk and process failing in any order."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp.header import ContentHeader

from support.delivery_rig import ORDERS, TICKER, TRADES, observe
from support.link_stage import Broker, Stage
from ws_gateway.client.continuity import ContinuityChecker
from ws_gateway.delivery import sender, spool, spool_disk
from ws_gateway.delivery.sender import Sender
from ws_gateway.domain.event import Kind
from ws_gateway.domain.topic import parse_topic
from ws_gateway.runtime import spool_log

EXECUTIONS = parse_topic("execution", None)
TOPICS = (ORDERS, EXECUTIONS, TRADES, TICKER)
CLASSES = {True: frozenset({"order", "execution"}), False: frozenset({"trade", "ticker"})}


class World:
    """What fails at present, and what the reader of all queues received."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.is_disk_full = False
        self.is_black_hole = False
        self.without_queue: set[str] = set()
        self.read: list[dict[str, Any]] = []

    @contextmanager
    def around(self) -> Iterator[None]:
        """Give delivery this world's clock and disk."""
        write_all = spool_log._write_all

        def write(file: int, data: bytes) -> None:
            if self.is_disk_full:
                os.write(file, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "full")
            write_all(file, data)

        clock = SimpleNamespace(monotonic=lambda: self.now)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spool_log, "_write_all", write)
            for module in (sender, spool, spool_disk):
                patch.setattr(module, "time", clock)
            yield


class Pipe(Broker):
    """One connection: what is written arrives, comes back, or vanishes, as the world is then.

    Attributes:
        answers: what the broker owes for each message: True if it was routed, its id if it was not,
            None if nothing will ever come.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.answers: list[bool | str | None] = []
        self.answered = 0

    def write(self, frames: bytes) -> None:
        """Take whole messages."""
        headers: dict[str, Any] = {}
        while frames:
            kind, size = frames[0], int.from_bytes(frames[3:7])
            if kind == 2:
                header = ContentHeader()
                header.unmarshal(frames[7 : 7 + size])
                headers = dict(header.properties.headers or {})
            if kind == 3:
                self._take(json.loads(frames[7 : 7 + size]), headers)
            frames = frames[8 + size :]

    def _take(self, body: dict[str, Any], headers: dict[str, Any]) -> None:
        if self._world.is_black_hole:
            self.answers.append(None)
        elif body["event_type"] in self._world.without_queue:
            self.answers.append(str(body["event_id"]))
        else:
            self._world.read.append(body | {"headers": headers})
            self.answers.append(True)


class Play:
    """A gateway's delivery through its lives, in such a world."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world, self.life = folder, world, 0
        self.private_told: list[str] = []
        self.pipes: dict[bool, Pipe] = {}

    async def begin_life(self) -> None:
        """Begin as a process does."""
        self.life += 1
        self.stage = Stage(  # with room for all that a play can tell
            spool=self.folder, epoch=f"E{self.life:03}", max_events=30_000, spool_bytes=30_000_000
        )
        assert self.stage.spool is not None
        await self.stage.spool.open()

    def sender(self, *, private: bool) -> Sender:
        """Return what writes."""
        return self.stage.private if private else self.stage.public

    async def step(self) -> None:
        """Let the spool do what there is to do."""
        assert self.stage.spool is not None
        await self.stage.spool.step()
        self.stage.assert_balance()

    def feed(self, many: int) -> None:
        """Let facts of one topic come."""
        topic = TOPICS[many % len(TOPICS)]
        for _ in range(many):
            fact = observe(topic, kind=Kind.UPDATE, payload=b"{}")
            self.stage.runner.accept(fact)
            if topic.is_private:
                self.private_told.append(fact.event_id)
        self.stage.flush()

    def connect(self, *, private: bool, helps: bool) -> None:
        """Let a connection stand; queues are declared before, and bound if that helps."""
        if private not in self.pipes and not self.world.is_black_hole:
            if helps:
                self.world.without_queue -= CLASSES[private]
            writer, pipe = self.sender(private=private), Pipe(self.world)
            self.pipes[private] = pipe
            writer.unbound = CLASSES[private] & self.world.without_queue
            writer.begin(pipe)

    def lose(self, *, private: bool) -> None:
        """Let a connection be lost."""
        self.sender(private=private).end()
        self.pipes.pop(private, None)

    def answer(self, many: int, *, private: bool) -> None:
        """Let the broker answer what it owes, oldest first."""
        pipe, writer = self.pipes.get(private), self.sender(private=private)
        while pipe is not None and many and pipe.answered < len(pipe.answers):
            owed = pipe.answers[pipe.answered]
            if owed is None:
                return
            pipe.answered, many = pipe.answered + 1, many - 1
            if isinstance(owed, str):
                writer.on_return(owed, "312 NO_ROUTE")
            writer.on_confirm(pipe.answered, multiple=False)

    def mend(self, *, private: bool, helps: bool) -> None:
        """Declare the queues anew, as a line does when nothing is on its way."""
        writer = self.sender(private=private)
        if private not in self.pipes or writer._flight.unconfirmed:
            return
        if helps:
            self.world.without_queue -= CLASSES[private]
        writer.unbound = CLASSES[private] & self.world.without_queue
        writer.attention.clear()
        writer.topology_suspect = False
        writer.take_back()
        writer.flush()

    async def end_life(self, *, killed: bool) -> None:
        """Die by `kill -9` a moment after the broker was lost, or stop."""
        self.world.is_disk_full = False
        self.world.now += 2
        for private in (True, False):
            self.lose(private=private)
        for _ in range(3):
            await self.step()
        stage = self.stage
        assert stage.spool is not None
        assert stage.log is not None
        if not killed:
            await stage.spool.close()
        stage.spool._disk._thread.shutdown()
        if killed and stage.log._lock is not None:
            os.close(stage.log._lock)

    async def act(self, what: str, many: int) -> None:
        """Do one thing."""
        private = bool(many % 2)
        if what in {"die", "stop"}:
            await self.end_life(killed=what == "die")
            await self.begin_life()
        elif what == "step":
            await self.step()
        else:
            {
                "feed": lambda: self.feed(many),
                "connect": lambda: self.connect(private=private, helps=many > 15),
                "lose": lambda: self.lose(private=private),
                "answer": lambda: self.answer(many, private=private),
                "mend": lambda: self.mend(private=private, helps=many > 15),
                "time": lambda: self.pass_time(many / 10),
                "queue": lambda: self.delete_queue(many),
                "disk": self.turn_disk,
                "hole": self.turn_black_hole,
            }[what]()

    def pass_time(self, seconds: float) -> None:
        """Let the clock run, and what is due be done."""
        self.world.now += seconds
        for private in self.pipes:
            self.sender(private=private).mind_refusals()

    def delete_queue(self, number: int) -> None:
        """Let somebody delete a queue."""
        self.world.without_queue.add(TOPICS[number % len(TOPICS)].event_class.value)

    def turn_disk(self) -> None:
        """Fill the disk, or free it."""
        self.world.is_disk_full = not self.world.is_disk_full

    def turn_black_hole(self) -> None:
        """Let what is written vanish; connections do not outlive that."""
        self.world.is_black_hole = not self.world.is_black_hole
        if not self.world.is_black_hole:
            self.pipes.clear()
            self.stage.end()

    async def deliver(self) -> None:
        """Let all be well until nothing is held."""
        world, stage = self.world, self.stage
        world.is_disk_full = world.is_black_hole = False
        for private in (True, False):
            self.lose(private=private)
            self.connect(private=private, helps=True)
        assert stage.spool is not None
        for turn in range(2_000):
            world.now += 0.5
            for private in (True, False):
                self.answer(10_000, private=private)
                self.mend(private=private, helps=True)
                self.sender(private=private).mind_refusals()
            stage.runner.room_again()
            await self.step()
            stage.flush()
            if turn > 30 and stage.spool.is_empty and not stage.outbox.messages:
                break
        assert (stage.spool.observed, stage.outbox.messages) == (0, 0)


OFTEN = ["feed", "feed", "feed", "step", "step", "answer", "answer", "connect", "connect", "mend"]
SELDOM = ["lose", "time", "queue", "disk", "hole", "die", "stop"]
_steps = st.tuples(st.sampled_from([*OFTEN, *SELDOM]), st.integers(1, 30))


@settings(max_examples=40, deadline=None)
@given(st.lists(_steps, min_size=30, max_size=80))
async def test_whatever_fails_together_each_number_is_explained_and_nothing_private_lost(
    steps: list[tuple[str, int]],
) -> None:
    """In order, once or flagged as resent, and the counters add up all the while."""
    world = World()
    with tempfile.TemporaryDirectory(prefix="together-") as folder, world.around():
        play = Play(Path(folder), world)
        await play.begin_life()
        for what, many in steps:
            await play.act(what, many)
            play.stage.assert_balance()
        await play.deliver()
        for number in range(4, 8):  # each stream has an end
            play.feed(number)
        await play.deliver()
        await play.end_life(killed=True)
    judge(world.read, set(play.private_told), last_epoch=f"E{play.life:03}")


def judge(read: list[dict[str, Any]], private_told: set[str], *, last_epoch: str) -> None:
    """Hold what was read against the promises; public events of a process that died may lack."""
    kept = [one for one in read if one["account"] is not None or one["epoch"] == last_epoch]
    checker = ContinuityChecker(from_start=True)
    newest: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    for one in kept:
        checker.check(one)
        if one["event_id"] in seen:
            assert one["headers"] == {"resent": True}, one
        elif one["account"] is not None:
            place = (one["topic"], one["epoch"])
            assert one["sequence"] > newest.get(place, 0), one
            newest[place] = one["sequence"]
        seen.add(one["event_id"])
    assert checker.problems == []
    assert private_told <= seen
