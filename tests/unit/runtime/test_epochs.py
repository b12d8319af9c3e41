"""An epoch is greater than those before it, though the clock went back or the file is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from ws_gateway.runtime.epochs import next_epoch
from ws_gateway.runtime.identity import epoch_ms, new_epoch

NOW = 1_790_000_000_000


def test_an_epoch_follows_the_one_before_though_the_clock_went_back(tmp_path: Path) -> None:
    """A consumer would take the new process for the older one, and ignore its gaps."""
    file = tmp_path / "not-yet-there" / "epoch-g"
    epochs = [next_epoch(file, now) for now in (NOW, NOW - 3_600_000, NOW - 7_200_000, NOW + 9)]
    assert epochs == sorted(epochs)
    assert [epoch_ms(epoch) - NOW for epoch in epochs] == [0, 1, 2, 9]


@pytest.mark.parametrize("text", ["", "no epoch", "U" * 26, "Z" * 26, "é" * 26])
def test_a_file_that_holds_no_epoch_keeps_no_process_from_starting(
    tmp_path: Path, text: str
) -> None:
    """The clock alone decides then, and the file is whole again."""
    file = tmp_path / "epoch-g"
    file.write_text(text, encoding="utf-8")
    epoch = next_epoch(file, NOW)
    assert epoch_ms(epoch) == NOW
    assert file.read_text(encoding="ascii") == epoch


def test_a_folder_that_takes_nothing_keeps_no_process_from_starting(tmp_path: Path) -> None:
    """As a disk that is full."""
    (tmp_path / "file").write_text("")
    assert epoch_ms(next_epoch(tmp_path / "file" / "epoch-g", NOW)) == NOW


def test_the_time_of_an_epoch_is_read_back() -> None:
    """To the millisecond."""
    assert epoch_ms(new_epoch(NOW)) == NOW
