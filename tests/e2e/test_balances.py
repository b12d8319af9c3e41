"""Balances and positions of a simulated account: stored, served, published, through an outage."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg

from support.consumer import Consumer
from support.programs import Gateway, until
from support.scraped import scrape
from support.site import KEYS, Site
from ws_gateway.account.balance_log import condense
from ws_gateway.runtime.spool_format import Record
from ws_gateway.runtime.spool_log import SpoolLog
from ws_gateway.storage.embedded import EmbeddedPostgres

VENUE_KEYS: dict[str, Any] = {
    "api_key": KEYS["WSG_BYBIT_API_KEY"],
    "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
}
BALANCES = "/api/v1/balances"


async def get(gateway: Gateway, path: str = BALANCES, **query: str) -> dict[str, Any]:
    """Read from the API."""
    answer = await gateway.http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def stored(url: str) -> list[asyncpg.Record]:
    """Read the stored history, oldest first."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch("SELECT * FROM account_balances ORDER BY event_timestamp")
    finally:
        await connection.close()


async def until_wallets(consumer: Consumer, count: int, after: int = 0) -> None:
    """Wait until so many wallets came behind the first `after` events."""

    def is_enough(_: object) -> bool:
        events = consumer.events[after:]
        wallets = [one for one in events if (one["topic"], one["kind"]) == ("wallet", "update")]
        return len(wallets) >= count

    await consumer.until(is_enough, seconds=30)


async def until_all_is_stored(url: str, consumer: Consumer, *, surely: int | None = None) -> None:
    """Wait until every coin that an event told is a row, but for those told as they were.

    Of the first process all is spared behind its first `surely` events, and the whole wallet that
    is told once after a start, whose coins may be rows of the process before.
    """
    first = consumer.events[0]["epoch"]
    last: dict[str, Any] = {}
    expected = set()
    for number, event in enumerate(tuple(consumer.events)):
        if event["event_type"] != "balance" or event["kind"] != "update":
            continue
        for coin in event["payload"]["coin"]:
            is_late = surely is not None and number >= surely and event["epoch"] == first
            is_spared = is_late or ":whole:" in event["event_id"]
            if last.get(coin["coin"]) != coin and not is_spared:
                expected.add((event["trace_id"], coin["coin"]))
            last[coin["coin"]] = coin
    missing: set[tuple[str, str]] = set()

    async def complete() -> bool:
        nonlocal missing
        rows = {(row["trace_id"], row["coin"]) for row in await stored(url)}
        missing = expected - rows
        return not missing

    assert expected
    await until(complete, seconds=60, what=lambda: f"{len(missing)} of {len(expected)} rows")


async def test_a_wallet_push_becomes_rows_and_the_latest_balance(site: Site) -> None:
    """What consumers get, what is stored, and what the API answers are the same amounts."""
    async with (
        site.venue(trade_every=0.1, **VENUE_KEYS) as venue,
        site.gateway(venue.url, **KEYS) as gateway,
        site.consumer("balance", "position") as consumer,
    ):
        assert (await get(gateway))["items"] == []
        await gateway.add("balance")
        await gateway.add("position")
        await until_wallets(consumer, 20)
        await consumer.until_flows((None, "position"))
        await until_all_is_stored(site.database_url or "", consumer)

        positions = [
            event["payload"]
            for event in consumer.events
            if event["event_type"] == "position" and event["kind"] == "update"
        ]
        assert {one["mode"] for one in positions} == {"one_way"}
        for one in positions:
            assert Decimal(one["size"]) >= 0
            assert (one["side"] is None) == (one["size"] == "0")
            assert one["raw"]["symbol"] == one["symbol"]

        synced = await gateway.http.post(f"{BALANCES}/sync")
        assert synced.status_code == 200, synced.text
        body = synced.json()
        coins = {one["coin"]: one for one in body["coins"]}
        assert {"USDT", "USDC", "BTC", "ETH"} <= set(coins)
        assert coins["USDC"]["previous"]["source"] == "rest"  # read when the topic began
        assert coins["USDC"]["new"]["source"] == "rest"
        assert body["changed"] + body["unchanged"] == len(coins)
        assert body["is_stored"] is True
        assert body["faults"] == []
        await consumer.until(lambda event: event["source"] == "rest")

        await check_what_is_served(gateway, sorted(coins))
        await check_what_is_measured(gateway)


async def check_what_is_served(gateway: Gateway, coins: list[str]) -> None:
    """Read all there is to read, page by page."""
    latest = await get(gateway)
    assert [one["coin"] for one in latest["items"]] == coins
    assert latest["freshness"]["age_seconds"] < 10
    first = await get(gateway, limit="1")
    rest = await get(gateway, cursor=first["next_cursor"])
    names = [one["coin"] for one in (*first["items"], *rest["items"])]
    assert names == coins
    assert [one["coin"] for one in (await get(gateway, coin="ETH"))["items"]] == ["ETH"]
    (margin,) = (await get(gateway, view="margin"))["items"]
    assert Decimal(margin["total_equity"]) > 0

    history = await get(gateway, f"{BALANCES}/history", order="asc", limit="5")
    times = [one["event_timestamp"] for one in history["items"]]
    assert times == sorted(times)
    assert len(times) == 5
    onward = await get(gateway, f"{BALANCES}/history", order="asc", cursor=history["next_cursor"])
    assert onward["items"][0]["event_timestamp"] >= times[-1]
    assert onward["items"][0]["event_id"] != history["items"][-1]["event_id"]


async def check_what_is_measured(gateway: Gateway) -> None:
    """Look at the metrics of rows and readings."""
    told = await scrape(gateway.http)
    assert told.value("ws_gateway_balance_persistence_seconds_count", source="stream") >= 20
    assert told.value("ws_gateway_balance_rows_stored_total", kind="coin") >= 20
    assert told.value("ws_gateway_reconciliations_total", result="done") >= 1
    assert set(told.values("ws_gateway_stream_differences_total").values()) == {0}


async def test_a_sync_that_bybit_refuses_is_told_with_what_to_do(site: Site) -> None:
    """Without a key, with a wrong secret, and for an account that is none."""
    async with site.venue(**VENUE_KEYS) as venue:
        async with site.gateway(venue.url) as gateway:
            answer = await gateway.http.post(f"{BALANCES}/sync")
            assert answer.status_code == 422
            assert answer.json()["code"] == "credentials_missing"
            assert "WSG_BYBIT_API_KEY" in answer.json()["detail"]
            unknown = await gateway.http.get(BALANCES, params={"account": "other"})
            assert unknown.json()["code"] == "account_unknown"
        wrong = {**KEYS, "WSG_BYBIT_API_SECRET": "wrong"}
        async with site.gateway(venue.url, **wrong) as gateway:
            answer = await gateway.http.post(f"{BALANCES}/sync")
            assert answer.status_code == 502, answer.text
            assert answer.json()["code"] == "venue_key_refused"
            assert "WSG_BYBIT_API_SECRET" in answer.json()["detail"]
        await venue.kill()
        async with site.gateway(venue.url, **KEYS) as gateway:
            answer = await gateway.http.post(f"{BALANCES}/sync")
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] in {"venue_away", "venue_busy"}
            assert int(answer.headers["Retry-After"]) >= 1


async def test_balance_rows_left_by_another_prefix_are_told_at_the_start_with_the_remedy(
    site: Site,
) -> None:
    """They are a reason that blocks nothing, and a line in the log; an account's own are none."""
    data = site.folder / "data"
    for name in ("balances-former", f"balances-{site.prefix}"):
        left = SpoolLog(data / name, max_bytes=10**6, max_age_seconds=3600, condense=condense)
        left.open()
        left.append([Record(b"{}", is_observed=True)])
        left.close()
    async with site.gateway("ws://127.0.0.1:9") as gateway:
        reasons = (await gateway.health())["reasons"]
        (told,) = [one for one in reasons if one["code"] == "balance_spool_left_behind"]
        assert (told["subject"], told["is_blocking"]) == ("account main", False)
        assert "WSG_AMQP_PREFIX=former" in told["detail"]
        (line,) = gateway.logged("account.balance_spool_left_behind")
        assert Path(line["folder"]).name == "balances-former"


async def test_no_balance_is_lost_while_the_database_is_away(
    site: Site, own_postgres: EmbeddedPostgres
) -> None:
    """Events flow on; rows wait on disk, survive a killed gateway, and are written in order."""
    url = await own_postgres.start()
    site = replace(site, database_url=url)
    async with (
        site.venue(trade_every=0.1, **VENUE_KEYS) as venue,
        site.gateway(venue.url, **KEYS) as killed,
        site.consumer("balance") as consumer,
    ):
        await killed.add("balance")
        await until_wallets(consumer, 5)
        await own_postgres.stop()
        gone = len(consumer.events)
        await until_wallets(consumer, 30, after=gone)

        def is_told(health: dict[str, Any]) -> bool:
            return "balances_not_stored" in {one["code"] for one in health["reasons"]}

        await killed.until_health(is_told)
        surely = len(consumer.events)  # what comes in the last moment need not be on disk
        uncommitted = (await get(killed))["freshness"]["uncommitted_rows"]
        assert uncommitted > 0

        async def are_on_disk() -> bool:
            told = await scrape(killed.http)
            rows = told.values("ws_gateway_balance_rows_waiting", place="disk")
            return bool(sum(rows.values()) >= uncommitted)

        await until(are_on_disk, seconds=30, what=f"{uncommitted} rows are on disk")
        await killed.kill()

        await own_postgres.start()
        async with site.gateway(venue.url, **KEYS):
            begun = len(consumer.events)
            await until_wallets(consumer, 5, after=begun)
            await until_all_is_stored(url, consumer, surely=surely)
        rows = await stored(url)
        ids = [row["event_id"] for row in rows]
        assert len(set(ids)) == len(ids)
