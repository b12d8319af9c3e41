"""A test that was not run is named at the end, and fails the run where it is required."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.alert_proof import Proof
from support.needs import ALL, NEEDS, required, sort_skips, wanting

TESTS = Path(__file__).resolve().parents[2]
TRIED = """
import pytest
from support.needs import needing, skip_without

def test_runs():
    pass

def test_looks():
    skip_without("browser", "there is none")

@needing("promtool", is_here=False, why="it is not installed")
def test_rules():
    raise AssertionError

@needing("rabbitmq", is_here=True, why="it is")
def test_broker():
    pass
"""


def tried(folder: Path, require: str, *options: str) -> tuple[int, str]:
    """Run tests of which two are skipped; answers exit code and words."""
    (folder / "test_tried.py").write_text(TRIED, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "support.needs", "-q", *options, str(folder)],
        env={**os.environ, "PYTHONPATH": str(TESTS), "REQUIRE": require, "PYTEST_ADDOPTS": ""},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_skip_looks_not_green_but_is_listed_with_its_reason(tmp_path: Path) -> None:
    """Without a requirement the run passes, and closes with what was not run."""
    code, words = tried(tmp_path, "")
    assert code == 0, words
    closing = words.partition("not run here")[2]
    assert "browser: 1 test: needs browser: there is none" in closing
    assert "promtool: 1 test: needs promtool: it is not installed" in closing
    assert NEEDS["promtool"] in closing
    assert "REQUIRED" not in closing


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "parallel"])
def test_a_run_fails_if_something_required_was_skipped(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """However it is run; the others are no matter."""
    code, words = tried(tmp_path, "promtool rabbitmq", *options)
    assert code == 1, words
    assert "REQUIRED and not run: promtool" in words
    assert "REQUIRED and not run: browser" not in words


def test_what_is_required_and_was_run_is_no_failure(tmp_path: Path) -> None:
    """A machine without the rest is as green as before."""
    code, words = tried(tmp_path, "rabbitmq")
    assert code == 0, words


def test_a_requirement_that_no_test_knows_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """A name with a typing error would require nothing."""
    code, words = tried(tmp_path, "brwoser")
    assert code == pytest.ExitCode.USAGE_ERROR, words
    assert "brwoser" in words


def test_an_alert_that_no_promtool_judged_is_a_skip_and_not_a_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It returned in silence where promtool was not installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="needs promtool"):
        Proof().check(tmp_path)


def test_no_test_skips_but_for_a_need_that_is_named() -> None:
    """Else it could not be required, nor be told what to do about it."""
    files = [one for one in TESTS.rglob("*.py") if one.name not in {"needs.py", "test_needs.py"}]
    assert len(files) > 100
    skipping = re.compile(r"pytest\.(skip|importorskip|mark\.skip)")
    assert [one for one in files if skipping.search(one.read_text(encoding="utf-8"))] == []


def test_all_means_every_skip_whatever_its_words() -> None:
    """One that names no need is counted too."""
    skips = sort_skips(["needs browser: x", "got empty parameter set", "needs nothing: y"])
    assert sorted(skips) == ["", "browser"]
    assert wanting(skips, required(ALL)) == ["browser", "other"]
    assert wanting(skips, required("browser,mount")) == ["browser"]
    assert wanting(skips, required("")) == []
