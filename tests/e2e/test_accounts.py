"""Two accounts at once: own connections, own numbers, own balances, and nothing mixes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from support.consumer import Consumer
from support.programs import Gateway, Venue, run_command, until
from support.site import KEYS, Site

VENUE: dict[str, Any] = {
    "api_key": KEYS["WSG_BYBIT_API_KEY"],
    "api_secret": KEYS["WSG_BYBIT_API_SECRET"],
    "account": "hedge:hedge-key:hedge-secret",
}
HEDGE = {"hedge": {"api_key": "hedge-key", "api_secret": "hedge-secret"}}
ACCOUNTS = {**KEYS, "WSG_ACCOUNTS": json.dumps(HEDGE)}
BOTH = ("main", "hedge")


@asynccontextmanager
async def control(venue: Venue) -> AsyncIterator[httpx.AsyncClient]:
    """Open the simulator's control endpoint."""
    url = f"http://127.0.0.1:{venue.port}"
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as sim:
        yield sim


async def trade(sim: httpx.AsyncClient, account: str, count: int) -> None:
    """Let an account place market orders."""
    plan = {"count": count, "rate": 50, "mix": "market", "account": account}
    assert (await sim.post("/sim/orders", json=plan)).status_code == 200


async def executions(sim: httpx.AsyncClient, account: str, count: int) -> set[str]:
    """Return the ids of all executions of an account, once its orders are done."""

    async def done() -> bool:
        runs = (await sim.get("/sim/orders", params={"account": account})).json()["runs"]
        return sum(run["count"] for run in runs) == count and all(run["done"] for run in runs)

    await until(done, seconds=30, what=f"the orders of {account} are done")
    ledger = (await sim.get("/sim/ledger", params={"kind": "execution", "account": account})).json()
    return {entry["keys"][0] for entry in ledger["entries"]}


def told(consumer: Consumer, account: str) -> set[str]:
    """Return the ids of the executions that were delivered as this account's."""
    return {
        event["payload"]["execId"]
        for event in tuple(consumer.events)
        if event["event_type"] == "execution"
        and event["kind"] == "update"
        and event["account"] == account
    }


async def until_told(consumer: Consumer, account: str, ids: set[str]) -> None:
    """Wait until these came, and be sure that no others did."""
    await until(
        lambda: _is(told(consumer, account) >= ids),
        seconds=30,
        what=lambda: f"{len(ids - told(consumer, account))} executions of {account}",
    )
    assert told(consumer, account) == ids


async def _is(held: bool) -> bool:  # noqa: FBT001 - what `until` asks
    return held


async def until_active(gateway: Gateway, count: int) -> None:
    """Wait until so many topics are active."""
    await gateway.until_health(
        lambda health: health["subscriptions"].get("active") == count, seconds=30
    )


async def test_the_facts_of_two_accounts_arrive_under_their_names_and_nothing_mixes(
    site: Site,
) -> None:
    """Own socket, own sequence, own balances; lists, tail and kit filter by account."""
    channels = ("order", "execution", "position", "balance")
    async with (
        site.venue(**VENUE) as venue,
        site.gateway(venue.url, **ACCOUNTS) as gateway,
        site.consumer(*channels) as consumer,
        control(venue) as sim,
    ):
        for channel in channels:
            first = await gateway.add(channel)
            named = await gateway.add(channel, account="main")
            other = await gateway.add(channel, account="hedge")
            assert (first["id"], first["account"]) == (named["id"], "main")
            assert other["id"] != first["id"]
            assert (other["account"], other["topic"]) == ("hedge", first["topic"])
        await until_active(gateway, 2 * len(channels))
        await gateway.until_ready()
        states = [one["websocket_state"] for one in (await gateway.health())["connections"]]
        assert {(one["name"], one["account"]) for one in states} == {
            ("private", "main"),
            ("private@hedge", "hedge"),
        }

        await trade(sim, "main", 12)
        await trade(sim, "hedge", 7)
        ids = {
            "main": await executions(sim, "main", 12),
            "hedge": await executions(sim, "hedge", 7),
        }
        assert not ids["main"] & ids["hedge"]
        for account in BOTH:
            await until_told(consumer, account, ids[account])
        for account in BOTH:  # numbers without a hole, each from 1; the consumer checks it too
            stream = [
                event["sequence"]
                for event in consumer.of("execution")
                if event["account"] == account
            ]
            assert stream == list(range(1, len(stream) + 1))
        assert len({(event["event_id"], event["kind"]) for event in consumer.events}) == len(
            consumer.events
        )

        listed = (
            await gateway.http.get("/api/v1/subscriptions", params={"account": "hedge"})
        ).json()["items"]
        assert [one["account"] for one in listed] == ["hedge"] * len(channels)
        await _balances_are_those_of_the_ledger(gateway, sim)
        unknown = await gateway.post("order", account="nobody")
        assert unknown.status_code == 422
        problem = unknown.json()
        assert (problem["code"], problem["allowed"]) == ("account_unknown", list(BOTH))
        public = await gateway.post("trades", "BTCUSDT", category="linear", account="hedge")
        assert (public.status_code, public.json()["code"]) == (422, "field_not_applicable")


async def _balances_are_those_of_the_ledger(gateway: Gateway, sim: httpx.AsyncClient) -> None:
    for account in BOTH:
        wallets = (
            await sim.get(
                "/sim/ledger", params={"kind": "wallet", "account": account, "latest": True}
            )
        ).json()["entries"]
        newest = {
            coin["coin"]: coin["walletBalance"]
            for entry in sorted(wallets, key=lambda one: one["number"])
            for coin in entry["row"]["coin"]
        }

        async def are_told(account: str = account, newest: dict[str, str] = newest) -> bool:
            query = {"account": account}
            items = (await gateway.http.get("/api/v1/balances", params=query)).json()["items"]
            assert {one["account"] for one in items} <= {account}
            shown = {one["coin"]: one["wallet_balance"] for one in items}
            return bool(newest) and newest.items() <= shown.items()

        await until(are_told, seconds=30, what=f"the balances of {account}")


async def test_a_refused_login_of_one_account_leaves_the_other_alone(site: Site) -> None:
    """The other flows; `/readyz` names the account, its setting, and nothing of the secret."""
    wrong = {"hedge": {"api_key": "hedge-key", "api_secret": "not-its-secret"}}
    async with (
        site.venue(**VENUE) as venue,
        site.gateway(venue.url, **KEYS, WSG_ACCOUNTS=json.dumps(wrong)) as gateway,
        site.consumer("execution") as consumer,
        control(venue) as sim,
    ):
        await gateway.add("execution")
        await gateway.add("execution", account="hedge")
        reason = await gateway.until_not_ready("login_refused")
        assert reason["subject"] == "private@hedge"
        await gateway.until_health(  # once it was found out over REST what is wrong
            lambda health: any(
                one["code"] == "login_refused"
                and "api_secret of hedge in WSG_ACCOUNTS" in one["detail"]
                for one in health["reasons"]
            ),
            seconds=30,
        )
        assert "not-its-secret" not in gateway.words
        await until_active(gateway, 1)
        await trade(sim, "main", 5)
        await until_told(consumer, "main", await executions(sim, "main", 5))
        answer = (await gateway.http.get("/api/v1/connections")).json()
        streaming = {one["account"]: one["streaming"] for one in answer["endpoints"]}
        assert streaming == {"main": 1, "hedge": 0}
        assert [(one["account"], one["topic"]) for one in answer["difference"]] == [
            ("hedge", "execution")
        ]


async def test_what_one_account_misses_during_a_cut_is_read_with_its_own_key(site: Site) -> None:
    """Each socket is cut in turn; what it missed comes over REST, and the other has no gap."""
    async with (
        site.venue(**VENUE) as venue,
        site.gateway(venue.url, **ACCOUNTS) as gateway,
        site.consumer("execution") as consumer,
        control(venue) as sim,
    ):
        for account in BOTH:
            await gateway.add("execution", account=account)
        await until_active(gateway, 2)
        await gateway.until_health(lambda health: health["delivery"]["reconciliations"])
        placed = dict.fromkeys(BOTH, 3)
        for account in BOTH:  # the first marker of a stream would say `restart`
            await trade(sim, account, 3)
            await until_told(consumer, account, await executions(sim, account, 3))
        for account in BOTH:
            begin = len(consumer.events)
            assert (await sim.post("/sim/cut", json={"account": account})).json()["sockets"] > 0
            for each in BOTH:
                await trade(sim, each, 5)
                placed[each] += 5
            for each in BOTH:
                await until_told(consumer, each, await executions(sim, each, placed[each]))
            await consumer.until(
                lambda event, account=account: (  # type: ignore[misc]
                    event["kind"] == "resumed" and event["account"] == account
                ),
                after=begin,
                seconds=30,
            )
            cut = [one for one in consumer.gaps("disconnect") if one in consumer.events[begin:]]
            assert {one["account"] for one in cut} == {account}


async def test_a_set_with_both_accounts_outlives_a_restart(site: Site) -> None:
    """PUT tells them apart and changes nothing the second time; the next process reads them."""
    wishes = [
        {"channel": "execution"},
        {"channel": "execution", "account": "hedge"},
        {"channel": "order", "account": "hedge", "category": "linear"},
    ]
    path = "/api/v1/services/e2e/subscriptions"
    async with site.venue(**VENUE) as venue, control(venue) as sim:
        async with site.gateway(venue.url, **ACCOUNTS) as gateway:
            put = (await gateway.http.put(path, json={"subscriptions": wishes})).json()
            assert [one["account"] for one in put["added"]] == ["main", "hedge", "hedge"]
            again = (await gateway.http.put(path, json={"subscriptions": wishes})).json()
            assert (again["added"], again["changed"], again["unchanged"]) == ([], [], 3)
            less = (await gateway.http.put(path, json={"subscriptions": wishes[1:]})).json()
            assert [one["account"] for one in less["removed"]] == ["main"]
            await gateway.http.put(path, json={"subscriptions": wishes})
            await until_active(gateway, 3)
        async with (
            site.gateway(venue.url, **ACCOUNTS) as gateway,
            site.consumer("execution") as consumer,
        ):
            await until_active(gateway, 3)
            for account, count in (("main", 3), ("hedge", 4)):
                await trade(sim, account, count)
            for account, count in (("main", 3), ("hedge", 4)):
                await until_told(consumer, account, await executions(sim, account, count))
            await trade(sim, "main", 30)  # in between, tail takes the other's alone
            command = ["tail", "execution", "--json", "--account", "hedge", "--count", "2"]
            await trade(sim, "hedge", 2000)  # they outlast its start on a busy machine
            code, out, err = await run_command(command, site.settings, site.folder)
            assert code == 0, err
            assert {json.loads(line)["account"] for line in out.splitlines()} == {"hedge"}
        # Without the account its wishes stand, refused in words, and the first one's flow.
        async with site.gateway(venue.url, **KEYS) as gateway:
            await until_active(gateway, 1)
            items = (await gateway.http.get("/api/v1/subscriptions")).json()["items"]
            refused = [one for one in items if one["account"] == "hedge"]
            assert [one["state"] for one in refused] == ["rejected", "rejected"]
            assert "no account is called 'hedge'" in refused[0]["last_error"]


async def test_a_further_accounts_new_key_files_are_taken_up_and_the_other_stays(
    site: Site,
) -> None:
    """A pair that Bybit refuses is replaced while it runs; stream and REST use the new one."""
    key, secret = site.folder / "hedge.key", site.folder / "hedge.secret"
    key.write_text("old-key\n", encoding="utf-8")
    secret.write_text("old-secret\n", encoding="utf-8")
    hedge = {"hedge": {"api_key_file": str(key), "api_secret_file": str(secret)}}
    async with (
        site.venue(**VENUE) as venue,
        site.gateway(venue.url, **KEYS, WSG_ACCOUNTS=json.dumps(hedge)) as gateway,
        site.consumer("execution") as consumer,
        control(venue) as sim,
    ):
        await gateway.add("execution")
        await gateway.add("execution", account="hedge")
        reason = await gateway.until_not_ready("login_refused")
        assert reason["subject"] == "private@hedge"
        key.write_text("hedge-key\n", encoding="utf-8")
        secret.write_text("hedge-secret\n", encoding="utf-8")
        await until_active(gateway, 2)
        await gateway.until_ready()
        await trade(sim, "main", 3)
        await trade(sim, "hedge", 4)
        for account, count in (("main", 3), ("hedge", 4)):
            await until_told(consumer, account, await executions(sim, account, count))
        synced = await gateway.http.post("/api/v1/balances/sync", params={"account": "hedge"})
        assert synced.status_code == 200, synced.text
        states = [one["websocket_state"] for one in (await gateway.health())["connections"]]
        (main,) = (one for one in states if one["account"] == "main")
        assert main["reconnection_count"] == 0
        assert "hedge-secret" not in gateway.words
        metrics = (await gateway.http.get("/metrics")).text.splitlines()
        sample = 'ws_gateway_login_failures_total{account="hedge",fault="wrong_key"} '
        (failures,) = (line for line in metrics if line.startswith(sample))
        assert float(failures.removeprefix(sample)) >= 1
