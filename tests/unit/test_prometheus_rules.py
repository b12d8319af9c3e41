"""The rules that operators load into Prometheus, and what people do about them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.alert_proof import ALERTS, RULES, rules
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
        pytest.skip("needs promtool, of the Debian package prometheus")
    done = subprocess.run(
        [promtool, words[0], "rules", words[1]],
        cwd=RULES.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


HOURS_OF_A_MONTH, LOOKS_OF_AN_HOUR = 720, 240


def _month(outages: dict[int, int]) -> str:
    """Write a month of looks at a shard: how many of each hour's found it down; else it was up."""
    hours = chain.from_iterable(
        ("1x59", f"0x{down - 1}", f"1x{LOOKS_OF_AN_HOUR - 60 - down - 1}")
        if (down := outages.get(hour, 0))
        else (f"1x{LOOKS_OF_AN_HOUR - 1}",)
        for hour in range(HOURS_OF_A_MONTH)
    )
    return " ".join(hours)


def test_a_shard_that_was_down_for_1_percent_of_the_month_has_missed_it_and_a_good_one_has_not(
    tmp_path: Path,
) -> None:
    """A month of looks, read as one sample an hour; what is new was not down for a month."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, of the Debian package prometheus")
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    # promtool knows no intervals of groups: these are evaluated once an hour, and the looks given.
    slow = [one for one in groups if one["name"] in {"ws-gateway hours", "ws-gateway month"}]
    assert [one["interval"] for one in slow] == ["1h", "4m"]
    assert next(one for one in groups if "objectives" in one["name"])["interval"] == "15s"
    (tmp_path / "slow.yml").write_text(json.dumps({"groups": slow}), encoding="utf-8")
    every_day = dict(zip(range(5, HOURS_OF_A_MONTH, 10), repeat(24)))  # 1 %, in 72 pieces
    seen = {
        "bad": _month(every_day),
        "good": _month({100: 100, 400: 60}),  # 40 minutes
        "new": f"_x{HOURS_OF_A_MONTH * LOOKS_OF_AN_HOUR - 2} 0 0 0",
    }
    document = {
        "rule_files": [str(tmp_path / "slow.yml")],
        "evaluation_interval": "1h",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": f'ws_gateway:shard_up:max{{shard="{name}"}}', "values": values}
                    for name, values in seen.items()
                ],
                "promql_expr_test": [_ratio("bad", 0.99), _ratio("good", 0.9991)],
                "alert_rule_test": [
                    {
                        "alertname": "WsGatewayUptimeMissed",
                        "eval_time": f"{HOURS_OF_A_MONTH}h",
                        "exp_alerts": [
                            {
                                "exp_labels": {"shard": "bad", "severity": "warning"},
                                "exp_annotations": {
                                    "summary": "shard bad was down for 7h 12m 0s of 30 days, in"
                                    " which 43 minutes are granted",
                                    "runbook": "docs/runbook.md#wsgatewayuptimemissed",
                                },
                            }
                        ],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps(document), encoding="utf-8")
    done = subprocess.run(
        [promtool, "test", "rules", str(tmp_path / "test.yml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _ratio(shard: str, value: float) -> dict[str, Any]:
    """Expect a share of the month, to four digits."""
    return {
        "expr": f'round(ws_gateway:connection_uptime:ratio30d{{shard="{shard}"}}, 0.0001)',
        "eval_time": f"{HOURS_OF_A_MONTH}h",
        "exp_samples": [{"labels": f'{{shard="{shard}"}}', "value": value}],
    }


def test_no_rule_reads_a_month_of_scrapes() -> None:
    """Half a million samples of each series, at every evaluation, bring Prometheus down."""
    hourly = {
        rule["record"]
        for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
        if group.get("interval") == "1h"
        for rule in group["rules"]
    }
    read = [word for rule in rules() for word in re.findall(r"(ws_[\w:]+)\S*\[30d", rule["expr"])]
    assert read
    assert set(read) <= hourly


def test_no_rule_but_those_about_one_connection_keeps_the_name_of_a_socket() -> None:
    """It is another after each replacement: what is kept for a month would never end."""
    for rule in rules():
        if "record" in rule and "ws_gateway_connection_" in rule["expr"]:
            assert "max without (connection)" in rule["expr"], rule["record"]
