"""What the pages of delivery and of private facts ask."""

from __future__ import annotations

from dashboard_panel import WIDE, Column, Dashboard, Panel, light, number, of, p99, rate

_PRIVATE_CLASSES = "order|execution|position|balance|greeks|strategy|dcp"
_PRIVATE = f'{{event_class=~"{_PRIVATE_CLASSES}"}}'
_PUBLISHED = f'{{hop="publish", event_class=~"{_PRIVATE_CLASSES}"}}'
_ALERT = of("queue, alert, service", "ws_gateway_queue_alert == 1")

DELIVERY = Dashboard(
    "ws-gateway-delivery",
    "ws-gateway: delivery",
    (
        light("Takes private events", 'ws_gateway_broker_connection_ready{events="private"}'),
        light("Takes public events", 'ws_gateway_broker_connection_ready{events="public"}'),
        light("Disk takes private events", "ws_gateway_spool_available"),
        number("Events on disk", "ws_gateway_events_spooled"),
        number("Held in memory", "ws_gateway_events_in_flight", bad_from=None),
        number(
            "Broker owes an answer for", "max(ws_gateway_broker_silent_seconds)", "s", bad_from=2.5
        ),
        number("Lanes that are full", "sum(ws_gateway_lane_refusing)"),
        Panel(
            "Delivered since the start",
            [("ws_gateway_event_success_ratio", "")],
            "percentunit",
            kind="stat",
            width=3,
            height=4,
        ),
        Panel("State of the broker", [("ws_gateway_broker_state == 1", "{{state}}")]),
        Panel(
            "Messages routed, by class",
            [(rate("ws_gateway_messages_routed_total", "event_class"), "{{event_class}}")],
            "ops",
        ),
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
                ("ws_gateway_lane_peak_events", "{{lane}} most so far"),
            ],
        ),
        Panel(
            "How full lanes are",
            [
                ("ws_gateway_lane_events / ws_gateway_lane_max_events", "{{lane}} events"),
                ("ws_gateway_lane_bytes / ws_gateway_lane_max_bytes", "{{lane}} bytes"),
            ],
            "percentunit",
        ),
        Panel("Lanes without room", [("ws_gateway_lane_refusing", "{{lane}}")]),
        Panel(
            "On disk for the broker",
            [("ws_gateway_spool_bytes", "bytes"), ("ws_gateway_spool_max_bytes", "limit")],
            "bytes",
        ),
        Panel(
            "Left out because they repeat, taken up from before the start",
            [
                (rate("ws_gateway_events_suppressed_total", "reason"), "{{reason}}"),
                (rate("ws_gateway_events_restored_total"), "taken up"),
            ],
            "ops",
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
            "How full queues are",
            [("ws_gateway_queue_depth / ws_gateway_queue_max_length", "{{queue}}")],
            "percentunit",
        ),
        Panel(
            "Age of the oldest message",
            [("ws_gateway_queue_oldest_age_seconds", "{{queue}}")],
            "s",
        ),
        Panel(
            "Consumers, and what they have not acknowledged",
            [
                ("ws_gateway_queue_consumers", "{{queue}}"),
                ("ws_gateway_queue_unacknowledged", "{{queue}} not acknowledged"),
            ],
        ),
        Panel(
            "Evicted unread",
            [(rate("ws_gateway_queue_evicted_total", "queue"), "{{queue}}")],
            "ops",
        ),
        Panel(
            "Frames nobody could read",
            [(rate("ws_gateway_frames_quarantined_total", "reason"), "{{reason}}")],
            "ops",
        ),
        Panel(
            "Alerts of queues",
            kind="table",
            width=WIDE,
            columns=(
                Column("Queue", _ALERT, "queue"),
                Column("Alert", _ALERT, "alert"),
                Column("Read by", _ALERT, "service"),
            ),
        ),
    ),
)

PRIVATE = Dashboard(
    "ws-gateway-private",
    "ws-gateway: private facts",
    (
        light("Streams of accounts", 'min(ws_gateway_connection_up{endpoint="private"})'),
        light("Disk takes private events", "ws_gateway_spool_available"),
        light("Database", "ws_gateway_database_up"),
        number("Logins refused, last hour", "sum(increase(ws_gateway_login_failures_total[1h]))"),
        number("Rows that wait", "sum(ws_gateway_balance_rows_waiting)", bad_from=None),
        number("Rows that were lost", "sum(ws_gateway_balance_rows_lost_total)"),
        number("Differences nobody explains", "sum(ws_gateway_stream_differences_total)"),
        number(
            "Readings that failed, last hour",
            'sum(increase(ws_gateway_reconciliations_total{result="failed"}[1h]))',
        ),
        Panel(
            "Orders, executions, positions, balances per second",
            [
                (
                    rate("ws_gateway_messages_routed_total", "event_class", _PRIVATE),
                    "{{event_class}}",
                )
            ],
            "ops",
            says="What the broker confirmed, markers included, over all accounts.",
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
            "Balance rows stored",
            [(rate("ws_gateway_balance_rows_stored_total", "kind"), "{{kind}}")],
            "ops",
        ),
        Panel(
            "Balance rows waiting",
            [("ws_gateway_balance_rows_waiting", "{{account}} in {{place}}")],
        ),
        Panel("Balance rows on disk", [("ws_gateway_balance_spool_bytes", "{{account}}")], "bytes"),
        Panel(
            "Records refused",
            [(rate("ws_gateway_private_records_refused_total", "reason"), "{{reason}}")],
            "ops",
        ),
        Panel(
            "Readings of REST",
            [(rate("ws_gateway_reconciliations_total", "result"), "{{result}}")],
            "ops",
        ),
        Panel(
            "How long a reading takes (99 %)",
            [(p99("ws_gateway_reconciliation_seconds", "result"), "{{result}}")],
            "s",
        ),
        Panel(
            "Told by REST alone",
            [
                (rate("ws_gateway_reconciled_events_total", "event_class"), "{{event_class}}"),
                (
                    rate("ws_gateway_stream_differences_total", "event_class"),
                    "{{event_class}}, unexplained",
                ),
            ],
            "ops",
        ),
        Panel(
            "Age of the watermark",
            [
                (
                    "ws_gateway_reconciliation_watermark_age_seconds",
                    "{{account}} {{event_class}}",
                )
            ],
            "s",
        ),
    ),
)
