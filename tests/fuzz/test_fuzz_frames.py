"""The fuzzer itself: it can find something, and a short run finds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.frame_seeds import seeds
from fuzz.fuzz_frames import Fuzzer, read_finding, run_frame, write_finding
from ws_gateway.domain.topic import Channel, Topic


def test_a_short_run_finds_nothing() -> None:
    """The long one is `make fuzz`."""
    fuzzer = Fuzzer(1)
    for _ in range(3_000):
        if not fuzzer.step():
            pytest.fail(f"{fuzzer.error}\n{fuzzer.finding}")
    assert len(fuzzer.outcomes) > 100, "changed frames get to many different answers"


def test_every_channel_has_a_seed() -> None:
    """What nobody begins with is hardly reached."""
    assert {seed.topic.channel for seed in seeds()} == set(Channel)


def test_a_planted_defect_is_found_and_can_be_run_again(tmp_path: Path) -> None:
    """One that needs a changed value in a frame that is otherwise good."""

    def target(raw: bytes, topic: Topic) -> str:
        outcome = run_frame(raw, topic)
        if b":9223372036854775807" in raw and outcome.endswith(("1u", "1d", "1s")):
            raise ZeroDivisionError("planted")
        return outcome

    fuzzer = Fuzzer(1, target)
    for _ in range(20_000):
        if not fuzzer.step():
            break
    assert fuzzer.finding is not None
    assert "planted" in fuzzer.error
    finding = read_finding(write_finding(fuzzer.finding, tmp_path))
    assert finding == fuzzer.finding
    with pytest.raises(ZeroDivisionError):
        target(finding.raw, finding.topic)
