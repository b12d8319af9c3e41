"""The rules that operators load into Prometheus, and what people do about them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.alert_proof import ALERTS, RULES, rules
from support.needs import skip_without
from ws_gateway.control.metrics.metric import Type
from ws_gateway.control.metrics.table import METRICS
from ws_gateway.runtime.histogram import PATIENT_SECONDS, QUICK_SECONDS

DOCS = Path(__file__).resolve().parents[2] / "docs"
BOUNDS = {f"{bound:g}" for bound in (*QUICK_SECONDS, *PATIENT_SECONDS)}


def test_the_rules_name_only_metrics_that_exist() -> None:
    """A metric that is renamed takes its rules with it; their labels exist, too."""
    known = {metric.full_name: metric for metric in METRICS}
    text = RULES.read_text(encoding="utf-8")
    used = re.findall(r"\bws_gateway_([a-z0-9_]+)(?:\{([a-z_]+)[=!])?", text)
    assert len(used) > 30
    for name, label in used:
        base = "ws_gateway_" + name
        metric = known.get(base) or known[re.sub(r"_(bucket|count)$", "", base)]
        assert (base in known) is (metric.type is not Type.HISTOGRAM), base
        assert not label or label in (*metric.labels, "le"), (base, label)


def test_the_rules_name_only_recordings_that_exist() -> None:
    """And shares are counted at bounds that the histograms have."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        assert set(re.findall(r"ws_gateway:[\w:]+", rule["expr"])) <= recorded
        assert set(re.findall(r'le="([^"]+)"', rule["expr"])) <= BOUNDS


def test_every_alert_says_how_bad_it_is_and_where_to_read_on() -> None:
    """The path is that of its own entry."""
    for alert, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"critical", "warning"}, alert
        assert rule["annotations"]["summary"], alert
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{alert.lower()}"


def test_every_alert_has_its_entry_in_the_runbook_and_no_entry_is_about_nothing() -> None:
    """Each entry says what to do."""
    text = (DOCS / "runbook.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(entries) == set(ALERTS)
    for alert, words in entries.items():
        assert "**Do**" in words, alert


@pytest.mark.parametrize("name", ["runbook.md", "slo.md"])
def test_what_people_read_names_only_what_exists(name: str) -> None:
    """Metrics, recordings and alerts that the words name."""
    text = (DOCS / name).read_text(encoding="utf-8")
    known = {metric.full_name for metric in METRICS}
    known |= {rule["record"] for rule in rules() if "record" in rule}
    assert set(re.findall(r"\bws_gateway[_:][\w:]*\w", text)) <= known
    assert set(re.findall(r"\[(WsGateway\w+)\]", text)) <= set(ALERTS)


@pytest.mark.parametrize("words", [("check", "rules.yml"), ("test", "rules_test.yml")])
def test_promtool_finds_nothing_wrong_with_the_rules(words: tuple[str, str]) -> None:
    """Their own tests hold the identity, the ratios, and when alerts begin and end."""
    promtool = shutil.which("promtool")
    if promtool is None:
        skip_without("promtool", "the rules' own tests are run by it")
    done = subprocess.run(
        [promtool, words[0], "rules", words[1]],
        cwd=RULES.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
