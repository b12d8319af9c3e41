"""Private data: one record per event, of an account, with an identity that survives a repeat."""

from __future__ import annotations

from typing import Any

from support.programs import until
from support.site import KEYS, Site

CHANNELS = ("order", "execution", "position", "balance")
TOPICS = ("order", "execution", "position", "wallet")
BOOK = "orderbook.50.BTCUSDT"
VENUE_KEYS: dict[str, Any] = {
    "api_key": KEYS["WSG_BYBIT_API_KEY"],
    "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
}


async def test_private_records_flow_one_per_event(site: Site, second_prefix: str) -> None:
    """Two gateways that read the same records over two sockets give them the same ids."""
    async with (
        site.venue(trade_every=0.3, **VENUE_KEYS) as venue,
        site.gateway(venue.url, WSG_ACCOUNT_NAME="desk-1", **KEYS) as gateway,
        site.gateway(
            venue.url, WSG_ACCOUNT_NAME="desk-1", WSG_AMQP_PREFIX=second_prefix, **KEYS
        ) as twin,
        site.consumer(*CHANNELS) as consumer,
        site.consumer(*CHANNELS, prefix=second_prefix) as witness,
    ):
        # Both share the database, so the twin takes up what is asked of the first one.
        for channel in CHANNELS:
            stored = await gateway.add(channel)
            assert stored["category"] is None
            await twin.add(channel)
        for one in (gateway, twin):
            await one.until_health(lambda h: h["subscriptions"].get("active") == len(CHANNELS))
            await one.until_ready()
        begin = len(consumer.events)
        await consumer.until_flows(*[(None, topic) for topic in TOPICS])
        facts = [event for event in consumer.events[begin:] if event["kind"] == "update"]

        assert {event["event_type"] for event in facts} == set(CHANNELS)
        assert {event["account"] for event in consumer.events} == {"desk-1"}
        assert {event["epoch"] for event in facts} == {(await gateway.health())["epoch"]}
        for event in facts:
            assert isinstance(event["payload"], dict)
            assert event["timestamp"] > 1_600_000_000_000
            if event["event_type"] == "execution":
                assert event["payload"]["execId"] in event["event_id"]
                assert event["symbol"] == event["payload"]["symbol"]
        assert len({event["event_id"] for event in facts}) == len(facts)
        for event in facts:
            same = await witness.until(lambda e, id_=event["event_id"]: e["event_id"] == id_)  # type: ignore[misc]
            assert same["payload"] == event["payload"]
            assert same["epoch"] != event["epoch"]


async def test_without_a_key_private_channels_are_refused_in_a_sentence(site: Site) -> None:
    """It names the settings; public data flow."""
    async with (
        site.venue(**VENUE_KEYS) as venue,
        site.gateway(venue.url) as gateway,
        site.consumer("orderbook") as consumer,
    ):
        answer = await gateway.post("execution")
        assert answer.status_code == 422
        assert "WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET" in answer.json()["detail"]
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await consumer.until_flows(("linear", BOOK))
        await gateway.until_ready()
        assert gateway.logged("gateway.public_only")


async def test_a_wrong_secret_stops_private_data_only(site: Site) -> None:
    """Public data flow; `/readyz` and `/health` say which half is wrong."""
    async with (
        site.venue(**VENUE_KEYS) as venue,
        site.gateway(venue.url, **{**KEYS, "WSG_BYBIT_API_SECRET": "wrong"}) as gateway,
        site.consumer("orderbook") as consumer,
    ):
        await gateway.add("execution")
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await consumer.until_flows(("linear", BOOK))
        reason = await gateway.until_not_ready(  # once REST was asked why
            "login_refused", 30, says="check WSG_BYBIT_API_SECRET"
        )
        assert reason["subject"] == "private"

        async def refused() -> dict[str, object] | None:
            state = (await gateway.connections())["private"]
            return state if state["last_error"] else None

        state = await until(refused, seconds=5, what="the login is refused")
        assert "login" in str(state["last_error"]).lower()
        assert (await gateway.health())["status"] == "degraded"
        await consumer.until_flows(("linear", BOOK))
        assert "wrong" not in gateway.words
        assert KEYS["WSG_BYBIT_API_KEY"] not in gateway.words


async def test_rotated_files_are_taken_without_a_restart(site: Site) -> None:
    """A wrong secret is named as such; the right one, written into its file, brings the data."""
    secret = site.folder / "secret"
    secret.write_text("wrong")
    key = {"WSG_BYBIT_API_KEY": KEYS["WSG_BYBIT_API_KEY"]}
    async with (
        site.venue(trade_every=0.3, **VENUE_KEYS) as venue,
        site.gateway(venue.url, WSG_BYBIT_API_SECRET_FILE=str(secret), **key) as gateway,
        site.consumer("execution") as consumer,
    ):
        await gateway.add("execution")

        async def diagnosed() -> bool:
            return any(
                "WSG_BYBIT_API_SECRET" in record["why"]
                for record in gateway.logged("venue.login_diagnosed")
            )

        await until(diagnosed, seconds=10, what="the reason is found")
        secret.write_text(KEYS["WSG_BYBIT_API_SECRET"])
        await consumer.until_flows((None, "execution"))
        assert gateway.logged("venue.credentials_renewed")


async def test_the_list_of_instruments_decides(site: Site) -> None:
    """A symbol that one category lists needs no guess, and `chosen_by` says so."""
    async with site.venue(**VENUE_KEYS) as venue, site.gateway(venue.url) as gateway:

        async def is_read() -> bool:
            return len(gateway.logged("venue.instruments_read")) == 5

        await until(is_read, seconds=10, what="the lists are read")
        alone = await gateway.add("ticker", "XRPUSDT")
        assert (alone["category"], alone["chosen_by"]) == ("linear", "only linear lists XRPUSDT")
        twice = await gateway.add("ticker", "BTCUSDT")
        assert twice["chosen_by"].startswith("linear and spot list BTCUSDT")
        coin = await gateway.add("trades", "XRP")
        assert (coin["category"], coin["topic"]) == ("option", "publicTrade.XRP")
