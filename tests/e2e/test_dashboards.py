"""The dashboards' queries, answered by a real Prometheus that scrapes a real gateway."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dashboards
from dashboard_bybit import WEBSOCKET_STATE
from support.console_stage import fault, in_time
from support.panels import every_panel
from support.programs import Gateway, until
from support.prometheus import Prometheus, prometheus
from support.proxy import TcpProxy, address, through
from support.site import KEYS, Site
from ws_gateway.control.metrics.reading import LOSSES
from ws_gateway.control.reasons import BROKER_SILENT_SECONDS

VENUE: dict[str, Any] = {
    "api_key": KEYS["WSG_BYBIT_API_KEY"],
    "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
    "account": "hedge:hedge-key:hedge-secret",
}
ACCOUNTS = {
    **KEYS,
    "WSG_ACCOUNTS": '{"hedge": {"api_key": "hedge-key", "api_secret": "hedge-secret"}}',
}

QUIET = {
    **dict.fromkeys(("Reason", "Of", "Data missing", "Announced"), "nothing is wrong"),
    "Breakers that are not closed": "all are closed",
    **dict.fromkeys(("Queue", "Alert", "Read by"), "no queue has an alert"),
    "Last error": "no connection has one",
    "Next attempt in": "nothing is waited for",
    "Attempts and losses": "nothing was lost",
    "Topics that fell silent": "none did",
    "Certificates end in": "nothing is spoken over TLS here",
    "How long live facts waited for that (99 %)": "there was no gap",
    "Subscribe to active, and back after a loss (99 %)": "nothing was lost",
    "Objectives: 99 % in 50 ms, 200 ms, 1 s, 5 s": "nothing was lost",
    "Consumers, and what they have not acknowledged": "the management API alone tells it",
}
"""Panels and columns of which some answer may be empty while all is well, each with the reason."""


def _instance(gateway: Gateway) -> str:
    return urlsplit(str(gateway.http.base_url)).netloc


async def _answered(one: Prometheus, panel: Any, target: dict[str, Any]) -> list[dict[str, Any]]:
    if panel.kind == "timeseries":
        return await one.lately(target["expr"], time.time(), 10)
    return await one.now(target["expr"])


async def test_every_query_of_every_panel_is_answered_and_names_apart_what_it_shows(
    site: Site, tmp_path: Path
) -> None:
    """No error, no answer that is empty where something must be, no two lines of one name."""
    async with (
        site.venue(rate=50, trade_every=0.2, **VENUE) as venue,
        site.gateway(venue.url, **ACCOUNTS) as gateway,
        prometheus(tmp_path, _instance(gateway)) as one,
    ):
        for channel in ("orderbook", "trades", "ticker"):
            await gateway.add(channel, "BTCUSDT", category="linear")
        for channel in ("order", "execution", "position", "balance"):
            for account in ("main", "hedge"):
                await gateway.add(channel, account=account)
        await gateway.until_ready()
        await _looked_long_enough(one)
        empty: set[str] = set()

        async def all_is_shown() -> bool:
            nonlocal empty
            empty = await _empty_panels(one) - set(QUIET)
            return not empty

        await until(all_is_shown, seconds=60, what=lambda: f"all is shown, but {sorted(empty)}")


async def _empty_panels(one: Prometheus) -> set[str]:
    """Name the panels and columns to which there is no answer; no two lines may have one name."""
    empty, twice = set(), set()
    for dashboard, panel, read in every_panel():
        names: list[str] = []
        for target in read["targets"]:
            series = await _answered(one, panel, target)
            if not series:
                of = [
                    column.title
                    for column in panel.columns
                    if panel.asked.index(column.query) == read["targets"].index(target)
                ]
                empty |= set(of or [panel.title])
            names += [_legend(target["legendFormat"], each["metric"]) for each in series]
        if panel.kind == "timeseries" and len(set(names)) < len(names):
            twice.add((dashboard.title, panel.title, *names))
    assert not twice
    return empty


async def _looked_long_enough(one: Prometheus) -> None:
    """Wait until there are enough scrapes for a rate, and what is rare has been read."""
    waited_for = (
        'rate(ws_gateway_events_confirmed_total{instance="$instance"}[$__rate_interval]) > 0',
        'ws_gateway:event_success:ratio_rate30d{instance="$instance"}',
        'ws_gateway:balance_persistence:ratio_in_1s_rate5m{instance="$instance"}',
        'ws_gateway_queue_oldest_age_seconds{instance="$instance"}',
        'ws_gateway_connection_heartbeat_timestamp_seconds{instance="$instance"}',
        'ws_gateway_reconciliation_watermark_age_seconds{instance="$instance"}',
        'ws_gateway_clock_offset_seconds{instance="$instance"}',
    )
    for query in waited_for:

        async def is_there(query: str = query) -> bool:
            await asyncio.sleep(0.3)
            return bool(await one.now(query))

        await until(is_there, seconds=60, what=query)


def _legend(pattern: str, labels: dict[str, str]) -> str:
    if pattern == "__auto":
        return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    for key, value in labels.items():
        pattern = pattern.replace(f"{{{{{key}}}}}", value)
    # Grafana leaves a label that a series has not as an empty word.
    return pattern


# ── faults ────────────────────────────────────────────────────────────────────────────────────


def _panel(title: str) -> list[str]:
    for _, panel, read in every_panel():
        if panel.title == title:
            return [target["expr"] for target in read["targets"]]
    raise AssertionError(title)


async def _shown(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for what a panel shows; a page asks once a second, so it may be that much later."""
    began = time.monotonic()

    async def asked() -> bool:
        await asyncio.sleep(0.1)
        return await holds()

    await until(asked, seconds=40, what=what)
    assert in_time(time.monotonic() - began + float(dashboards.REFRESH.removesuffix("s"))), what


async def test_faults_of_exchange_broker_and_gateway_are_on_the_dashboards_in_seconds(
    site: Site, tmp_path: Path
) -> None:
    """As often as scrapes and pages are shipped to be; what is gone is not known, not well."""
    async with (
        TcpProxy(*address(site.amqp_url, 5672)) as proxy,
        site.venue() as venue,
        site.gateway(venue.url, WSG_AMQP_URL=through(site.amqp_url, proxy)) as gateway,
        prometheus(tmp_path, _instance(gateway)) as one,
    ):
        for category in ("linear", "spot"):
            await gateway.add("orderbook", "BTCUSDT", category=category)
        await gateway.until_ready()

        def stat(title: str, value: float | None) -> Callable[[], Awaitable[bool]]:
            (query,) = _panel(title)

            async def holds() -> bool:
                values = [float(each["value"][1]) for each in await one.now(query)]
                return values == ([] if value is None else [value])

            return holds

        for title, value in (
            ("Answers scrapes", 1),
            ("Ready", 1),
            ("Broker", 1),
            ("Connections down", 0),
        ):
            await until(stat(title, value), seconds=30, what=title)

        await fault(venue, "refuse_handshake", path="/v5/public/spot")
        await fault(venue, "drop", path="/v5/public/spot")
        await _shown(stat("Connections down", 1), "a connection is down")
        row = await _waiting_row(one, "spot")
        assert row["State"] == "backing_off"
        assert row["Last error"] in LOSSES
        assert row["Reconnects"] >= 1
        assert (await _row(one, "linear"))["State"] == "streaming"
        (query,) = _panel("Why it is not well")

        async def says_why() -> bool:
            codes = {each["metric"]["code"] for each in await one.now(query)}
            return "connection_not_streaming" in codes

        await until(says_why, seconds=30, what="it says why it is not well")

        (owed,) = _panel("Broker owes an answer for")

        async def is_silent() -> bool:
            return any(
                float(each["value"][1]) >= BROKER_SILENT_SECONDS for each in await one.now(owed)
            )

        await proxy.stall()
        await _shown(is_silent, "the broker is frozen")
        await proxy.cut()
        await _shown(stat("Broker", 0), "the broker is away")
        await gateway.kill()
        await _shown(stat("Answers scrapes", 0), "the gateway is away")
        await _shown(stat("Ready", None), "nothing is known of it")


async def _waiting_row(one: Prometheus, connection: str) -> dict[str, Any]:
    """Read a row once a scrape found the connection between two attempts, a moment ago."""

    async def waits() -> dict[str, Any] | None:
        await asyncio.sleep(0.1)
        row = await _row(one, connection)
        is_waiting = row.get("Next attempt in", -9) >= -3 and row["State"] == "backing_off"
        return row if is_waiting else None

    return await until(waits, seconds=30, what="an attempt is waited for")


async def _row(one: Prometheus, connection: str) -> dict[str, Any]:
    """Read a row of the table of connections, as Grafana joins it."""
    row: dict[str, Any] = {}
    expressions = _panel(WEBSOCKET_STATE.title)
    for column in WEBSOCKET_STATE.columns:
        series = await one.now(expressions[WEBSOCKET_STATE.asked.index(column.query)])
        for each in series:
            if each["metric"]["connection"] == connection:
                assert column.title not in row
                value = float(each["value"][1])
                assert not math.isnan(value)
                row[column.title] = each["metric"].get(column.label, "") if column.label else value
    return row
