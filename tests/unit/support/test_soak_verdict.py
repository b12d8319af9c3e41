"""The verdict of a soak: what it passes, what it does not, and that nothing is no pass."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import msgspec
import pytest

from support.soak_page import BEGIN, DOCUMENT, END, publish
from support.soak_verdict import (
    ID_BYTES,
    ORDER_BYTES,
    Happened,
    Line,
    Run,
    Sample,
    Seen,
    judge,
    remembered,
)
from ws_gateway.account.recent import OrderBook, RecentIds, id_digest

SECONDS = 600.0
KINDS = [("exchange", f"fault {n}") for n in range(8)]
SEEN = Seen(270_000, 250_000, 33_000, 10_000, 200, {"holes unannounced": 0})
_EVERY, _LASTS = 16.0, 4.0


def run_of(
    megabytes: Callable[[float], float],
    *,
    noise: float = 0.3,
    tasks: Callable[[float], float] = lambda _: 30.0,
    descriptors: Callable[[float], float] = lambda _: 26.0,
    kept: Callable[[float], float] = lambda _: 0.0,
    peak: Callable[[float], float] = lambda _: 3.0,
) -> Run:
    """Make a run of ten minutes with a fault every 16 s; `noise` is of each calm stretch, MB."""
    rng, run = Random(3), Run()
    for number in range(int(SECONDS / _EVERY)):
        at = number * _EVERY
        side, name = KINDS[number % len(KINDS)]
        run.faults.append(Happened(at, side, name, _LASTS, effects=1, back_seconds=0.5))
        level = rng.gauss(0.0, noise)
        for second in range(int(_EVERY)):
            now = at + second
            run.samples.append(
                Sample(
                    now,
                    int((megabytes(now) + level) * 1e6),
                    round(descriptors(now)),
                    round(tasks(now)),
                    int(peak(now) * 1e6),
                    kept(now) * 1e6,
                    is_calm=second >= _LASTS + 5,
                )
            )
    return run


def broken(run: Run, seen: Seen = SEEN) -> dict[str, str]:
    """Judge a run; answers what is not well."""
    lines: list[Line] = judge(run, seen, KINDS, SECONDS)
    return {line.name: line.said for line in lines if not line.is_well}


def level(_: float) -> float:
    """Take up the same all the time."""
    return 115.0


def test_a_level_run_in_which_everything_happened_is_well() -> None:
    """What all the others are held against."""
    assert broken(run_of(level)) == {}


def test_a_run_in_which_nothing_happened_is_not_well() -> None:
    """No events, no faults, no samples: nothing was broken because nothing was tried."""
    found = broken(Run(), Seen(0, 0, 0, 0, 0, {"holes unannounced": 0}))
    assert {
        "events received", "messages read", "private facts", "looks at /health",
        "samples of the process", "holes announced", "kinds of fault", "growth",
    } == set(found)  # fmt: skip


@pytest.mark.parametrize(
    ("lack", "name"),
    [
        ({"received": 20_000}, "events received"),
        ({"read": 20_000}, "messages read"),
        ({"facts": 500}, "private facts"),
        ({"looks": 100}, "looks at /health"),
        ({"announced": 0}, "holes announced"),
        ({"faultless": {"holes unannounced": 1}}, "holes unannounced"),
    ],
)
def test_too_little_of_anything_and_one_hole_without_a_word_are_not_well(
    lack: dict[str, object], name: str
) -> None:
    """Each by itself."""
    assert set(broken(run_of(level), replace(SEEN, **lack))) == {name}  # type: ignore[arg-type]


def test_a_fault_that_never_happened_had_no_effect_or_was_not_recovered_from_is_not_well() -> None:
    """Each kind has to be seen at least once, and each time to end."""
    run = run_of(level)
    run.faults = [one for one in run.faults if one.name != "fault 7"]
    assert "not ['exchange fault 7']" in broken(run)["kinds of fault"]
    run = run_of(level)
    run.faults[20].effects = 0
    assert set(broken(run)) == {"faults without effect"}
    run = run_of(level)
    run.faults[20].back_seconds = None
    assert "at 320 s" in broken(run)["faults not recovered from"]


def test_few_samples_are_not_well() -> None:
    """A line through three moments shows what one wants."""
    run = run_of(level)
    run.samples = [one for one in run.samples if one.at > 560]
    assert {"samples of the process", "calm samples", "calm stretches", "growth"} <= set(
        broken(run)
    )


@pytest.mark.parametrize("per_hour", [40.0, 80.0])
def test_memory_that_grows_steadily_is_not_well(per_hour: float) -> None:
    """Whatever it is at."""
    found = broken(run_of(lambda at: 115.0 + per_hour * at / 3600))
    assert set(found) == {"memory"}
    assert "at most +10 and the noise" in found["memory"]


def test_a_descriptor_or_a_task_left_behind_by_each_fault_is_not_well() -> None:
    """That is hundreds an hour."""
    found = broken(run_of(level, tasks=lambda at: 30 + at // 16, descriptors=lambda at: at // 16))
    assert set(found) == {"tasks", "descriptors"}


def test_steps_to_what_the_first_of_each_fault_needs_are_no_growth() -> None:
    """The warm-up is left out, however high it is."""
    warm = len(KINDS) * _EVERY
    assert broken(run_of(lambda at: 88.0 + 27.0 * min(1.0, at / warm))) == {}


def test_a_step_by_the_deepest_outage_of_all_is_no_growth_but_what_comes_after_it_is() -> None:
    """It counts from there on, if that is long enough to tell."""

    def deeper(at: float) -> float:
        return 3.0 if at < 240 else 9.0

    def stepping(at: float) -> float:
        return 110.0 + deeper(at)

    assert set(broken(run_of(stepping))) == {"memory"}
    assert broken(run_of(stepping, peak=deeper)) == {}
    growing = run_of(lambda at: stepping(at) + 60.0 * at / 3600, peak=deeper)
    assert set(broken(growing)) == {"memory"}
    late = run_of(level, peak=lambda at: 3.0 if at < 560 else 9.0)
    assert {"calm stretches", "growth"} <= set(broken(late))


def test_a_line_in_too_much_noise_is_no_pass_but_a_reason_to_run_longer() -> None:
    """It would hide whatever there is."""
    assert "too noisy to tell" in broken(run_of(level, noise=8.0))["memory"]


def test_what_is_remembered_up_to_a_bound_is_no_growth_but_what_goes_beyond_is() -> None:
    """As much as the facts of the run account for, and no more."""

    def kept(at: float) -> float:
        return 20.0 * at / 3600

    assert broken(run_of(lambda at: 115.0 + kept(at), kept=kept)) == {}
    found = broken(run_of(lambda at: 115.0 + 3 * kept(at), kept=kept))
    assert "+20.0 of it is remembered" in found["memory"]


def test_what_is_said_to_be_remembered_is_what_it_takes() -> None:
    """The bytes per order and per id are measured, and end at the gateway's own bounds."""
    ids, orders = RecentIds(), OrderBook()
    rows = [
        msgspec.json.encode(
            {
                "orderId": f"{n:08x}-0000-4000-8000-{n:012x}",
                "orderStatus": "Filled",
                "updatedTime": str(1_790_000_000_000 + n),
                "cumExecQty": "1",
                "symbol": "SIM0001USDT",
                "category": "linear",
            }
        )
        for n in range(20_000)
    ]
    digests = [id_digest(f"order:{n:032x}", "order") for n in range(50_000)]
    size = sum(map(len, digests)) + 33 * len(digests)  # they stand before the measurement begins
    tracemalloc.start()
    try:
        for digest in digests:
            ids.add(digest)
        of_ids = tracemalloc.get_traced_memory()[0] + size
        for row in rows:
            orders.note("linear", row)
        of_orders = tracemalloc.get_traced_memory()[0] + size - of_ids
    finally:
        tracemalloc.stop()
    assert of_ids / len(digests) == pytest.approx(ID_BYTES, rel=0.25)
    assert of_orders / len(rows) == pytest.approx(ORDER_BYTES, rel=0.25)
    assert remembered(10**6, 10**6, 10**6) == remembered(20_000, 50_000, 50_000)


def test_a_run_is_published_in_the_place_of_the_one_before(tmp_path: Path) -> None:
    """And nowhere else; a document without a place for it is left as it is."""
    page = tmp_path / "soak.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for words in ("first \\1 run", "second run\n"):
        publish(words, page)
        told = page.read_text(encoding="utf-8")
        expected = f"before\n{BEGIN}\n```\n{words.rstrip()}\n```\n{END}\nafter\n"
        assert told == expected
    page.write_text("no place", encoding="utf-8")
    with pytest.raises(ValueError, match="0 places"):
        publish("words", page)
    assert BEGIN in DOCUMENT.read_text(encoding="utf-8")
