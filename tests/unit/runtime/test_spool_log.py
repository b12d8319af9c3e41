"""The log on disk against a list: through crashes, cut files and damaged bytes."""

from __future__ import annotations

import errno
import os
import tempfile
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from ws_gateway.runtime import spool_log
from ws_gateway.runtime.spool_format import Opened, Position, Record
from ws_gateway.runtime.spool_log import SpoolLog


def condense(records: list[Record]) -> list[Record]:
    """Keep the first and the last number of what was dropped."""
    numbers = [int(part) for record in records for part in record.data.split(b"-")[:2]]
    return [Record(b"%d-%d" % (min(numbers), max(numbers)), is_observed=False, is_loss=True)]


def open_log(folder: Path, **changes: object) -> SpoolLog:
    """Make a log of small segments."""
    arguments = {"max_bytes": 1 << 20, "max_age_seconds": 1e9, "condense": condense, **changes}
    return SpoolLog(folder, **arguments)  # type: ignore[arg-type]


def record(number: int, size: int = 0) -> Record:
    """Make a record that is known by its number."""
    return Record(b"%d-%d-" % (number, number) + b"x" * size, is_observed=number % 3 > 0)


class LogMachine(RuleBasedStateMachine):
    """Whoever writes, reads and acknowledges, and a machine that fails; the model is a list."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="spool-")
        self.folder = Path(self._folder.name)
        self.numbers = count()
        self.kept: list[Record] = []  # not acknowledged, oldest first
        self.read_upto = 0  # so many of them are in hand
        self.in_hand: list[Position] = []
        self.is_harmed = False
        self.turned: set[tuple[Path, int]] = set()
        self.log = open_log(self.folder, max_bytes=65_536)
        self.log.open()

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.log.close()
        self._folder.cleanup()

    @rule(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=6))
    def append(self, sizes: list[int]) -> None:
        """Write some."""
        records = [record(next(self.numbers), size) for size in sizes]
        positions = self.log.append(records)
        assert positions == sorted(positions)
        self.kept += records

    @precondition(lambda self: self.read_upto == len(self.kept))
    @rule(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=6))
    def append_what_is_in_hand(self, sizes: list[int]) -> None:
        """Write what needs not be read again."""
        records = [record(next(self.numbers), size) for size in sizes]
        self.in_hand += self.log.append(records, is_read=True)
        self.kept += records
        self.read_upto = len(self.kept)

    @rule(most=st.integers(1, 12))
    def read(self, most: int) -> None:
        """Read on, in order."""
        batch = self.log.read(most)
        expected = self.kept[self.read_upto :][:most]
        assert [one for _, one in batch.records] == expected
        assert self.is_harmed or batch.damaged == 0
        self.in_hand += [position for position, _ in batch.records]
        self.read_upto += len(expected)
        unread = self.kept[self.read_upto :]
        assert self.log.unread_observed == sum(one.is_observed for one in unread)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        """Be answered for some of what was read."""
        many = data.draw(st.integers(1, len(self.in_hand)))
        self.log.acknowledge(self.in_hand[many - 1])
        del self.in_hand[:many]
        del self.kept[:many]
        self.read_upto -= many

    @rule(is_closed=st.booleans())
    def reopen(self, *, is_closed: bool) -> None:
        """End, well or by `kill -9`: all that was not acknowledged comes again."""
        found = self._begin_anew(is_closed=is_closed)
        assert found.records == len(self.kept)
        assert self.is_harmed or found.damaged == 0
        assert found.observed == sum(one.is_observed for one in self.kept)

    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        """Lose the end of the newest file: what stood before it comes, and no more."""
        files = sorted(self.folder.glob("*.seg"))
        if files:
            size = files[-1].stat().st_size
            os.truncate(files[-1], data.draw(st.integers(0, size)))
            self._begin_anew()
            self._check_rest(self._all())

    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """Turn a byte over: the records it is in are left out, all others come in order."""
        files = [path for path in sorted(self.folder.glob("*.seg")) if path.stat().st_size]
        if files:
            path = data.draw(st.sampled_from(files))
            content = bytearray(path.read_bytes())
            place = data.draw(st.integers(0, len(content) - 1))
            if (path, place) in self.turned:
                return  # turned over once more it might be whole again
            self.turned.add((path, place))
            content[place] ^= data.draw(st.integers(1, 255))
            path.write_bytes(content)
            self.is_harmed = True
            self._begin_anew()
            came = self._all()
            missing = len(self.kept) - len(came)
            assert missing <= 1
            rest = iter(self.kept)
            assert all(one in rest for one in came)
            self.kept = came
            self.read_upto = len(came)

    def _begin_anew(self, *, is_closed: bool = False) -> Opened:
        if is_closed:
            self.log.close()
        elif self.log._lock is not None:  # what the system does for the dead
            os.close(self.log._lock)
        self.log = open_log(self.folder, max_bytes=65_536)
        self.in_hand.clear()
        self.read_upto = 0
        return self.log.open()

    def _all(self) -> list[Record]:
        records = []
        while batch := self.log.read(5).records:
            records += [one for _, one in batch]
            self.in_hand += [position for position, _ in batch]
        return records

    def _check_rest(self, came: list[Record]) -> None:
        assert came == self.kept[: len(came)]
        self.kept = came
        self.read_upto = len(came)


TestSpoolLog = LogMachine.TestCase
TestSpoolLog.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a log."""
    return tmp_path / "spool"


def test_what_is_beyond_the_bound_is_dropped_oldest_first_and_named(folder: Path) -> None:
    """A loss stands in its place, and grows while more is dropped."""
    log = open_log(folder, max_bytes=64_000)
    log.open()
    for number in range(1000):
        log.append([record(number, 900)])
        log.drop_oldest()
        assert log.size_bytes <= 64_000 + 6_000
    batch = log.read(2000).records
    first = int(batch[1][1].data.split(b"-")[0])
    assert first > 900
    assert batch[0][1] == Record(b"0-%d" % (first - 1), is_observed=False, is_loss=True)
    assert [one.data.split(b"-")[0] for _, one in batch[1:]] == [
        b"%d" % n for n in range(first, 1000)
    ]
    log.acknowledge(batch[-1][0])
    assert list(folder.glob("*.seg")) == []
    log.close()


def test_a_loss_survives_a_crash(folder: Path) -> None:
    """Its marker is owed by the next process."""
    log = open_log(folder, max_bytes=64_000)
    log.open()
    for number in range(200):
        log.append([record(number, 900)])
    assert log.drop_oldest() > 0
    kept = log.unread_observed
    log.close()
    again = open_log(folder, max_bytes=64_000)
    assert again.open().observed == kept
    assert again.read(1).records[0][1].is_loss
    again.close()


def test_what_is_too_old_is_dropped(folder: Path) -> None:
    """Also when it is in the newest file."""
    now = 1000.0
    log = open_log(folder, max_age_seconds=60, clock=lambda: now)
    log.open()
    log.append([record(1), record(2)])
    now += 59
    assert log.drop_oldest() == 0
    now += 2
    assert log.drop_oldest() == 2
    assert log.read(5).records[0][1].data == b"1-2"
    log.close()


def test_a_full_disk_loses_nothing_that_was_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written in part is cut off; later writes work again."""
    log = open_log(folder)
    log.open()
    log.append([record(1)])

    def full(file: int, data: memoryview) -> None:
        os.write(file, data[:5])
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(spool_log, "_write_all", full)
        for _ in range(3):
            with pytest.raises(OSError, match="no space"):
                log.append([record(2)])
    log.append([record(3)])
    assert [one for _, one in log.read(9).records] == [record(1), record(3)]
    log.close()
    again = open_log(folder)
    assert again.open().damaged == 0
    again.close()


def test_one_process_at_a_time_has_the_folder(folder: Path) -> None:
    """A second one is refused and harms nothing."""
    first, second = open_log(folder), open_log(folder)
    first.open()
    with pytest.raises(OSError, match=r"temporarily unavailable"):
        second.open()
    first.close()
    second.close()
    second.open()
    second.close()


def test_a_file_that_cannot_be_read_costs_nothing_of_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is handed out; the fault is met again, and over one day."""
    log = open_log(tmp_path, max_bytes=4096)
    log.open()
    records = [record(number, 3000) for number in range(6)]
    for one in records:
        log.append([one])
    first, second = sorted(tmp_path.glob("*.seg"))[:2]
    assert first != second
    whole = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path == second:
            raise OSError(errno.EIO, "input/output error")
        return whole(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        got = [one for _, one in log.read(100).records]
        assert got
        with pytest.raises(OSError, match="input/output"):
            log.read(100)
    got += [one for _, one in log.read(100).records]
    assert got == records
    log.close()
