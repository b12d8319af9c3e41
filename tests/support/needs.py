"""What a machine may lack: tests that need it skip, are listed at the end, and may be required.

`REQUIRE="browser promtool"`, or `REQUIRE=all`, makes it a failure of the whole run if anything was
not run for the want of that: green then means that it was tried. `.ci/run` sets it.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

import pytest

NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "browser": "a Chromium: `make browser` as root, or your package manager",
        "frames": "the recorded frames of the exchange, in `../shared` beside the checkout",
        "mount": "the right to mount a small file system: run as root",
        "prometheus": "Prometheus: Debian's package of that name",
        "promtool": "promtool: Debian's package prometheus",
        "volumes": "a second volume at /dev/shm",
        "rabbitmq": "an installed rabbitmq-server: Debian's package of that name",
    }
)
"""Everything a test may need beyond what `make test` brings, and where to get it."""

ALL = "all"
VARIABLE = "REQUIRE"
_SAID = re.compile(r"needs (\w+)(?:: (.*))?$", re.DOTALL)


def skip_without(need: str, why: str) -> NoReturn:
    """Skip the running test, for the want of one of `NEEDS`."""
    pytest.skip(_reason(need, why))


def needing(need: str, *, is_here: bool, why: str) -> pytest.MarkDecorator:
    """Mark tests to be skipped for the want of one of `NEEDS`."""
    return pytest.mark.skipif(not is_here, reason=_reason(need, why))


def _reason(need: str, why: str) -> str:
    assert need in NEEDS, f"{need} is none of {', '.join(NEEDS)}"
    return f"needs {need}: {why}"


def required(words: str) -> set[str]:
    """Read the variable.

    Raises:
        ValueError: it names what no test needs.
    """
    wanted = set(words.replace(",", " ").split())
    if unknown := wanted - {ALL, *NEEDS}:
        known = ", ".join((ALL, *NEEDS))
        raise ValueError(f"{VARIABLE} names {', '.join(sorted(unknown))}; known are {known}")
    return wanted


def sort_skips(reasons: Iterable[str]) -> dict[str, list[str]]:
    """Gather reasons of skips by what was needed; those for any other cause are under ''."""
    found: dict[str, list[str]] = defaultdict(list)
    for reason in reasons:
        said = _SAID.match(reason)
        found[said[1] if said and said[1] in NEEDS else ""].append(reason)
    return dict(found)


def wanting(skips: Mapping[str, Sequence[str]], wanted: set[str]) -> list[str]:
    """Name what was required and skipped for all that."""
    return sorted(need or "other" for need in skips if ALL in wanted or need in wanted)


def _skips(config: pytest.Config) -> dict[str, list[str]]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return {}
    reports = reporter.stats.get("skipped", [])
    # A skip's text is (path, line, reason); an expected failure has none of that.
    reasons = [one.longrepr[2] for one in reports if isinstance(one.longrepr, tuple)]
    return sort_skips(reason.removeprefix("Skipped: ") for reason in reasons)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a variable that asks for what there is not, before anything is run."""
    del config
    try:
        required(os.environ.get(VARIABLE, ""))
    except ValueError as exc:
        raise pytest.UsageError(str(exc)) from exc


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Let a run fail that skipped what was required; a worse end stays as it is."""
    wanted = required(os.environ.get(VARIABLE, ""))
    if _is_worker(session.config) or exitstatus not in {0, pytest.ExitCode.NO_TESTS_COLLECTED}:
        return
    if wanting(_skips(session.config), wanted):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say at the end what was not run here, and why; silence would look like green."""
    skips = _skips(config)
    if not skips:
        return
    terminalreporter.section("not run here", yellow=True)
    for need, reasons in sorted(skips.items()):
        count = f"{len(reasons)} test{'s' if len(reasons) > 1 else ''}"
        terminalreporter.write_line(f"{need or 'other'}: {count}: {reasons[0]}")
        if need:
            terminalreporter.write_line(f"    to have it: {NEEDS[need]}")
    for need in wanting(skips, required(os.environ.get(VARIABLE, ""))):
        terminalreporter.write_line(f"REQUIRED and not run: {need}", red=True)
