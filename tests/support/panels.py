"""The panels of the dashboards, as Grafana reads them and as their queries are meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import dashboards
from dashboard_pages import DASHBOARDS
from dashboard_panel import Dashboard, Panel
from support.alert_proof import rules
from ws_gateway.control.metrics.metric import Type
from ws_gateway.control.metrics.table import METRICS

WINDOW = "8s"
"""What Grafana makes of $__rate_interval where a scrape comes every 2 s."""

PROCESS = {
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
}
"""What prometheus-client tells of a process; a test holds it against a scrape."""

_LABELS = {metric.full_name: set(metric.labels) for metric in METRICS}
_HISTOGRAMS = {metric.full_name for metric in METRICS if metric.type is Type.HISTOGRAM}
_NAME = re.compile(r"\b(?:ws_gateway[_:][\w:]+|process_\w+|up(?=\{))")
_BY = re.compile(r"\b(?:sum|max|min|count) by \(([^)]*)\)")
_BARE_SUM = re.compile(r"\b(?:sum|max|min|count)\(")
_RECORDED = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def every_panel() -> Iterator[tuple[Dashboard, Panel, dict[str, Any]]]:
    """Tell each panel with its page and with what Grafana reads of it."""
    for dashboard in DASHBOARDS:
        written = dashboards.rendered(dashboard)["panels"]
        for panel, read in zip(dashboard.panels, written, strict=True):
            yield dashboard, panel, read


def asked_of(expression: str, instance: str) -> str:
    """Write a query as Grafana sends it."""
    return expression.replace("$__rate_interval", WINDOW).replace("$instance", instance)


def metrics_in(query: str) -> set[str]:
    """Name the metrics of a query, histograms as a whole, recordings by what they are made of."""
    found: set[str] = set()
    for name in _NAME.findall(query):
        if name in _RECORDED:
            found |= metrics_in(_RECORDED[name])
        else:
            whole = re.sub(r"_(bucket|count|sum)$", "", name)
            found.add(whole if whole in _HISTOGRAMS else name)
    return found


def labels_of(query: str) -> set[str]:
    """Name the labels by which the answers to a query differ; the gateway is chosen."""
    while recorded := [name for name in _NAME.findall(query) if name in _RECORDED]:
        query = _RECORDED[recorded[0]]
    if grouped := _BY.search(query):
        labels = {each.strip() for each in grouped[1].split(",")}
    elif _BARE_SUM.search(query):
        labels = set()
    else:
        name = next(iter(_NAME.findall(query)))
        whole = re.sub(r"_(bucket|count|sum)$", "", name)
        labels = set({"up": {"instance"}, **_LABELS}.get(whole, _LABELS.get(name, set())))
        for one in re.findall(r"without \(([^)]*)\)", query):
            labels -= {each.strip() for each in one.split(",")}
    return labels - {"le"} - set(re.findall(r'(\w+)="[^"$]*"', query))
