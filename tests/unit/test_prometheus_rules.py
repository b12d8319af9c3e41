"""The rules that operators load into Prometheus."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ws_gateway.control.metrics.metric import Type
from ws_gateway.control.metrics.table import METRICS

RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "rules.yml"


def test_the_rules_name_only_metrics_that_exist() -> None:
    """A metric that is renamed takes its rules with it; their labels exist, too."""
    known = {metric.full_name: metric for metric in METRICS}
    text = RULES.read_text(encoding="utf-8")
    used = re.findall(r"\bws_gateway_([a-z0-9_]+)(?:\{([a-z_]+)[=!])?", text)
    assert len(used) > 10
    for name, label in used:
        base = "ws_gateway_" + name
        metric = known.get(base) or known[base.removesuffix("_bucket")]
        assert (base in known) is (metric.type is not Type.HISTOGRAM), base
        assert not label or label in metric.labels, (base, label)


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
