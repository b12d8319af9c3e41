"""Every metric there is. A line here is all it takes: text and description are made of it."""

from __future__ import annotations

from collections.abc import Iterator

from ws_gateway import __version__
from ws_gateway.control.metrics import reading as read
from ws_gateway.control.metrics.metric import Metric, Sample, Sight, Type
from ws_gateway.ports.delivery import BrokerState
from ws_gateway.runtime.tasks import count_tasks

_C, _G, _H = Type.COUNTER, Type.GAUGE, Type.HISTOGRAM
_CONNECTION = ("connection", "endpoint", "account", "shard")
_one, _connection, _queue, _lane = read.one, read.per_connection, read.per_queue, read.per_lane


def _figure(name: str) -> read.Reader:
    return _one(lambda sight: sight.report.counters[name])


def _losses(sight: Sight) -> Iterator[Sample]:
    tally = sight.meters.tally
    zeros = {(endpoint, reason): 0 for endpoint in tally.attempts for reason in read.LOSSES}
    return iter({**zeros, **tally.losses}.items())


_EVENTS = (
    Metric("events_received_total", _C, "Observations taken from Bybit, and those an earlier "
           "process left on disk.", _figure("received")),
    Metric("events_confirmed_total", _C, "Observations the broker took responsibility for and "
           "routed.", _figure("confirmed")),
    Metric("events_in_flight", _G, "Observations held in memory: waiting, or sent and not yet "
           "confirmed.", _figure("in_flight")),
    Metric("events_spooled", _G, "Observations that are on disk alone.", _figure("spooled")),
    Metric("events_suppressed_total", _C, "Observations left out because they repeat.",
           read.by_reason(lambda s: s.report.counters["suppressed"], read.SUPPRESSED),
           ("reason",)),
    Metric("events_shed_total", _C, "Observations given up; a marker or a count in the stream "
           "says so. Deltas without a book are `venue_hole` where Bybit's side broke it, and "
           "`awaiting_snapshot` where events that we gave up did.",
           read.by_reason(lambda s: s.report.counters["shed"], read.SHED), ("reason",)),
    Metric("events_rejected_total", _C, "Observations no queue took.",
           read.by_reason(lambda s: s.report.counters["rejected"], read.REJECTED), ("reason",)),
    Metric("events_restored_total", _C, "Of those received, the ones an earlier process left on "
           "disk.", _figure("restored")),
    Metric("event_success_ratio", _G, "Share of the observations that came to an end since the "
           "start which was delivered, 0 to 1.", _one(read.success_ratio)),
    Metric("delivery_latency_seconds", _H, "Time of one hop: `receive` from Bybit's timestamp "
           "to our socket (by Bybit's clock, as far as the offset is known), `publish` to "
           "the write to the broker, `confirm` to the broker's answer. Private events are all "
           "timed, of public ones about 400 a second, each standing for those it was picked from.",
           read.histograms(lambda s: s.meters.hops), ("hop", "event_class")),
    Metric("event_delivery_seconds", _H, "Time from our socket to the broker's confirm, timed as "
           "often as the hops.", read.histograms(lambda s: s.meters.deliveries),
           ("event_class",)),
    Metric("receive_to_confirm_seconds", _G, "What half and 99 % of the newest 8192 events stayed "
           "below from our socket to the broker's confirm.", read.latency_quantiles,
           ("quantile",)),
    Metric("gaps_total", _C, "Gap markers put into streams, by reason.",
           read.by_reason(lambda s: s.meters.counters.gaps, read.GAPS), ("reason",)),
    Metric("markers_total", _C, "Markers made, gap and resumed.", _figure("markers")),
    Metric("resyncs_total", _C, "Fresh snapshots asked for, each to mend one book.",
           _one(lambda s: s.meters.counters.resyncs)),
    Metric("frames_quarantined_total", _C, "Frames nobody could read, by reason; `not_kept` ones "
           "found no room in the quarantine queue.",
           read.by_reason(lambda s: s.report.counters["quarantined"],
                          (*read.QUARANTINED, *read.REFUSED)),
           ("reason",)),
)  # fmt: skip

_DELIVERY = (
    Metric("messages_routed_total", _C, "Messages the broker confirmed and routed, markers "
           "included.", read.routed, ("event_class",)),
    Metric("messages_resent_total", _C, "Messages sent once more.", _figure("resent")),
    Metric("messages_returned_total", _C, "Messages the broker gave back because no queue is "
           "bound.", _figure("returned")),
    Metric("messages_nacked_total", _C, "Messages the broker refused.", _figure("nacked")),
    Metric("broker_ready", _G, "1 while the broker takes messages, private and public.",
           _one(lambda s: s.report.delivery.state is BrokerState.READY)),
    Metric("broker_state", _G, "1 for the worst state a connection to the broker is in.",
           read.broker_states, ("state",)),
    Metric("broker_connection_ready", _G, "1 while the connection for `private` or `public` events "
           "takes messages.", read.broker_connections, ("events",)),
    Metric("broker_silent_seconds", _G, "How long the broker has owed the oldest answer on the "
           "connection for `private` or `public` events; 0 while it answers.",
           read.broker_silences, ("events",)),
    Metric("lane_events", _G, "Events a lane holds: waiting, or sent and not yet confirmed.",
           _lane(lambda one: one.events), ("lane",)),
    Metric("lane_waiting_events", _G, "Events of a lane that were not sent yet.",
           _lane(lambda one: one.waiting), ("lane",)),
    Metric("lane_bytes", _G, "Bytes a lane holds.", _lane(lambda one: one.size_bytes), ("lane",)),
    Metric("lane_max_events", _G, "Most events a lane may hold.",
           _lane(lambda one: one.max_events), ("lane",)),
    Metric("lane_max_bytes", _G, "Most bytes a lane may hold.", _lane(lambda one: one.max_bytes),
           ("lane",)),
    Metric("lane_peak_events", _G, "Most events a lane was seen to hold since the start.",
           _lane(lambda one: one.peak_events), ("lane",)),
    Metric("lane_refusing", _G, "1 while a lane has no room.", _lane(lambda one: one.is_refusing),
           ("lane",)),
    Metric("spool_bytes", _G, "Bytes of private events on disk.",
           _one(lambda s: s.report.delivery.spool_bytes)),
    Metric("spool_max_bytes", _G, "Most bytes of private events on disk.",
           _one(lambda s: s.meters.spool_max_bytes)),
    Metric("spool_available", _G, "1 while the disk takes private events.",
           _one(lambda s: s.report.delivery.spool_error is None)),
    Metric("queue_depth", _G, "Messages ready in a queue at the last look.",
           _queue(lambda one: one.depth), ("queue",)),
    Metric("queue_max_length", _G, "Most messages a queue holds, policies included where they are "
           "known.", _queue(lambda one: one.max_length), ("queue",)),
    Metric("queue_consumers", _G, "Consumers of a queue.", _queue(lambda one: one.consumers),
           ("queue",)),
    Metric("queue_unacknowledged", _G, "Messages consumers hold and have not acknowledged; told "
           "by the management API alone.", _queue(lambda one: one.unacknowledged), ("queue",)),
    Metric("queue_oldest_age_seconds", _G, "How long the oldest ready message has been in a queue.",
           _queue(lambda one: one.oldest_age_seconds), ("queue",)),
    Metric("queue_evicted_total", _C, "Messages that went unread by overflow or age since the "
           "start: at least so many.", _queue(lambda one: one.dropped_at_least), ("queue",)),
    Metric("queue_alert", _G, "1 while an alert of a queue stands; `service` says who reads it.",
           read.alerts, ("queue", "alert", "service")),
)  # fmt: skip

_VENUE = (
    Metric("connection_up", _G, "1 while a connection streams. A connection that replaces another "
           "has a name of its own; `shard` names the topics they carry, and stays.",
           _connection(read.is_streaming), _CONNECTION),
    Metric("connection_state", _G, "1 for the state a connection is in.", read.connection_states,
           (*_CONNECTION, "state")),
    Metric("connection_info", _G, "Always 1; says which of Bybit's environments a connection is "
           "to.", read.connection_environments, (*_CONNECTION, "environment")),
    Metric("connection_error", _G, "1 for the kind of the error that stands of a connection; none "
           "once it streams again.", read.connection_errors, (*_CONNECTION, "reason")),
    Metric("connection_duration_seconds", _G, "How long a connection has been open; none while it "
           "is not.", _connection(lambda one: one.connection_duration_seconds), _CONNECTION),
    Metric("connection_heartbeat_timestamp_seconds", _G, "When a connection was last known to "
           "live, Unix time.", _connection(lambda one: read.moment(one.last_heartbeat_at)),
           _CONNECTION),
    Metric("connection_event_timestamp_seconds", _G, "When a connection last brought data, Unix "
           "time.", _connection(lambda one: read.moment(one.last_event_at)), _CONNECTION),
    Metric("connection_retry_timestamp_seconds", _G, "When the next attempt to connect is due, "
           "Unix time; none unless one is waited for.",
           _connection(lambda one: read.moment(one.retry_at)), _CONNECTION),
    Metric("connection_uptime_ratio", _G, "Share of a connection's life in which it streamed, "
           "0 to 1.", _connection(lambda one: one.uptime_ratio), _CONNECTION),
    Metric("connection_reconnects_total", _C, "Times a connection was opened anew.",
           _connection(lambda one: one.reconnection_count), _CONNECTION),
    Metric("connection_wanted_topics", _G, "Topics a connection is there for.",
           _connection(lambda one: one.wanted_subscriptions), _CONNECTION),
    Metric("connection_active_topics", _G, "Topics that are active on a connection.",
           _connection(lambda one: one.active_subscriptions), _CONNECTION),
    Metric("connection_attempts_total", _C, "Attempts to connect.",
           read.by_reason(lambda s: s.meters.tally.attempts), ("endpoint",)),
    Metric("connection_losses_total", _C, "Attempts that failed and connections that were lost, "
           "by reason.", _losses, ("endpoint", "reason")),
    Metric("login_failures_total", _C, "Logins Bybit did not take, by what was found to be wrong.",
           read.login_failures, ("account", "fault")),
    Metric("breaker_state", _G, "1 for the state an endpoint's breaker is in.",
           read.breaker_states, ("endpoint", "account", "state")),
    Metric("topics", _G, "Wanted topics by state.", read.subscriptions, ("endpoint", "state")),
    Metric("subscribe_seconds", _H, "Time from the wish for a topic until it is active.",
           read.histograms(lambda s: s.meters.topics.subscribing), ("endpoint",)),
    Metric("resubscribe_seconds", _H, "Time from the loss of a connection until a topic of it is "
           "active again.", read.histograms(lambda s: s.meters.topics.resubscribing),
           ("endpoint",)),
    Metric("topic_stalls_total", _C, "Topics that fell silent on a connection that lived.",
           read.by_reason(lambda s: s.meters.tally.stalls), ("endpoint",)),
    Metric("backfilled_events_total", _C, "Events of trades and candles that the stream missed "
           "and REST told.", read.by_reason(lambda s: s.meters.filling.events, read.BACKFILLED),
           ("event_class",)),
    Metric("backfill_lacking_total", _C, "Gaps of trades and candles that were not filled, or not "
           "wholly, by reason.",
           read.by_reason(lambda s: s.meters.filling.lacking, read.UNFILLED), ("reason",)),
    Metric("backfill_wait_seconds", _H, "How long live facts behind such a gap waited for REST.",
           read.histograms(lambda s: s.meters.filling.waits), ("result",)),
    Metric("channel_staleness_seconds", _G, "Longest present silence of any topic that should "
           "flow, to a second. What is quiet by nature is silent for long.", read.staleness,
           ("endpoint", "channel")),
    Metric("maintenance_ongoing", _G, "1 while maintenance that Bybit announced takes data from "
           "an endpoint.", read.maintenance, ("endpoint",)),
    Metric("clock_offset_seconds", _G, "How far Bybit's clock is ahead of ours; measured every "
           "5 minutes.", _one(read.clock_offset)),
    Metric("clock_offset_uncertainty_seconds", _G, "Largest error of that.",
           _one(read.clock_uncertainty)),
    Metric("clock_measured_timestamp_seconds", _G, "When it was measured, Unix time.",
           _one(read.clock_measured_at)),
)  # fmt: skip

_PRIVATE = (
    Metric("balance_rows_stored_total", _C, "Balance rows PostgreSQL committed, `coin` or `margin` "
           "(an account's totals). A row whose answer was lost is written twice, and counted so.",
           read.per_account(lambda tally: tally.stored, ("coin", "margin")), ("account", "kind")),
    Metric("balance_persistence_seconds", _H, "Time from the receipt of a push, or of an answer "
           "of REST, until its rows were committed; rows of an outage took as long as that.",
           read.histograms_per_account(lambda tally: tally.storing), ("account", "source")),
    Metric("balance_rows_waiting", _G, "Balance rows that are not in PostgreSQL yet, by where "
           "they are: `memory` or `disk`.", read.balance_rows_waiting, ("account", "place")),
    Metric("balance_rows_lost_total", _C, "Balance rows given up because disk and memory were "
           "full, or the disk did not give them back.", read.balance_rows_lost, ("account",)),
    Metric("balance_spool_bytes", _G, "Bytes of balance rows on disk.",
           read.balance_spool_bytes, ("account",)),
    Metric("private_records_refused_total", _C, "Balances and positions that cannot be true, or "
           "that PostgreSQL does not take, by reason; they are in quarantine.",
           read.per_account(lambda tally: tally.refused, read.REFUSED), ("account", "reason")),
    Metric("reconciliations_total", _C, "Readings of REST for what the stream missed, by how they "
           "ended.", read.per_account(lambda tally: tally.ended, read.READINGS),
           ("account", "result")),
    Metric("reconciliation_seconds", _H, "How long such a reading took, until all of it was told.",
           read.histograms_per_account(lambda tally: tally.readings), ("account", "result")),
    Metric("reconciled_events_total", _C, "Events that REST told and the stream had not.",
           read.per_account(lambda tally: tally.reconciled, read.RECONCILED),
           ("account", "event_class")),
    Metric("stream_differences_total", _C, "Those of them that no break of the stream explains.",
           read.per_account(lambda tally: tally.differing, read.RECONCILED),
           ("account", "event_class")),
    Metric("reconciliation_watermark_age_seconds", _G, "Age of the stored time up to which facts "
           "of a class are known to be delivered, the oldest of its topics. It may lag by ten "
           "minutes, because Bybit's lists may.", read.watermark_ages, ("account", "event_class")),
)  # fmt: skip

_SERVICE = (
    Metric("info", _G, "Always 1; says which version runs, and its epoch.",
           lambda s: [((__version__, s.report.epoch), 1.0)], ("version", "epoch")),
    Metric("ready", _G, "1 while `/readyz` answers 200.",
           _one(lambda s: not any(one.is_blocking for one in s.report.reasons))),
    Metric("reason", _G, "1 for every reason that `/health` gives; `announced` is true of one that "
           "maintenance explains which Bybit announced for that endpoint.", read.reasons,
           ("code", "subject", "blocking", "announced")),
    Metric("database_up", _G, "1 while the database answers.",
           _one(lambda s: s.report.database_error is None)),
    Metric("uptime_seconds", _G, "Time since the start.",
           _one(lambda s: s.report.uptime_seconds)),
    Metric("tasks", _G, "Tasks of the event loop.", _one(lambda _: count_tasks())),
    Metric("recorded_frames_total", _C, "Raw frames written to files (`WSG_RECORD_DIR`).",
           _one(lambda s: s.meters.recording.written)),
    Metric("unrecorded_frames_total", _C, "Raw frames that are a hole in the recording, because "
           "memory or the disk had no room.",
           _one(lambda s: s.meters.recording.missed + s.meters.recording.unwritten)),
    Metric("recording_failing", _G, "1 while nothing is recorded that should be: the disk "
           "refuses it, or has no room to spare.",
           _one(lambda s: s.meters.recording.error is not None)),
    Metric("certificate_expiry_timestamp_seconds", _G, "When a certificate ends, Unix time: the "
           "one of our API (`http`), those that `broker` and `database` show where they are "
           "checked (looked at once an hour), the authorities they are checked against "
           "(`broker_authority`, `database_authority`) and our own for them (`…_client`).",
           read.certificate_ends, ("certificate",)),
    Metric("recording_removed_files_total", _C, "Oldest files of the recording that gave way to "
           "newer ones, or to others on the volume.",
           _one(lambda s: s.meters.recording.removed_files)),
    Metric("recording_free_bytes", _G, "Bytes free on the volume of the recording when it last "
           "wrote; 0 without one.", _one(lambda s: s.meters.recording.free_bytes)),
    Metric("recording_kept_free_bytes", _G, "Bytes of them that the recording does not take: "
           "`WSG_RECORD_KEEP_FREE_BYTES`, and what the spools on it may still take.",
           _one(lambda s: s.meters.recording.kept_bytes)),
    Metric("loop_lag_seconds", _H, "How late the event loop came to what was due, looked at twice "
           "a second.", lambda s: [((), s.meters.loop.lateness)]),
    Metric("loop_lag_max_seconds", _G, "Longest such lateness of the last minute.",
           _one(lambda s: s.meters.loop.most_seconds)),
    Metric("http_request_seconds", _H, "Time our REST took to answer, by endpoint of the API; "
           "calls with `wait` are not timed.",
           read.histograms(lambda s: s.meters.requests.latency), ("method", "route")),
    Metric("http_requests_total", _C, "Answers of our REST; status 0 if the caller went away.",
           lambda s: iter(s.meters.requests.answers.items()), ("method", "route", "status")),
)  # fmt: skip

SECTIONS: dict[str, tuple[Metric, ...]] = {
    "Events": _EVENTS,
    "Broker and queues": _DELIVERY,
    "Bybit": _VENUE,
    "Private facts": _PRIVATE,
    "The service": _SERVICE,
}
METRICS = tuple(metric for section in SECTIONS.values() for metric in section)
