"""Write the Grafana dashboards: what each panel asks is said here, the rest is the same for all.

    python tools/dashboards.py deploy/grafana/dashboards

Every metric a panel names has to be one of docs/metrics.md or of the recording rules; the tests see
to that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDE, HIGH, COLUMNS = 24, 8, 24
_RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes:
        title: what it shows, as a person would ask for it.
        queries: what is asked, each with its legend.
        unit: Grafana's name of the unit.
        kind: `timeseries`, `stat` or `table`.
        width: of 24 columns.
        bad_from: a value from which it is red; None has no colour.
        good_is_one: it is green at 1 and red below.
    """

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    bad_from: float | None = None
    good_is_one: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page of pictures."""

    uid: str
    title: str
    panels: Sequence[Panel]


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Ask for what a counter grows by in a second."""
    grown = f"rate({metric}{where}{_RATE})"
    return f"sum by ({by}) ({grown})" if by else grown


def p99(metric: str, by: str) -> str:
    """Ask what 99 % of a histogram's values stay below."""
    return f"histogram_quantile(0.99, sum by (le, {by}) (rate({metric}_bucket{_RATE})))"


DASHBOARDS = (
    Dashboard(
        "ws-gateway-overview",
        "ws-gateway: overview",
        (
            Panel("Ready", [("ws_gateway_ready", "")], kind="stat", width=4, good_is_one=True),
            Panel(
                "Broker", [("ws_gateway_broker_ready", "")], kind="stat", width=4, good_is_one=True
            ),
            Panel(
                "Database", [("ws_gateway_database_up", "")], kind="stat", width=4, good_is_one=True
            ),
            Panel(
                "Connections down",
                [("count(ws_gateway_connection_up == 0) or vector(0)", "")],
                kind="stat",
                width=4,
                bad_from=1,
            ),
            Panel(
                "Topics not active",
                [('sum(ws_gateway_topics{state!="active"}) or vector(0)', "")],
                kind="stat",
                width=4,
                bad_from=1,
            ),
            Panel(
                "Queue alerts",
                [("sum(ws_gateway_queue_alert) or vector(0)", "")],
                kind="stat",
                width=4,
                bad_from=1,
            ),
            Panel(
                "Why it is not well",
                [("ws_gateway_reason == 1", "{{code}} {{subject}}")],
                kind="table",
                width=WIDE,
            ),
            Panel(
                "Events per second",
                [
                    (rate("ws_gateway_events_received_total"), "received"),
                    (rate("ws_gateway_events_confirmed_total"), "confirmed"),
                    (rate("ws_gateway_events_shed_total", "reason"), "shed: {{reason}}"),
                    (rate("ws_gateway_events_rejected_total", "reason"), "rejected: {{reason}}"),
                ],
                "ops",
            ),
            Panel(
                "Receive to confirm",
                [
                    (
                        'ws_gateway_receive_to_confirm_seconds{quantile="0.99"}',
                        "99 % of the newest",
                    ),
                    ('ws_gateway_receive_to_confirm_seconds{quantile="0.5"}', "half"),
                ],
                "s",
            ),
            Panel(
                "Gaps told, by reason",
                [(rate("ws_gateway_gaps_total", "reason"), "{{reason}}")],
                "ops",
            ),
            Panel(
                "Objectives: 99.9 % uptime of each connection, 99.99 % delivered (30 days)",
                [
                    ("ws_gateway:connection_uptime:ratio30d", "{{connection}} up"),
                    ("ws_gateway:event_success:ratio_rate30d", "delivered"),
                ],
                "percentunit",
            ),
            Panel(
                "Objectives: 99 % in 50 ms, 200 ms, 5 s",
                [
                    ("ws_gateway:event_delivery:ratio_in_50ms_rate5m", "confirmed in 50 ms"),
                    ("ws_gateway:http_request:ratio_in_200ms_rate5m", "answered in 200 ms"),
                    ("ws_gateway:resubscribe:ratio_in_5s_rate1h", "back in 5 s"),
                ],
                "percentunit",
            ),
            Panel(
                "Events nobody accounts for (a defect unless 0)",
                [("ws_gateway:events_unaccounted:sum", "")],
                bad_from=1,
            ),
        ),
    ),
    Dashboard(
        "ws-gateway-connections",
        "ws-gateway: connections",
        (
            Panel("Connections", [("ws_gateway_connection_up", "{{connection}}")], kind="table"),
            Panel(
                "Topics by state",
                [("sum by (endpoint, state) (ws_gateway_topics)", "{{endpoint}} {{state}}")],
            ),
            Panel(
                "Wanted and active topics",
                [
                    ("ws_gateway_connection_wanted_topics", "{{connection}} wanted"),
                    ("ws_gateway_connection_active_topics", "{{connection}} active"),
                ],
            ),
            Panel(
                "Uptime of each connection",
                [("ws_gateway_connection_uptime_ratio", "{{connection}}")],
                "percentunit",
            ),
            Panel(
                "Attempts and losses",
                [
                    (
                        rate("ws_gateway_connection_attempts_total", "endpoint"),
                        "{{endpoint}}",
                    ),
                    (
                        rate("ws_gateway_connection_losses_total", "endpoint, reason"),
                        "{{endpoint}} lost: {{reason}}",
                    ),
                ],
                "ops",
            ),
            Panel(
                "Breakers that are not closed",
                [('ws_gateway_breaker_state{state!="closed"} == 1', "{{endpoint}} {{state}}")],
            ),
            Panel(
                "Longest silence by channel",
                [("ws_gateway_channel_staleness_seconds", "{{endpoint}} {{channel}}")],
                "s",
            ),
            Panel(
                "Topics that fell silent",
                [(rate("ws_gateway_topic_stalls_total", "endpoint"), "{{endpoint}}")],
                "ops",
            ),
            Panel(
                "Subscribe to active, and back after a loss (99 %)",
                [
                    (p99("ws_gateway_subscribe_seconds", "endpoint"), "{{endpoint}} first"),
                    (p99("ws_gateway_resubscribe_seconds", "endpoint"), "{{endpoint}} again"),
                ],
                "s",
            ),
            Panel(
                "Bybit's clock ahead of ours", [("ws_gateway_clock_offset_seconds", "offset")], "s"
            ),
            Panel(
                "Refused logins",
                [(rate("ws_gateway_login_failures_total", "fault"), "{{fault}}")],
                "ops",
            ),
            Panel(
                "Maintenance that Bybit announced",
                [("ws_gateway_maintenance_ongoing", "{{endpoint}}")],
            ),
        ),
    ),
    Dashboard(
        "ws-gateway-delivery",
        "ws-gateway: delivery",
        (
            Panel(
                "Each hop, 99 %",
                [(p99("ws_gateway_delivery_latency_seconds", "hop"), "{{hop}}")],
                "s",
            ),
            Panel(
                "Receive to confirm by class, 99 %",
                [(p99("ws_gateway_event_delivery_seconds", "event_class"), "{{event_class}}")],
                "s",
            ),
            Panel(
                "Events a lane holds",
                [
                    ("ws_gateway_lane_events", "{{lane}}"),
                    ("ws_gateway_lane_waiting_events", "{{lane}} not sent"),
                ],
            ),
            Panel("Lanes without room", [("ws_gateway_lane_refusing", "{{lane}}")]),
            Panel(
                "On disk for the broker",
                [("ws_gateway_spool_bytes", "bytes"), ("ws_gateway_spool_max_bytes", "limit")],
                "bytes",
            ),
            Panel(
                "Sent again, returned, refused",
                [
                    (rate("ws_gateway_messages_resent_total"), "sent again"),
                    (rate("ws_gateway_messages_returned_total"), "returned"),
                    (rate("ws_gateway_messages_nacked_total"), "refused"),
                ],
                "ops",
            ),
            Panel("Depth of the queues", [("ws_gateway_queue_depth", "{{queue}}")]),
            Panel(
                "Age of the oldest message",
                [("ws_gateway_queue_oldest_age_seconds", "{{queue}}")],
                "s",
            ),
            Panel("Consumers", [("ws_gateway_queue_consumers", "{{queue}}")]),
            Panel(
                "Evicted unread",
                [(rate("ws_gateway_queue_evicted_total", "queue"), "{{queue}}")],
                "ops",
            ),
            Panel(
                "Alerts of queues",
                [("ws_gateway_queue_alert == 1", "{{queue}} {{alert}} {{service}}")],
                kind="table",
            ),
            Panel(
                "Frames nobody could read",
                [(rate("ws_gateway_frames_quarantined_total", "reason"), "{{reason}}")],
                "ops",
            ),
        ),
    ),
    Dashboard(
        "ws-gateway-api",
        "ws-gateway: API and process",
        (
            Panel(
                "Requests per second",
                [(rate("ws_gateway_http_requests_total", "route, status"), "{{route}} {{status}}")],
                "ops",
            ),
            Panel(
                "Time to answer, 99 %",
                [(p99("ws_gateway_http_request_seconds", "route"), "{{route}}")],
                "s",
            ),
            Panel(
                "How late the event loop is",
                [
                    ("ws_gateway_loop_lag_max_seconds", "longest of a minute"),
                    (p99("ws_gateway_loop_lag_seconds", "instance"), "99 %"),
                ],
                "s",
            ),
            Panel("Uptime", [("ws_gateway_uptime_seconds", "{{instance}}")], "s"),
        ),
    ),
)


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
        if x + panel.width > COLUMNS:
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
