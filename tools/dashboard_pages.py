"""Every page of the Grafana dashboards; dashboards.py writes them."""

from __future__ import annotations

from collections.abc import Mapping

from dashboard_bybit import CONNECTIONS
from dashboard_delivery import DELIVERY, PRIVATE
from dashboard_panel import WIDE, Column, Dashboard, Panel, light, number, of, p99, rate

NOT_SHOWN: Mapping[str, str] = {
    "process_start_time_seconds": "the uptime says the same",
    "process_virtual_memory_bytes": "address space is no memory; what is resident is shown",
}
"""What is told and is on no page, each with the reason."""

_REASON = of("code, subject, blocking, announced", "ws_gateway_reason == 1")
_INFO = of("version, epoch, instance", "ws_gateway_info")

_OVERVIEW = Dashboard(
    "ws-gateway-overview",
    "ws-gateway: overview",
    (
        Panel(
            "Answers scrapes",
            [('up{job=~"(.*/)?ws-gateway"}', "{{instance}}")],
            kind="stat",
            width=3,
            height=4,
            good_is_one=True,
            is_of_all=True,
            says="By Prometheus' own word, of every gateway: what does not answer says nothing "
            "below, which then is not known.",
        ),
        light("Ready", "ws_gateway_ready"),
        light("Broker", "ws_gateway_broker_ready"),
        light("Database", "ws_gateway_database_up"),
        number(
            "Broker owes an answer for", "max(ws_gateway_broker_silent_seconds)", "s", bad_from=2.5
        ),
        number(
            "Connections down",
            "count(ws_gateway_connection_up == 0) or 0 * max(ws_gateway_ready)",
        ),
        number(
            "Topics not active",
            'sum(ws_gateway_topics{state!="active"}) or 0 * max(ws_gateway_ready)',
        ),
        number("Queue alerts", "sum(ws_gateway_queue_alert) or 0 * max(ws_gateway_ready)"),
        Panel(
            "Why it is not well",
            kind="table",
            width=WIDE,
            columns=(
                Column("Reason", _REASON, "code"),
                Column("Of", _REASON, "subject"),
                Column("Data missing", _REASON, "blocking", good=("false",), bad=("true",)),
                Column("Announced", _REASON, "announced"),
            ),
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
                ('ws_gateway_receive_to_confirm_seconds{quantile="0.99"}', "99 % of the newest"),
                ('ws_gateway_receive_to_confirm_seconds{quantile="0.5"}', "half"),
            ],
            "s",
        ),
        Panel(
            "Gaps told, by reason", [(rate("ws_gateway_gaps_total", "reason"), "{{reason}}")], "ops"
        ),
        Panel(
            "Events nobody accounts for (a defect unless 0)",
            [("ws_gateway:events_unaccounted:sum", "events")],
            bad_from=1,
        ),
        Panel(
            "Objectives: 99.9 % uptime of each shard, 99.99 % delivered (30 days)",
            [
                ("ws_gateway:connection_uptime:ratio30d", "{{shard}} {{account}} up"),
                ("ws_gateway:event_success:ratio_rate30d", "delivered"),
            ],
            "percentunit",
        ),
        Panel(
            "Objectives: 99 % in 50 ms, 200 ms, 1 s, 5 s",
            [
                ("ws_gateway:event_delivery:ratio_in_50ms_rate5m", "confirmed in 50 ms"),
                ("ws_gateway:http_request:ratio_in_200ms_rate5m", "answered in 200 ms"),
                ("ws_gateway:balance_persistence:ratio_in_1s_rate5m", "{{account}} stored in 1 s"),
                ("ws_gateway:resubscribe:ratio_in_5s_rate1h", "back in 5 s"),
            ],
            "percentunit",
        ),
    ),
)

_API = Dashboard(
    "ws-gateway-api",
    "ws-gateway: API and process",
    (
        Panel(
            "Requests per second",
            [
                (
                    rate("ws_gateway_http_requests_total", "method, route, status"),
                    "{{method}} {{route}} {{status}}",
                )
            ],
            "ops",
        ),
        Panel(
            "Time to answer, 99 %",
            [(p99("ws_gateway_http_request_seconds", "method, route"), "{{method}} {{route}}")],
            "s",
        ),
        Panel(
            "How late the event loop is",
            [
                ("ws_gateway_loop_lag_max_seconds", "longest of a minute"),
                (p99("ws_gateway_loop_lag_seconds"), "99 %"),
            ],
            "s",
        ),
        Panel(
            "Certificates end in",
            [("ws_gateway_certificate_expiry_timestamp_seconds - time()", "{{certificate}}")],
            "s",
        ),
        Panel("Tasks of the event loop", [("ws_gateway_tasks", "tasks")]),
        Panel("Share of a core", [(rate("process_cpu_seconds_total"), "process")], "percentunit"),
        Panel("Memory", [("process_resident_memory_bytes", "resident")], "bytes"),
        Panel(
            "Open files and sockets",
            [("process_open_fds", "open"), ("process_max_fds", "most there may be")],
        ),
        Panel("Uptime", [("ws_gateway_uptime_seconds", "uptime")], "s"),
        Panel(
            "Frames recorded",
            [
                (rate("ws_gateway_recorded_frames_total"), "recorded"),
                (rate("ws_gateway_unrecorded_frames_total"), "missing in the recording"),
            ],
            "ops",
        ),
        Panel(
            "Room for the recording",
            [
                ("ws_gateway_recording_free_bytes", "free"),
                ("ws_gateway_recording_kept_free_bytes", "that stays free"),
            ],
            "bytes",
        ),
        Panel(
            "Recorded files removed for want of room",
            [(rate("ws_gateway_recording_removed_files_total"), "removed")],
            "ops",
        ),
        Panel(
            "The disk refuses the recording (1) or not (0)",
            [("ws_gateway_recording_failing", "refuses")],
        ),
        Panel(
            "What runs",
            kind="table",
            width=WIDE,
            columns=(
                Column("Gateway", _INFO, "instance"),
                Column("Version", _INFO, "version"),
                Column("Epoch", _INFO, "epoch"),
            ),
        ),
    ),
)

DASHBOARDS = (_OVERVIEW, CONNECTIONS, DELIVERY, PRIVATE, _API)
