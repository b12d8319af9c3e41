"""Write the Grafana dashboards. What each panel asks is said in dashboard_pages.py.

    python tools/dashboards.py deploy/grafana/dashboards

Every metric of docs/metrics.md has to be on a panel, or be named in NOT_SHOWN; the tests see to
that, and let a real Prometheus answer every query.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dashboard_pages import DASHBOARDS
from dashboard_panel import WIDE, Column, Dashboard, Panel

REFRESH = "1s"
"""How often a page asks anew; with the scrapes of prometheus.yml a fault is seen within 5 s."""

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_SELECTOR = re.compile(r"\b((?:ws_gateway[_:]|process_)[\w:]+)(\{)?")
_GREEN, _RED, _PLAIN = "green", "red", "text"


def rendered(dashboard: Dashboard) -> dict[str, Any]:
    """Build what Grafana reads."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["ws-gateway"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": REFRESH,
        "time": {"from": "now-30m", "to": "now"},
        "timepicker": {"refresh_intervals": [REFRESH, "5s", "30s", "5m"]},
        "timezone": "utc",
        "templating": {"list": [_datasource_variable(), _instance_variable()]},
        "links": [
            {
                "type": "dashboards",
                "tags": ["ws-gateway"],
                "title": "ws-gateway",
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "panels": list(_panels(dashboard.panels)),
    }


def scoped(query: str) -> str:
    """Ask of the chosen gateway alone."""

    def of_one(found: re.Match[str]) -> str:
        more = "," if found[2] else "}"
        return f'{found[1]}{{instance="$instance"{more}'

    return _SELECTOR.sub(of_one, query)


def _datasource_variable() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "Prometheus", "value": "prometheus"},
    }


def _instance_variable() -> dict[str, Any]:
    query = 'label_values(up{job=~"(.*/)?ws-gateway"}, instance)'
    return {
        "name": "instance",
        "label": "Gateway",
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "instance"},
        "refresh": 2,
        "sort": 1,
        "includeAll": False,
        "multi": False,
    }


def _panels(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    x = y = high = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > WIDE:
            x, y, high = 0, y + high, 0
        yield _panel(panel, number, x, y)
        x, high = x + panel.width, max(high, panel.height)


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    legends = dict(panel.queries)
    defaults: dict[str, Any] = {"unit": panel.unit, **_colours(panel)}
    if panel.kind == "stat":
        defaults["noValue"] = "not known"
    built = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": query if panel.is_of_all else scoped(query),
                "legendFormat": legends.get(query) or "__auto",
                "instant": panel.kind != "timeseries",
                "range": panel.kind == "timeseries",
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for place, query in enumerate(panel.asked)
        ],
        "fieldConfig": {
            "defaults": defaults,
            "overrides": [_override(one) for one in panel.columns],
        },
        "options": _options(panel),
        "transformations": _joined(panel),
    }
    return {**built, "description": panel.says} if panel.says else built


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}}
    if panel.kind == "stat":
        return {"colorMode": "background" if panel.good_is_one else "value", "graphMode": "none"}
    return {}


def _colours(panel: Panel) -> dict[str, Any]:
    if panel.good_is_one:
        words = {"0": {"text": "no", "color": _RED}, "1": {"text": "yes", "color": _GREEN}}
        steps = [{"color": _RED, "value": None}, {"color": _GREEN, "value": 1}]
        return {
            "mappings": [{"type": "value", "options": words}],
            "thresholds": {"mode": "absolute", "steps": steps},
        }
    if panel.bad_from is None:
        return {"thresholds": {"mode": "absolute", "steps": [{"color": _PLAIN, "value": None}]}}
    steps = [{"color": _GREEN, "value": None}, {"color": _RED, "value": panel.bad_from}]
    return {"thresholds": {"mode": "absolute", "steps": steps}}


# ── tables ────────────────────────────────────────────────────────────────────────────────────


def _joined(panel: Panel) -> list[dict[str, Any]]:
    """Make one table of all answers, whose rows are joined by the labels they share."""
    if not panel.columns:
        return []
    fields = {_field(panel, one): place for place, one in enumerate(panel.columns)}
    values = {_value(panel, query) for query in panel.asked}
    return [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "indexByName": fields,
                "renameByName": {_field(panel, one): one.title for one in panel.columns},
                "excludeByName": dict.fromkeys(sorted({"Time", *values} - set(fields)), True),
            },
        },
    ]


def _field(panel: Panel, column: Column) -> str:
    return column.label or _value(panel, column.query)


def _value(panel: Panel, query: str) -> str:
    """Name a query's value as Grafana does: by its letter where there are several."""
    if len(panel.asked) == 1:
        return "Value"
    return f"Value #{chr(ord('A') + panel.asked.index(query))}"


def _override(column: Column) -> dict[str, Any]:
    properties: list[dict[str, Any]] = [{"id": "unit", "value": column.unit}]
    if column.good or column.bad:
        words = {word: {"color": _GREEN} for word in column.good}
        words |= {word: {"color": _RED} for word in column.bad}
        properties += [
            {"id": "mappings", "value": [{"type": "value", "options": words}]},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ]
    return {"matcher": {"id": "byName", "options": column.title}, "properties": properties}


def main() -> None:
    """Write every dashboard into the folder that is named."""
    folder = Path(sys.argv[1])
    for dashboard in DASHBOARDS:
        name = dashboard.uid.removeprefix("ws-gateway-")
        text = json.dumps(rendered(dashboard), indent=1) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
