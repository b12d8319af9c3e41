"""What /metrics says, of a gateway whose surroundings the test sets."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.memory_feed import connection
from support.memory_gateway import Gateway
from support.scraped import scrape
from ws_gateway.control.metrics import reading
from ws_gateway.control.metrics.document import render
from ws_gateway.control.metrics.metric import PREFIX, Type
from ws_gateway.control.metrics.scrape import TEXT_AGE_SECONDS
from ws_gateway.control.metrics.table import METRICS
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, Endpoint, EventClass, Lane, build_topic
from ws_gateway.ports.delivery import (
    AlertCode,
    BrokerState,
    LaneStatus,
    QueueAlert,
    QueueKind,
    QueueStatus,
)
from ws_gateway.ports.feed import MaintenanceNotice, SessionState
from ws_gateway.runtime.breaker import BreakerState
from ws_gateway.venue.login import LoginFault
from ws_gateway.venue.login_refusal import UNDIAGNOSED

CHECKOUT = Path(__file__).resolve().parents[3]
COMMITTED = CHECKOUT / "docs" / "metrics.md"
VENUE = CHECKOUT / "src" / "ws_gateway" / "venue"
PRIVATE = (*sorted(VENUE.with_name("account").glob("*.py")), VENUE.parent / "domain" / "balance.py")
BOOK = build_topic(Channel.ORDERBOOK, category=Category.LINEAR, symbol="BTCUSDT")
TRADES = build_topic(Channel.TRADES, category=Category.SPOT, symbol="ETHUSDT")
NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
LANE = LaneStatus(Lane.BOOK, "gap", 3, 4, 500, 100, 10_000, 7, 900, is_refusing=False)
QUEUE = QueueStatus(
    name="g.sloth.trade",
    kind=QueueKind.DEDICATED,
    event_class="trade",
    services=("sloth",),
    bindings=("trade.linear.BTCUSDT",),
    queue_type="quorum",
    looked_at=NOON,
    depth=5210,
    consumers=1,
    unacknowledged=50,
    oldest_age_seconds=3.5,
    max_length=100_000,
    dropped_at_least=12,
    alerts=(QueueAlert(AlertCode.SLOW_CONSUMER, NOON, "2703 were left over"),),
)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A gateway with one of everything that a label can name."""
    built = Gateway()
    built.backlog.told = [QUEUE]
    built.delivery.lanes = (LANE,)
    built.clock.offset_ms, built.clock.measured_at = -250, NOON
    lost = connection("linear", error="closed: 1006", breaker=BreakerState.OPEN, retry_at=NOON)
    lost = replace(lost, last_heartbeat_at=NOON, last_event_at=NOON, last_loss="closed")
    built.feed.statuses = [lost]
    built.feed.silent = {(Endpoint.LINEAR, Channel.ORDERBOOK): 1.5}
    tally, meters = built.meters.tally, built.meters
    tally.attempts["linear"] += 3
    tally.losses["linear", "pong"] += 2
    tally.login_failures["", "clock_skew"] += 1
    tally.stalls["linear"] += 4
    built.counters.quarantined["malformed"] += 1
    built.counters.routed[BOOK.key] += 5
    built.counters.routed["quarantine"] += 1
    built.counters.latencies_us.extend([1000, 2000, 3000])
    meters.hops.of("confirm", "trade").observe(0.003, 10)
    meters.deliveries.of("trade").observe(0.004, 10)
    meters.topics.subscribing.of("linear").observe(0.1)
    meters.topics.resubscribing.of("linear").observe(0.4)
    meters.loop.note(0.02)
    built.account.tally.storing.of("stream").observe(0.004)
    built.account.tally.readings.of("done").observe(0.8)
    meters.filling.waits.of("done").observe(0.2)
    built.account.watermark_ages = {EventClass.EXECUTION: 61.5}
    async with built.http:
        yield built


def test_the_committed_description_is_current() -> None:
    """After a change of the table the description is made anew and committed with it."""
    command = "make contract"
    assert COMMITTED.read_text(encoding="utf-8") == render(), f"run: {command}"


async def test_what_is_declared_is_told_and_what_is_told_is_declared(gateway: Gateway) -> None:
    """Name, type, help and labels of each metric are those of the table; each has samples."""
    await gateway.want(BOOK, state=State.ACTIVE)
    await gateway.http.get("/livez")
    told = await scrape(gateway.http)
    own = {name: family for name, family in told.families.items() if name.startswith(PREFIX)}
    assert list(own) == [metric.full_name for metric in METRICS]
    assert told.value("process_cpu_seconds_total") > 0
    for metric in METRICS:
        family = own[metric.full_name]
        assert (family.type, family.documentation) == (metric.type.value, metric.help)
        found = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert found == {frozenset(metric.labels)}, metric.name


def test_names_and_help_keep_to_the_rules_of_prometheus() -> None:
    """Counters and only they end in `_total`; base units; each help is a sentence."""
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", metric.name)
        assert metric.name.endswith("_total") is (metric.type is Type.COUNTER), metric.name
        assert not re.search(r"_(ms|us|millis|kb|mb|percent)(_|$)", metric.name)
        if metric.type is Type.HISTOGRAM:
            assert metric.name.endswith("_seconds")
        assert metric.help.endswith("."), metric.name
        assert metric.help[0].isupper() or metric.help[0].isdigit(), metric.name
        assert len(set(metric.labels)) == len(metric.labels)
        assert not {"topic", "symbol", "trace_id", "event_id"} & set(metric.labels)


async def test_no_label_names_a_topic_or_a_symbol(gateway: Gateway) -> None:
    """However many topics there are, the number of series stays."""
    await gateway.want(BOOK, TRADES, state=State.ACTIVE)
    gateway.counters.routed[TRADES.key] += 1
    text = (await scrape(gateway.http)).text
    assert "BTCUSDT" not in text
    assert "ETHUSDT" not in text


async def test_an_alert_is_one_while_it_stands_and_then_zero(gateway: Gateway) -> None:
    """It names queue, alert and who reads the queue; the other alerts of the queue are 0."""
    alert = {"queue": QUEUE.name, "alert": "slow_consumer"}
    told = await scrape(gateway.http)
    assert told.values("ws_gateway_queue_alert", **alert) == {("sloth",): 1}
    assert sum(told.values("ws_gateway_queue_alert").values()) == 1
    assert len(told.values("ws_gateway_queue_alert")) == len(AlertCode)
    gateway.backlog.told = [replace(QUEUE, alerts=())]
    gateway.now += TEXT_AGE_SECONDS
    told = await scrape(gateway.http)
    assert told.values("ws_gateway_queue_alert", **alert) == {("sloth",): 0}


async def test_health_and_metrics_tell_the_same(gateway: Gateway) -> None:
    """Both are read from one report."""
    await gateway.want(BOOK, state=State.STALLED)
    gateway.delivery.state = BrokerState.BLOCKED
    body = await gateway.health()
    told = await scrape(gateway.http)
    for name in ("received", "confirmed"):
        assert told.value(f"ws_gateway_events_{name}_total") == body["delivery"][name]
    latency = told.values("ws_gateway_receive_to_confirm_seconds")
    assert latency == {("0.5",): 0.002, ("0.99",): 0.003}
    reasons = {(one["code"], one["subject"]) for one in body["reasons"]}
    assert {(code, subject) for _, _, code, subject in told.values("ws_gateway_reason")} == reasons
    assert reasons >= {("broker_blocked", "broker"), ("topics_stalled", "linear")}
    assert told.value("ws_gateway_ready") == 0
    assert told.value("ws_gateway_broker_state", state="blocked") == 1
    assert told.value("ws_gateway_broker_ready") == 0
    assert told.value("ws_gateway_topics", endpoint="linear", state="stalled") == 1


async def test_readiness_as_a_number_is_that_of_readyz(gateway: Gateway) -> None:
    """Reasons that do not block leave it at 1."""
    gateway.feed.statuses = [connection("linear")]
    await gateway.want(BOOK, state=State.ACTIVE)
    assert await gateway.reasons() == []
    told = await scrape(gateway.http)
    assert told.value("ws_gateway_ready") == 1
    assert told.value("ws_gateway_reason", code="slow_consumer", subject=QUEUE.name) == 1


async def test_a_reason_that_announced_maintenance_explains_is_told_apart(gateway: Gateway) -> None:
    """By endpoint: who is woken by the others is not kept asleep by it."""
    await gateway.want(TRADES, state=State.REQUESTED)
    await gateway.want(BOOK, state=State.REQUESTED)
    lost = SessionState.BACKING_OFF
    gateway.feed.statuses = [connection("spot", lost), connection("linear", lost)]
    gateway.notices.told = [
        MaintenanceNotice("1", "work", "ongoing", None, None, frozenset({Endpoint.SPOT}))
    ]
    told = await scrape(gateway.http)
    announced = told.values("ws_gateway_reason", code="connection_not_streaming", blocking="true")
    assert set(announced) == {("true", "spot"), ("false", "linear")}


async def test_connections_that_follow_each_other_are_of_one_shard(gateway: Gateway) -> None:
    """What is held over a month has the shard's name, not that of each socket."""
    gateway.feed.statuses = [connection("linear", name="linear.b"), connection("linear-2")]
    told = await scrape(gateway.http)
    shards = told.values("ws_gateway_connection_up", connection="linear.b")
    assert set(shards) == {("", "linear", "linear")}


async def test_deltas_that_a_hole_of_the_venue_withheld_are_no_failed_delivery(
    gateway: Gateway,
) -> None:
    """The success ratio counts what we gave up."""
    gateway.counters.received += 9
    gateway.counters.shed.update(venue_hole=5, awaiting_snapshot=4)
    told = await scrape(gateway.http)
    assert told.value("ws_gateway_event_success_ratio") == 0.5


async def test_each_part_is_told_by_endpoint_and_name(gateway: Gateway) -> None:
    """Connections, breakers, stalls, silence, maintenance, clock."""
    lost = connection(
        "spot", SessionState.BACKING_OFF, "closed: 1006", name="spot-2", retry_at=NOON
    )
    gateway.feed.statuses.append(replace(lost, uptime_ratio=0.25, last_loss="closed"))
    gateway.notices.told = [
        MaintenanceNotice("1", "work", "ongoing", None, None, frozenset({Endpoint.SPOT}))
    ]
    told = await scrape(gateway.http)
    assert told.values("ws_gateway_connection_up") == {
        ("", "linear", "linear", "linear"): 1,
        ("", "spot-2", "spot", "spot-2"): 0,
    }
    ratio = told.value("ws_gateway_connection_uptime_ratio", connection="spot-2")
    assert ratio == 0.25
    state = told.values("ws_gateway_connection_state", connection="spot-2")
    assert [labels[-1] for labels, value in state.items() if value] == ["backing_off"]
    why = told.values("ws_gateway_connection_error", connection="spot-2")
    assert why == {("", "spot", "closed", "spot-2"): 1}, "the text of an error has no bound"
    due = told.value("ws_gateway_connection_retry_timestamp_seconds", connection="spot-2")
    assert due == NOON.timestamp()
    assert told.value("ws_gateway_breaker_state", endpoint="linear", state="open") == 1
    assert told.value("ws_gateway_breaker_state", endpoint="spot", state="open") == 0
    losses = told.values("ws_gateway_connection_losses_total")
    assert {labels: count for labels, count in losses.items() if count} == {("linear", "pong"): 2}
    failures = told.values("ws_gateway_login_failures_total")
    assert {labels: count for labels, count in failures.items() if count} == {
        ("main", "clock_skew"): 1
    }
    stale = told.value("ws_gateway_channel_staleness_seconds", endpoint="linear")
    assert stale == 1.5
    maintained = told.values("ws_gateway_maintenance_ongoing")
    assert [name for (name,), value in maintained.items() if value] == ["spot"]
    assert told.value("ws_gateway_clock_offset_seconds") == -0.25
    ends = told.value("ws_gateway_certificate_expiry_timestamp_seconds", certificate="http")
    assert ends == datetime(2026, 10, 1, 3, tzinfo=UTC).timestamp()


async def test_a_clock_that_was_never_measured_is_not_told(gateway: Gateway) -> None:
    """Zero would be a lie."""
    gateway.clock.measured_at = None
    told = await scrape(gateway.http)
    assert told.values("ws_gateway_clock_offset_seconds") == {}


async def test_balances_on_their_way_and_what_rest_told_are_told(gateway: Gateway) -> None:
    """Rows by where they are, refusals and differences by kind, which all begin at 0."""
    told = await scrape(gateway.http)
    assert set(told.values("ws_gateway_stream_differences_total").values()) == {0}
    assert told.values("ws_gateway_reconciliations_total") == {
        ("main", "done"): 0,
        ("main", "failed"): 0,
    }
    gateway.account.rows_in_memory, gateway.account.rows_on_disk = 2, 40
    gateway.account.spool_bytes = 9000
    tally = gateway.account.tally
    tally.stored["coin"] += 3
    tally.refused["balance_sign"] += 1
    tally.lost += 5
    tally.reconciled["execution"] += 4
    tally.differing["execution"] += 1
    gateway.now += TEXT_AGE_SECONDS
    told = await scrape(gateway.http)
    waiting = told.values("ws_gateway_balance_rows_waiting")
    assert waiting == {("main", "memory"): 2, ("main", "disk"): 40}
    assert told.value("ws_gateway_balance_spool_bytes") == 9000
    stored = told.values("ws_gateway_balance_rows_stored_total")
    assert stored == {("main", "coin"): 3, ("main", "margin"): 0}
    assert told.value("ws_gateway_balance_rows_lost_total") == 5
    assert told.value("ws_gateway_private_records_refused_total", reason="balance_sign") == 1
    assert told.value("ws_gateway_reconciled_events_total", event_class="execution") == 4
    assert told.value("ws_gateway_stream_differences_total", event_class="execution") == 1
    age = told.value("ws_gateway_reconciliation_watermark_age_seconds", event_class="execution")
    assert age == 61.5


async def test_what_was_routed_is_summed_by_event_class(gateway: Gateway) -> None:
    """Quarantined frames are a class of their own; classes without events are there, at 0."""
    gateway.counters.routed["linear:orderbook.200.ETHUSDT"] += 2
    told = await scrape(gateway.http)
    classes = {
        name: value for (name,), value in told.values("ws_gateway_messages_routed_total").items()
    }
    assert {name: value for name, value in classes.items() if value} == {
        "orderbook": 7,
        "quarantine": 1,
    }
    assert classes["trade"] == 0


async def test_a_sample_that_stands_for_ten_counts_as_ten(gateway: Gateway) -> None:
    """Buckets are cumulative, and sum and count go with them."""
    told = await scrape(gateway.http)
    place = {"hop": "confirm", "event_class": "trade"}
    name = "ws_gateway_delivery_latency_seconds"
    assert told.value(f"{name}_count", **place) == 10
    assert told.value(f"{name}_sum", **place) == pytest.approx(0.03)
    buckets = {le: count for (le,), count in told.values(f"{name}_bucket", **place).items()}
    assert (buckets["0.0025"], buckets["0.005"], buckets["+Inf"]) == (0, 10, 10)


async def test_many_callers_have_the_text_made_once_a_moment(gateway: Gateway) -> None:
    """It needs no key, so anybody may ask."""
    first = (await scrape(gateway.http)).text
    gateway.counters.received += 1
    gateway.counters.confirmed += 1
    assert (await scrape(gateway.http)).text == first
    gateway.now += TEXT_AGE_SECONDS
    assert (await scrape(gateway.http)).value("ws_gateway_events_received_total") == 8


async def test_what_may_happen_is_told_as_zero_before_it_happened(gateway: Gateway) -> None:
    """A counter that begins at 1 has not risen, so an alert on its rise would miss the first."""
    told = await scrape(gateway.http)
    for reason in ("too_large", "balance_sign", "position_invalid"):
        assert told.value("ws_gateway_frames_quarantined_total", reason=reason) == 0
    assert told.value("ws_gateway_login_failures_total", fault="wrong_key") == 0
    lost = {"endpoint": "linear", "reason": "refused"}
    assert told.value("ws_gateway_connection_losses_total", **lost) == 0
    await gateway.want(TRADES)
    gateway.now += TEXT_AGE_SECONDS
    told = await scrape(gateway.http)
    assert told.value("ws_gateway_resubscribe_seconds_count", endpoint="spot") == 0
    assert told.value("ws_gateway_subscribe_seconds_count", endpoint="spot") == 0


def test_the_reasons_told_as_zero_are_those_the_code_gives() -> None:
    """A new reason is added to the table, or its first occurrence would be missed."""
    private = "\n".join(path.read_text("utf-8") for path in PRIVATE)
    refused = re.findall(r"(?:BrokenRule\(|_refuse\(fact,|refused\[)\s*\"([a-z_]+)\"", private)
    assert set(refused) == set(reading.REFUSED)
    code = "\n".join(path.read_text("utf-8") for path in sorted(VENUE.glob("*.py")))
    quarantined = set(re.findall(r"Quarantine\(\s*\"([a-z_]+)\"", code))
    assert quarantined | {"not_kept"} == set(reading.QUARANTINED)
    lost = set(re.findall(r"VenueLost\(\s*\"([a-z_]+)\"", code)) - {"clock"}  # not of a socket
    lost |= set(re.findall(r"step = \"([a-z_]+)\"", code))
    assert lost == set(reading.LOSSES)
    faults = {fault.value for fault in LoginFault} | set(UNDIAGNOSED.values())
    assert faults == set(reading.LOGIN_FAULTS)


async def test_a_call_that_waits_by_wish_is_counted_and_not_timed(gateway: Gateway) -> None:
    """It takes as long as Bybit does; the objective for our answers is not about that."""
    key = {"X-API-Key": "k"}
    for query in ("?wait=0", "?limit=5&wait=0", "?limit=5"):
        await gateway.http.get(f"/api/v1/subscriptions{query}", headers=key)
    told = await scrape(gateway.http)
    route = {"method": "GET", "route": "/api/v1/subscriptions"}
    assert sum(told.values("ws_gateway_http_requests_total", **route).values()) == 3
    assert told.value("ws_gateway_http_request_seconds_count", **route) == 1


async def test_answers_are_timed_by_the_route_and_not_by_the_path(gateway: Gateway) -> None:
    """What callers may invent is one label: foreign paths and methods make no series."""
    key = {"X-API-Key": "k"}
    for number in range(3):
        unknown = f"00000000-0000-0000-0000-00000000000{number}"
        await gateway.http.get(f"/api/v1/subscriptions/{unknown}", headers=key)
        await gateway.http.get(f"/nowhere/{number}")
        await gateway.http.get("/api/v1/queues")
        await gateway.http.request(f"INVENTED{number}", "/livez")
    told = await scrape(gateway.http)
    answers = told.values("ws_gateway_http_requests_total")
    assert answers["GET", "/api/v1/subscriptions/{subscription_id}", "404"] == 3
    assert answers["GET", "other", "404"] == 3
    assert answers["GET", "other", "401"] == 3
    assert sum(count for (method, *_), count in answers.items() if method == "other") == 3
    assert {path for _, path, _ in answers} <= {
        "other",
        "/livez",
        "/api/v1/subscriptions/{subscription_id}",
    }
    route = {"method": "GET", "route": "/api/v1/subscriptions/{subscription_id}"}
    assert told.value("ws_gateway_http_request_seconds_count", **route) == 3
