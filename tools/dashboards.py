"""Write the Grafana dashboards. What each panel asks is said in dashboard_pages.py.

    python tools/dashboards.py deploy/grafana/dashboards

Every metric a panel names has to be one of docs/metrics.md or of the recording rules; the tests see
to that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dashboard_pages import DASHBOARDS, WIDE, Dashboard, Panel

HIGH = 8


def rendered(dashboard: Dashboard) -> dict[str, Any]:
    """Build what Grafana reads."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["ws-gateway"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "utc",
        "links": [
            {
                "type": "dashboards",
                "tags": ["ws-gateway"],
                "title": "ws-gateway",
                "asDropdown": True,
            }
        ],
        "panels": list(_panels(dashboard.panels)),
    }


def _panels(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    x = y = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > WIDE:
            x, y = 0, y + HIGH
        yield _panel(panel, number, x, y)
        x += panel.width


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    is_table = panel.kind == "table"
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": HIGH},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "expr": query,
                "legendFormat": legend or "__auto",
                "instant": panel.kind != "timeseries",
                "format": "table" if is_table else "time_series",
            }
            for place, (query, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": {"unit": panel.unit, **_colours(panel)}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}}
        if panel.kind == "timeseries"
        else {},
    }


def _colours(panel: Panel) -> dict[str, Any]:
    if panel.good_is_one:
        words = {"0": {"text": "no", "color": "red"}, "1": {"text": "yes", "color": "green"}}
        steps = [{"color": "red", "value": None}, {"color": "green", "value": 1}]
        return {
            "mappings": [{"type": "value", "options": words}],
            "thresholds": {"mode": "absolute", "steps": steps},
        }
    if panel.bad_from is None:
        return {}
    steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.bad_from}]
    return {"thresholds": {"mode": "absolute", "steps": steps}}


def main() -> None:
    """Write every dashboard into the folder that is named."""
    folder = Path(sys.argv[1])
    for dashboard in DASHBOARDS:
        name = dashboard.uid.removeprefix("ws-gateway-")
        text = json.dumps(rendered(dashboard), indent=1) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
