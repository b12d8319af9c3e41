"""The threshold of each alert in plain words, beside the rule that has it in PromQL."""

from __future__ import annotations

from collections.abc import Mapping

from support.alert_proof import Threshold, ends_within, grew, is_, share

THRESHOLDS: Mapping[str, Threshold] = {
    "WsGatewayApiSlow": share(
        "ws_gateway_http_request_seconds_bucket",
        "ws_gateway_http_request_seconds_count",
        0.99,
        le="0.2",
    ),
    "WsGatewayBalancesLost": grew("ws_gateway_balance_rows_lost_total"),
    "WsGatewayBalancesNotStored": is_("ws_gateway_balance_rows_waiting", ">", 0, place="disk"),
    "WsGatewayBalancesSlow": share(
        "ws_gateway_balance_persistence_seconds_bucket",
        "ws_gateway_balance_persistence_seconds_count",
        0.99,
        le="1",
    ),
    "WsGatewayBookHoles": grew("ws_gateway_resyncs_total", 5),
    "WsGatewayBreakerOpen": is_("ws_gateway_breaker_state", "==", 1, state="open"),
    "WsGatewayBrokerLost": is_("ws_gateway_broker_ready", "==", 0),
    "WsGatewayCertificateExpiring": ends_within(
        "ws_gateway_certificate_expiry_timestamp_seconds", days=14
    ),
    "WsGatewayCertificateLastDays": ends_within(
        "ws_gateway_certificate_expiry_timestamp_seconds", days=2
    ),
    "WsGatewayClockOff": is_("ws_gateway_clock_offset_seconds", ">", 1),
    "WsGatewayConfirmSlow": share(
        "ws_gateway_event_delivery_seconds_bucket",
        "ws_gateway_event_delivery_seconds_count",
        0.99,
        le="0.05",
    ),
    "WsGatewayConnectionDown": is_("ws_gateway_connection_up", "==", 0),
    "WsGatewayConnectionFlapping": grew("ws_gateway_connection_losses_total", 6),
    "WsGatewayDatabaseLost": is_("ws_gateway_database_up", "==", 0),
    "WsGatewayDeliveryBudgetBurning": grew("ws_gateway_events_shed_total", 50),
    "WsGatewayEventsLost": grew("ws_gateway_gaps_total", reason="shed"),
    "WsGatewayEventsUnaccounted": grew("ws_gateway_events_received_total"),
    "WsGatewayLaneFull": is_("ws_gateway_lane_refusing", "==", 1),
    "WsGatewayLoginRefused": grew("ws_gateway_login_failures_total"),
    "WsGatewayLoopLate": is_("ws_gateway_loop_lag_max_seconds", ">", 0.25),
    "WsGatewayNotReconciled": is_("ws_gateway_reason", "==", 1, code="not_reconciled"),
    "WsGatewayNotReady": is_("ws_gateway_ready", "==", 0),
    "WsGatewayQuarantine": grew("ws_gateway_frames_quarantined_total"),
    "WsGatewayQueue": is_("ws_gateway_queue_alert", "==", 1),
    "WsGatewayQueueEvicting": grew("ws_gateway_queue_evicted_total"),
    "WsGatewayRecordingStopped": is_("ws_gateway_recording_failing", "==", 1),
    "WsGatewayRefusedByQueue": grew("ws_gateway_messages_nacked_total"),
    "WsGatewayResubscribeSlow": share(
        "ws_gateway_resubscribe_seconds_bucket",
        "ws_gateway_resubscribe_seconds_count",
        0.99,
        le="5",
    ),
    "WsGatewaySpoolFilling": is_("ws_gateway_spool_bytes", ">", 500_000),
    "WsGatewaySpoolUnavailable": is_("ws_gateway_spool_available", "==", 0),
    "WsGatewayStreamDiffers": grew("ws_gateway_stream_differences_total"),
    "WsGatewayTopicsRejected": is_("ws_gateway_topics", ">", 0, state="rejected"),
    "WsGatewayTopicsStalled": is_("ws_gateway_topics", ">", 0, state="stalled"),
    "WsGatewayUnroutable": grew("ws_gateway_messages_returned_total"),
    "WsGatewayUptimeBudgetBurning": is_("ws_gateway_connection_up", "==", 0),
    "WsGatewayUptimeMissed": is_("ws_gateway_connection_up", "==", 0),
}
"""In simple form; that a gateway is absent is seen by who scrapes, and has none."""
