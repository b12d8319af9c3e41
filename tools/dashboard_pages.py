"""What each panel of the Grafana dashboards asks; dashboards.py writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDE = 24
"""Columns of a page."""

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


def p99(metric: str, by: str, where: str = "") -> str:
    """Ask what 99 % of a histogram's values stay below."""
    return f"histogram_quantile(0.99, sum by (le, {by}) (rate({metric}_bucket{where}{_RATE})))"


_PUBLISHED = '{hop="publish", event_class=~"order|execution|position|balance"}'


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
                [("count(ws_gateway_connection_up == 0) or 0 * max(ws_gateway_ready)", "")],
                kind="stat",
                width=4,
                bad_from=1,
            ),
            Panel(
                "Topics not active",
                [('sum(ws_gateway_topics{state!="active"}) or 0 * max(ws_gateway_ready)', "")],
                kind="stat",
                width=4,
                bad_from=1,
            ),
            Panel(
                "Queue alerts",
                [("sum(ws_gateway_queue_alert) or 0 * max(ws_gateway_ready)", "")],
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
                "Objectives: 99.9 % uptime of each shard, 99.99 % delivered (30 days)",
                [
                    ("ws_gateway:connection_uptime:ratio30d", "{{shard}} up"),
                    ("ws_gateway:event_success:ratio_rate30d", "delivered"),
                ],
                "percentunit",
            ),
            Panel(
                "Objectives: 99 % in 50 ms, 200 ms, 1 s, 5 s",
                [
                    ("ws_gateway:event_delivery:ratio_in_50ms_rate5m", "confirmed in 50 ms"),
                    ("ws_gateway:http_request:ratio_in_200ms_rate5m", "answered in 200 ms"),
                    ("ws_gateway:balance_persistence:ratio_in_1s_rate5m", "stored in 1 s"),
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
        "ws-gateway-private",
        "ws-gateway: private facts",
        (
            Panel(
                "Balance rows waiting",
                [("sum(ws_gateway_balance_rows_waiting)", "")],
                kind="stat",
                width=6,
            ),
            Panel(
                "Balance rows lost",
                [("ws_gateway_balance_rows_lost_total", "")],
                kind="stat",
                width=6,
                bad_from=1,
            ),
            Panel(
                "What the stream did not tell, unexplained",
                [("sum(ws_gateway_stream_differences_total)", "")],
                kind="stat",
                width=6,
                bad_from=1,
            ),
            Panel(
                "Readings that failed, last hour",
                [('sum(increase(ws_gateway_reconciliations_total{result="failed"}[1h]))', "")],
                kind="stat",
                width=6,
                bad_from=1,
            ),
            Panel(
                "Private events, push to broker (99 %)",
                [
                    (
                        p99("ws_gateway_delivery_latency_seconds", "event_class", _PUBLISHED),
                        "{{event_class}}",
                    )
                ],
                "s",
            ),
            Panel(
                "Balances, push to commit (99 %)",
                [(p99("ws_gateway_balance_persistence_seconds", "source"), "{{source}}")],
                "s",
            ),
            Panel(
                "Balance rows",
                [
                    (rate("ws_gateway_balance_rows_stored_total", "kind"), "{{kind}} stored"),
                    ("ws_gateway_balance_rows_waiting", "waiting: {{place}}"),
                ],
            ),
            Panel("Balance rows on disk", [("ws_gateway_balance_spool_bytes", "bytes")], "bytes"),
            Panel(
                "Records refused",
                [(rate("ws_gateway_private_records_refused_total", "reason"), "{{reason}}")],
                "ops",
            ),
            Panel(
                "Readings of REST",
                [
                    (rate("ws_gateway_reconciliations_total", "result"), "{{result}}"),
                    (p99("ws_gateway_reconciliation_seconds", "result"), "{{result}}: 99 %, s"),
                ],
            ),
            Panel(
                "Told by REST alone",
                [
                    (
                        rate("ws_gateway_reconciled_events_total", "event_class"),
                        "{{event_class}}",
                    ),
                    (
                        rate("ws_gateway_stream_differences_total", "event_class"),
                        "{{event_class}}, unexplained",
                    ),
                ],
                "ops",
            ),
            Panel(
                "Age of the watermark",
                [("ws_gateway_reconciliation_watermark_age_seconds", "{{event_class}}")],
                "s",
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
