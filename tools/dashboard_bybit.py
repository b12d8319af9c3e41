"""What the page of the connections to Bybit asks."""

from __future__ import annotations

from dashboard_panel import WIDE, Column, Dashboard, Panel, of, p99, rate

_ROW = "connection, endpoint, account"
_STATE = of(f"{_ROW}, state", "ws_gateway_connection_state == 1")
_BREAKER = of(
    f"{_ROW}, breaker",
    "ws_gateway_connection_info * on (endpoint, account) group_left (breaker) "
    'label_replace(ws_gateway_breaker_state == 1, "breaker", "$1", "state", "(.+)")',
)

WEBSOCKET_STATE = Panel(
    "The state of each connection (websocket_state)",
    kind="table",
    width=WIDE,
    height=10,
    says="What /health says of each connection. The last error is told by its kind; its text is in "
    "/health and on the console. Moments are told by how long ago they were.",
    columns=(
        Column("Connection", _STATE, "connection"),
        Column("State", _STATE, "state", good=("streaming",), bad=("backing_off", "closed")),
        Column("Endpoint", _STATE, "endpoint"),
        Column("Account", _STATE, "account"),
        Column(
            "Environment",
            of(f"{_ROW}, environment", "ws_gateway_connection_info"),
            "environment",
        ),
        Column("Connected for", of(_ROW, "ws_gateway_connection_duration_seconds"), unit="s"),
        Column(
            "Last heartbeat",
            f"time() - {of(_ROW, 'ws_gateway_connection_heartbeat_timestamp_seconds')}",
            unit="s",
        ),
        Column(
            "Last event",
            f"time() - {of(_ROW, 'ws_gateway_connection_event_timestamp_seconds')}",
            unit="s",
        ),
        Column("Reconnects", of(_ROW, "ws_gateway_connection_reconnects_total")),
        Column(
            "Last error",
            of(f"{_ROW}, reason", "ws_gateway_connection_error"),
            "reason",
        ),
        Column(
            "Next attempt in",
            f"{of(_ROW, 'ws_gateway_connection_retry_timestamp_seconds')} - time()",
            unit="s",
        ),
        Column("Active topics", of(_ROW, "ws_gateway_connection_active_topics")),
        Column("Wanted topics", of(_ROW, "ws_gateway_connection_wanted_topics")),
        Column("Breaker", _BREAKER, "breaker", good=("closed",), bad=("open", "half_open")),
        Column("Uptime", of(_ROW, "ws_gateway_connection_uptime_ratio"), unit="percentunit"),
    ),
)
"""Every field of `websocket_state` is a column; the tests hold it against the API's schema."""

CONNECTIONS = Dashboard(
    "ws-gateway-connections",
    "ws-gateway: connections",
    (
        WEBSOCKET_STATE,
        Panel(
            "Streams (1) or not (0)", [("ws_gateway_connection_up", "{{connection}} {{account}}")]
        ),
        Panel(
            "Topics by state",
            [("sum by (endpoint, state) (ws_gateway_topics)", "{{endpoint}} {{state}}")],
        ),
        Panel(
            "Wanted and active topics",
            [
                ("ws_gateway_connection_wanted_topics", "{{connection}} {{account}} wanted"),
                ("ws_gateway_connection_active_topics", "{{connection}} {{account}} active"),
            ],
        ),
        Panel(
            "Uptime of each connection",
            [("ws_gateway_connection_uptime_ratio", "{{connection}} {{account}}")],
            "percentunit",
        ),
        Panel(
            "Attempts and losses",
            [
                (rate("ws_gateway_connection_attempts_total", "endpoint"), "{{endpoint}}"),
                (
                    rate("ws_gateway_connection_losses_total", "endpoint, reason"),
                    "{{endpoint}} lost: {{reason}}",
                ),
            ],
            "ops",
        ),
        Panel(
            "Breakers that are not closed",
            [
                (
                    'ws_gateway_breaker_state{state!="closed"} == 1',
                    "{{endpoint}} {{account}} {{state}}",
                )
            ],
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
            "Refused logins",
            [(rate("ws_gateway_login_failures_total", "fault"), "{{fault}}")],
            "ops",
        ),
        Panel(
            "Books mended, markers made",
            [
                (rate("ws_gateway_resyncs_total"), "books mended"),
                (rate("ws_gateway_markers_total"), "markers"),
            ],
            "ops",
        ),
        Panel(
            "Trades and candles filled in over REST",
            [
                (rate("ws_gateway_backfilled_events_total", "event_class"), "{{event_class}}"),
                (rate("ws_gateway_backfill_lacking_total", "reason"), "not filled: {{reason}}"),
            ],
            "ops",
        ),
        Panel(
            "How long live facts waited for that (99 %)",
            [(p99("ws_gateway_backfill_wait_seconds", "result"), "{{result}}")],
            "s",
        ),
        Panel(
            "Maintenance that Bybit announced",
            [("ws_gateway_maintenance_ongoing", "{{endpoint}}")],
        ),
        Panel(
            "Bybit's clock ahead of ours",
            [
                ("ws_gateway_clock_offset_seconds", "offset"),
                ("ws_gateway_clock_offset_uncertainty_seconds", "largest error of that"),
            ],
            "s",
        ),
        Panel(
            "Since the clocks were compared",
            [("time() - ws_gateway_clock_measured_timestamp_seconds", "")],
            "s",
        ),
    ),
)
