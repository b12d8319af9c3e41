"""Recording as a switch of the gateway and as a command, and what is replayed of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import zstandard

from support.programs import Gateway, run_command, until
from support.scraped import scrape
from support.site import KEYS, Site

VENUE: dict[str, Any] = {
    "api_key": KEYS["WSG_BYBIT_API_KEY"],
    "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
    "account": "hedge:hedge-key:hedge-secret",
}
ACCOUNTS = {
    **KEYS,
    "WSG_ACCOUNTS": '{"hedge": {"api_key": "hedge-key", "api_secret": "hedge-secret"}}',
    "WSG_ACCOUNT_NAME": "fund",
}


async def _replay(
    site: Site, folder: Path, *words: str, prefix: str | None = None
) -> tuple[int, str, str]:
    settings = {**site.settings} | ({} if prefix is None else {"WSG_AMQP_PREFIX": prefix})
    return await run_command(["replay", str(folder), *words], settings, site.folder)


def _facts(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    """List the ids of every topic's facts, in order."""
    found: dict[str, list[str]] = {}
    for event in events:
        # What was read over REST is not in a recording of the sockets.
        if event["kind"] not in {"gap", "resumed"} and event["source"] in {"stream", "replay"}:
            found.setdefault(event["topic"], []).append(event["event_id"])
    return found


async def _everything_is_written(gateway: Gateway) -> None:
    """Wait until all that the gateway had received by now is in a block on the disk.

    A block is written every second. What is told of the first may be of before, the second may have
    been begun by now; the third has what was left.
    """

    async def written() -> float:
        return (await scrape(gateway.http)).value("ws_gateway_recorded_frames_total")

    for _ in range(3):
        before = await written()

        async def is_another(before: float = before) -> bool:
            return await written() > before

        await until(is_another, seconds=30, what="another block is written")


async def test_a_killed_gateways_recording_is_replayed_with_the_ids_consumers_had(
    site: Site, second_prefix: str
) -> None:
    """Whole path, private events too: printed, listed, and delivered under another prefix."""
    folder = site.folder / "frames"
    settings = {"WSG_RECORD_DIR": str(folder), "WSG_RECORD_PRIVATE": "true", **KEYS}
    keys: dict[str, Any] = {"rate": 20, "trade_every": 0.2}
    keys |= {"api_key": KEYS["WSG_BYBIT_API_KEY"], "api_secret": KEYS["WSG_BYBIT_API_SECRET"]}
    async with (
        site.venue(**keys) as venue,
        site.gateway(venue.url, **settings) as gateway,
        site.consumer("orderbook", "execution") as consumer,
    ):
        await gateway.add("orderbook", "BTCUSDT", category="linear")
        await gateway.add("execution")
        await consumer.until(lambda event: event["event_type"] == "execution", seconds=20)
        await asyncio.to_thread(
            httpx.post, f"http://127.0.0.1:{venue.port}/sim/faults/drop", json={}, trust_env=False
        )
        await consumer.until(
            lambda event: event["kind"] == "gap" and event["payload"]["reason"] == "disconnect"
        )
        seen = len(consumer.events)
        await consumer.until(lambda event: event["event_type"] == "orderbook", after=seen + 20)
        before = _facts(consumer.events)
        await _everything_is_written(gateway)
        await gateway.kill()

    code, out, err = await _replay(site, folder, "--speed", "0")
    assert code == 0, err
    assert "ends inside a block" not in err
    printed = [json.loads(line) for line in out.splitlines()]
    again = _facts(printed)
    assert {event["source"] for event in printed} == {"replay"}
    for topic, ids in before.items():
        rest = iter(again[topic])  # what REST told first, the recorded stream tells in between
        assert all(one in rest for one in ids)
    reasons = [event["payload"]["reason"] for event in printed if event["kind"] == "gap"]
    assert reasons.count("disconnect") == 2
    assert KEYS["WSG_BYBIT_API_SECRET"] not in out
    assert "sim-key" not in out

    code, out, err = await _replay(site, folder, "--list", "--json")
    assert code == 0, err
    (listed,) = map(json.loads, out.splitlines())
    assert listed["index"]["connections"]["linear"]["topics"]["orderbook.50.BTCUSDT"] > 20
    assert listed["is_closed"] is False

    code, _, err = await _replay(site, folder, "--to", site.prefix)
    assert code == 2
    assert "is the prefix of the live gateway" in err

    code, _, err = await _replay(site, folder, "--speed", "0", "--to", second_prefix)
    assert code == 0, err
    async with site.consumer("orderbook", "execution", prefix=second_prefix) as second:
        last = {topic: ids[-1] for topic, ids in again.items()}
        for ident in last.values():
            await second.until(lambda event, wanted=ident: event["event_id"] == wanted)  # type: ignore[misc]
        assert _facts(second.events) == again


async def test_record_needs_neither_broker_nor_database(site: Site) -> None:
    """Topics by name, for so many seconds; a simulator then plays what was recorded."""
    folder = site.folder / "frames"
    words = ["record", "--topic", "linear:publicTrade.BTCUSDT", "--topic", "spot:tickers.BTCUSDT"]
    async with site.venue(rate=40) as venue:
        settings = {"WSG_BYBIT_WS_URL": venue.url, "WSG_AMQP_URL": "amqp://127.0.0.1:1/"}
        code, out, err = await run_command(
            [*words, "--into", str(folder), "--seconds", "6"], settings, site.folder
        )
        assert code == 0, err
        assert ", 0 missing" in out
    code, out, err = await _replay(site, folder, "--speed", "0")
    assert code == 0, err
    ids = _facts([json.loads(line) for line in out.splitlines()])
    assert set(ids) == {"publicTrade.BTCUSDT", "tickers.BTCUSDT"}
    async with (
        site.venue(recording=str(folder), speed=0) as venue,
        site.gateway(venue.url) as gateway,
        site.consumer("trade", "ticker") as consumer,
    ):
        await gateway.add("trades", "BTCUSDT", category="linear")
        await gateway.add("ticker", "BTCUSDT", category="spot")

        async def heard() -> bool:
            return all(_facts(consumer.events).get(topic) == told for topic, told in ids.items())

        await until(heard, seconds=30, what="the same events came")


async def test_what_cannot_be_replayed_is_refused_in_words(site: Site) -> None:
    """Exit code 2 and one sentence, without a traceback."""
    folder = site.folder
    (folder / "text").write_text("hello")
    code, _, err = await _replay(site, folder / "text")
    assert code == 2
    assert "no part of a recording" in err
    assert "Traceback" not in err
    refused = {"WSG_RECORD_DIR": str(folder / "text" / "frames"), "WSG_HTTP_PORT": "0"}
    code, _, err = await run_command(["serve"], {**site.settings, **refused}, folder)
    assert code == 2
    assert "WSG_RECORD_DIR" in err.splitlines()[-1]
    program = await run_command(["simulate", "--recording", str(folder / "text")], {}, folder)
    assert program[0] == 2
    assert "no part of a recording" in program[2]


def _by_account(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    """List the ids of every account's executions that the stream told, in order."""
    found: dict[str, list[str]] = {}
    for event in events:
        is_fact = event["event_type"] == "execution" and event["kind"] not in {"gap", "resumed"}
        if is_fact and event["source"] in {"stream", "replay"}:
            found.setdefault(event["account"], []).append(event["event_id"])
    return found


async def test_two_accounts_are_recorded_replayed_and_played_apart(site: Site) -> None:
    """Each under its name, each to its own login; no key of either is in a file."""
    folder = site.folder / "frames"
    settings = {"WSG_RECORD_DIR": str(folder), "WSG_RECORD_PRIVATE": "true", **ACCOUNTS}
    async with (
        site.venue(trade_every=0.2, **VENUE) as venue,
        site.gateway(venue.url, **settings) as gateway,
        site.consumer("execution") as consumer,
    ):
        for account in ("fund", "hedge"):
            await gateway.add("execution", account=account)

        async def heard() -> bool:
            told = _by_account(consumer.events)
            return all(len(told.get(one, ())) > 3 for one in ("fund", "hedge"))

        await until(heard, seconds=30, what="both accounts trade")
        assert await gateway.terminate() == 0
        live = _by_account(consumer.events)

    # The name is that of the recording, whatever the settings of who replays it say.
    code, out, err = await _replay(site, folder, "--speed", "0")
    assert code == 0, err
    again = _by_account([json.loads(line) for line in out.splitlines()])
    assert set(again) == {"fund", "hedge"}
    for account, ids in live.items():
        assert set(ids) <= set(again[account])
    assert not set(again["fund"]) & set(again["hedge"])
    for path in folder.glob("*.zst"):
        lines = zstandard.ZstdDecompressor().stream_reader(
            path.read_bytes(), read_across_frames=True
        )
        text = lines.read()
        assert b'"accounts":["fund","hedge"]' in text
        for secret in (*KEYS.values(), "hedge-key", "hedge-secret"):
            assert secret.encode() not in text

    code, out, err = await _replay(site, folder, "--list")
    assert code == 0, err
    assert "private /v5/private, account fund" in out
    assert "private@hedge /v5/private, account hedge" in out

    async with (
        site.venue(recording=str(folder), speed=0, patience=60, **VENUE) as venue,
        site.gateway(venue.url, **ACCOUNTS) as gateway,
        site.consumer("execution") as consumer,
    ):
        for account in ("hedge", "fund"):
            await gateway.add("execution", account=account)

        async def heard_again() -> bool:
            return _by_account(consumer.events) == again

        await until(heard_again, seconds=60, what="each account's executions came")


async def test_record_takes_all_accounts_or_the_one_that_is_named(site: Site) -> None:
    """Not the first alone."""
    async with site.venue(trade_every=0.2, **VENUE) as venue:
        settings = {"WSG_BYBIT_WS_URL": venue.url, **ACCOUNTS}
        for words, wanted in (
            ((), {"private": "fund", "private@hedge": "hedge"}),
            (("--account", "hedge"), {"private@hedge": "hedge"}),
        ):
            folder = site.folder / f"frames{len(words)}"
            code, _, err = await run_command(
                ["record", "--private", "--into", str(folder), "--seconds", "8", *words],
                settings,
                site.folder,
            )
            assert code == 0, err
            code, out, err = await _replay(site, folder, "--list", "--json")
            assert code == 0, err
            (listed,) = map(json.loads, out.splitlines())
            connections = listed["index"]["connections"]
            assert {name: one["account"] for name, one in connections.items()} == wanted
            for one in connections.values():
                assert one["topics"]["execution"] > 0


async def test_a_recording_that_has_no_room_leaves_the_gateway_ready_and_says_so(
    site: Site,
) -> None:
    """`/health` is degraded, with the figures; events flow."""
    folder = site.folder / "frames"
    settings = {"WSG_RECORD_DIR": str(folder), "WSG_RECORD_KEEP_FREE_BYTES": str(10**18)}
    async with site.venue() as venue, site.gateway(venue.url, **settings) as gateway:
        await gateway.add("ticker", "BTCUSDT", category="linear")
        health = await gateway.until_health(
            lambda health: any(one["code"] == "recording_failing" for one in health["reasons"]),
            seconds=30,
        )
        (reason,) = [one for one in health["reasons"] if one["code"] == "recording_failing"]
        assert "stay free" in reason["detail"]
        await gateway.until_ready()
        assert (await gateway.health())["status"] == "degraded"
        (line,) = gateway.logged("recording.failed")
        assert line["why"] in reason["detail"]
        assert not list(folder.glob("*.zst"))
    words = ["record", "--topic", "linear:publicTrade.BTCUSDT", "--into", str(folder)]
    async with site.venue() as venue:
        full = {**settings, "WSG_BYBIT_WS_URL": venue.url}
        code, out, err = await run_command([*words, "--seconds", "3"], full, site.folder)
    assert code == 2, "nothing was recorded"
    assert out.startswith("0 frames")
    assert "where recording stopped" in err.splitlines()[-1]
