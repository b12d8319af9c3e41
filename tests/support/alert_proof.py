"""What makes an alert fire: its threshold in plain words, and the rule itself over real scrapes.

A threshold looks at two scrapes of a gateway, one from before a fault and one from within. Where
`promtool` is installed the rule is evaluated over the same two: the values before for a quarter of
an hour, those within for as long as any `for` of the rules. What a counter grew by it grew by once;
where the rule wants the fault to last, by as much every minute. promtool's clock begins in 1970, so
times of day are told as seen from the scrape.
"""

from __future__ import annotations

import json
import operator
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from support.scraped import Scraped

RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "rules.yml"

Threshold = Callable[[Scraped, Scraped], bool]
"""Says of a scrape from before and one of now whether an alert's threshold is crossed."""

_COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_BEFORE_MINUTES, _WITHIN_MINUTES = 15, 75
_NAME = re.compile(r"\b(?:ws_gateway[_:][\w:]+|up)\b")


def rules() -> list[dict[str, Any]]:
    """Read every rule, recorded or alerting."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS: Mapping[str, dict[str, Any]] = {rule["alert"]: rule for rule in rules() if "alert" in rule}
_RECORDED = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def is_(metric: str, sign: str, number: float, **labels: str) -> Threshold:
    """Some sample of now compares so."""
    compare = _COMPARE[sign]
    return lambda _before, now: any(
        compare(value, number) for value in now.values(metric, **labels).values()
    )


def ends_within(metric: str, days: float) -> Threshold:
    """Some sample of now is a time of day that comes within so many days."""
    return lambda _before, now: any(
        value - time.time() < days * 86_400 for value in now.values(metric).values()
    )


def grew(metric: str, by: float = 0, **labels: str) -> Threshold:
    """Some sample that was there before is greater by more than this; one that is new is not."""

    def crossed(before: Scraped, now: Scraped) -> bool:
        old = before.values(metric, **labels)
        new = now.values(metric, **labels)
        return any(key in old and value - old[key] > by for key, value in new.items())

    return crossed


def share(part: str, whole: str, below: float, **labels: str) -> Threshold:
    """What came since before has less than this share in one sum as in another."""

    def crossed(before: Scraped, now: Scraped) -> bool:
        def came(name: str, **of: str) -> float:
            old = before.values(name, **of)
            return sum(
                value - old[key] for key, value in now.values(name, **of).items() if key in old
            )

        return came(whole) > 0 and came(part, **labels) < below * came(whole)

    return crossed


def metrics_of(alert: str) -> set[str]:
    """Name what an alert is read from, also by way of recording rules."""
    found, todo = set(), {ALERTS[alert]["expr"]}
    while todo:
        for name in _NAME.findall(todo.pop()):
            if name in _RECORDED:
                todo.add(_RECORDED[name])
            else:
                found.add(name)
    return found


class Proof:
    """Scrapes that crossed the thresholds of alerts, for the rules to be held against.

    Attributes:
        crossed: alerts with their two scrapes.
    """

    def __init__(self) -> None:
        self.crossed: dict[str, tuple[Scraped | None, Scraped | None]] = {}

    def take(self, alert: str, before: Scraped | None, now: Scraped | None) -> None:
        """Keep two scrapes; None is one that was not answered."""
        self.crossed[alert] = (before, now)

    def check(self, folder: Path) -> None:
        """Let promtool evaluate every rule over its scrapes; each alert has to fire."""
        promtool = shutil.which("promtool")
        if promtool is None:
            return  # the thresholds were crossed; that the rules say the same is checked elsewhere
        file = folder / "proof.yml"
        document = {
            "rule_files": [str(RULES)],
            "evaluation_interval": "1m",
            "tests": [_test(alert, *pair) for alert, pair in self.crossed.items()],
        }
        file.write_text(json.dumps(document), encoding="utf-8")
        done = subprocess.run(
            [promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _test(alert: str, before: Scraped | None, now: Scraped | None) -> dict[str, Any]:
    old, new = _series(alert, before), _series(alert, now)
    lasts = "for" in ALERTS[alert]
    minutes = _BEFORE_MINUTES + _WITHIN_MINUTES
    fired = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    return {
        "name": alert,
        "interval": "1m",
        "input_series": [
            {
                "series": name,
                "values": _values(name, old.get(name), new.get(name), lasts=lasts),
            }
            for name in sorted({*old, *new})
        ],
        "promql_expr_test": [
            {
                "expr": f"count(max_over_time({fired}[{minutes}m])) > bool 0",
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
        ],
    }


def _values(name: str, old: float | None, new: float | None, *, lasts: bool) -> str:
    before = _repeated(old, _BEFORE_MINUTES)
    is_counter = name.partition("{")[0].endswith(("_total", "_bucket", "_count", "_sum"))
    if not (lasts and is_counter and old is not None and new is not None):
        return f"{before} {_repeated(new, _WITHIN_MINUTES)}"
    return f"{before} {new:.17g}+{new - old:.17g}x{_WITHIN_MINUTES - 1}"


def _repeated(value: float | None, minutes: int) -> str:
    return f"_x{minutes - 1}" if value is None else f"{value:.17g}x{minutes - 1}"


def _series(alert: str, scraped: Scraped | None) -> dict[str, float]:
    wanted = metrics_of(alert)
    found = {"up": float(scraped is not None)} if "up" in wanted else {}  # whatever its job is
    if scraped is None:
        return found
    for name, labels, value in scraped.samples():
        if name in wanted:
            inside = ",".join(f"{key}={json.dumps(each)}" for key, each in labels.items())
            is_time = name.endswith("_timestamp_seconds")
            found[f"{name}{{{inside}}}"] = value - time.time() if is_time else value
    return found
