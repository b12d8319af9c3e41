"""Faults of public data, by name, over real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import httpx
import pytest

from support.sim_client import LINEAR, PRIVATE, SPOT, Client, client_of, eventually, running

BOOK = "orderbook.50.BTCUSDT"
OTHER = "orderbook.50.ETHUSDT"
STATUS = "/v5/public/misc/status"


async def updates(client: Client, count: int, topic: str = BOOK) -> list[int]:
    """Read so many frames of a book and return their `u`."""
    return [(await client.topic(topic))["data"]["u"] for _ in range(count)]


def steps(numbers: list[int]) -> list[int]:
    """Return the differences of neighbours."""
    return [b - a for a, b in itertools.pairwise(numbers)]


async def test_stall() -> None:
    """`stall` silences one topic of one path while others and pongs go on, then continues it."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK, OTHER)
        last = (await updates(client, 3))[-1]
        fault = await sim.fault("stall", topic=BOOK, path=LINEAR)
        await client.send(op="ping", req_id="p")
        await client.reply()
        seen = {(await client.frame())["topic"] for _ in range(10)}
        assert seen == {OTHER}
        spot = sim.broadcaster.find("spot", BOOK)
        assert spot is not None
        assert spot.stalls == 0
        sim.clear_faults("stall")
        following = (await client.topic(BOOK))["data"]["u"]
        assert not fault.is_active
        assert following <= last + 2  # one may have been under way


async def test_two_stalls_of_one_topic_end_apart() -> None:
    """A topic speaks again when the last stall of it has ended."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK)
        await sim.fault("stall", topic=BOOK, duration_seconds=0.1)
        sim.stall(BOOK)
        await eventually(lambda: len(sim.faults.active) == 1)
        stream = sim.broadcaster.find("linear", BOOK)
        assert stream is not None
        assert stream.stalls == 1
        sim.unstall(BOOK)
        assert stream.stalls == 0
        await client.topic(BOOK, "delta")


async def test_update_gap_of_a_named_topic() -> None:
    """`update_gap` leaves one hole of the length told, in one topic."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK, OTHER)
        last = (await client.topic(BOOK, "delta"))["data"]["u"]
        fault = await sim.fault("update_gap", topic=BOOK, count=4)
        numbers = steps([last, *(await updates(client, 12))])
        assert sorted(set(numbers)) == [1, 5]
        assert numbers.count(5) == 1
        assert (fault.hits, fault.is_active) == (4, False)
        assert set(steps(await updates(client, 5, OTHER))) == {1}


async def holes(seed: int, topics: tuple[str, ...]) -> list[int]:
    """Return the steps in `u` of the first topic under chance losses with a seed."""
    async with running(rate=200.0) as sim, client_of(sim, LINEAR) as client:
        # Before anybody listens, so that the draws begin with the first delta.
        await sim.fault("update_gap", probability=0.3, seed=seed, count=None)
        await client.subscribe(*topics)
        found = steps(await updates(client, 25, topics[0]))
        assert sim.faults.active[0].hits > 0
        return found


async def test_update_gap_by_chance_is_the_same_for_a_seed() -> None:
    """What a topic loses is a function of seed and topic, not of who else is there."""
    alone = await holes(5, (BOOK,))
    assert alone == await holes(5, (BOOK, OTHER))
    assert alone != await holes(6, (BOOK,))
    assert len(set(alone)) > 1


async def test_update_gap_without_a_topic_spares_what_is_no_book() -> None:
    """Unnamed, only deltas of books are lost; new topics are included."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await sim.fault("update_gap", count=None)
        await client.subscribe(BOOK, "orderbook.1.BTCUSDT", "publicTrade.BTCUSDT")
        assert (await client.topic(BOOK))["type"] == "snapshot"
        seen = {(await client.frame())["topic"] for _ in range(20)}
        assert BOOK not in seen
        assert {"orderbook.1.BTCUSDT", "publicTrade.BTCUSDT"} <= seen
        sim.clear_faults()
        await client.topic(BOOK, "delta")


async def test_duplicate_frame() -> None:
    """`duplicate_frame` sends the very same bytes twice."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK)
        await client.topic(BOOK, "delta")
        fault = await sim.fault("duplicate_frame", topic=BOOK, count=2)
        frames = [await client.raw() for _ in range(12)]
        twins = [a for a, b in itertools.pairwise(frames) if a == b]
        assert len(twins) == 2
        assert (fault.hits, fault.is_active) == (2, False)


async def test_reorder_frames() -> None:
    """`reorder_frames` swaps neighbours and loses nothing."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK)
        await client.topic(BOOK, "delta")
        fault = await sim.fault("reorder_frames", topic=BOOK, count=1)
        numbers = await updates(client, 10)
        assert sorted(numbers) == list(range(min(numbers), min(numbers) + 10))
        assert steps(numbers).count(-1) == 1
        assert not fault.is_active


async def test_reorder_frames_gives_back_what_it_holds() -> None:
    """Cleared between two frames, it sends the first one late."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK)
        last = (await updates(client, 2))[-1]
        fault = await sim.fault("reorder_frames", topic=BOOK)
        stream = sim.broadcaster.find("linear", BOOK)
        assert stream is not None
        before = stream.frames
        await eventually(lambda: stream.frames == before + 1)
        sim.clear_faults()
        assert fault.hits == 0
        numbers = await updates(client, 4)
        assert sorted([last, *numbers]) == list(range(last, last + 5))


@pytest.mark.parametrize("topic", [BOOK, "orderbook.1.BTCUSDT", "orderbook.rpi.BTCUSDT"])
async def test_book_restart(topic: str) -> None:
    """`book_restart` is a snapshot with `u` 1, from which it goes on."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(topic)
        await client.topic(topic)
        fault = await sim.fault("book_restart", topic=topic, path=LINEAR)
        restart = await client.until(lambda frame: frame["data"].get("u") == 1)
        assert restart["type"] == "snapshot"
        assert await updates(client, 2, topic) == [2, 3]
        assert not fault.is_active


async def test_snapshot() -> None:
    """`snapshot` repeats the present state, and what follows fits on; more than once if told."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await client.subscribe(BOOK)
        await client.topic(BOOK, "snapshot")
        last = (await client.topic(BOOK, "delta"))["data"]["u"]
        await sim.fault("snapshot", topic=BOOK, count=2, every_seconds=0.1)
        for _ in range(2):
            snapshot = await client.topic(BOOK, "snapshot")
            assert snapshot["data"]["u"] >= last
            assert len(snapshot["data"]["b"]) == 50
            assert await updates(client, 1) == [snapshot["data"]["u"] + 1]
        await eventually(lambda: not sim.faults.active)


@pytest.mark.parametrize("given", [{}, {"binary": True}, {"text": "{{"}])
async def test_malformed_frame(given: dict[str, Any]) -> None:
    """`malformed_frame` is no JSON; it comes on one path and does no other harm."""
    async with (
        running() as sim,
        client_of(sim, LINEAR) as client,
        client_of(sim, SPOT) as other,
    ):
        await sim.fault("malformed_frame", path=LINEAR, count=2, every_seconds=0.05, **given)
        for _ in range(2):
            raw = await client.raw()
            assert isinstance(raw, bytes) is bool(given.get("binary"))
            with pytest.raises(json.JSONDecodeError):
                json.loads(raw)
        await other.send(op="ping")
        assert (await other.frame())["ret_msg"] == "pong"


async def test_oversized_frame() -> None:
    """`oversized_frame` is proper JSON of the size told."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await sim.fault("oversized_frame", size_bytes=1_000_000)
        raw = await client.raw()
        assert len(raw) == 1_000_000
        assert json.loads(raw)["topic"] == BOOK


async def test_unknown_topic() -> None:
    """`unknown_topic` looks like data of something nobody knows."""
    async with running() as sim, client_of(sim, LINEAR) as client:
        await sim.fault("unknown_topic")
        frame = await client.frame()
        assert (frame["topic"], frame["data"]) == ("unheard.of.BTCUSDT", {})


async def notices(url: str, query: str = "") -> list[dict[str, Any]]:
    """Read the notices by REST."""
    async with httpx.AsyncClient() as http:
        answer = (await http.get(f"{url}/v5/system/status{query}")).json()
    rows: list[dict[str, Any]] = answer["result"]["list"]
    return rows


async def test_maintenance() -> None:
    """`maintenance` is scheduled, ongoing and completed on the socket, and in REST meanwhile."""
    async with running() as sim, client_of(sim, STATUS) as client:
        ack = await client.subscribe("system.status", req_id="s")
        assert ack == {
            "success": True,
            "ret_msg": "subscribe",
            "conn_id": sim.connections[0].id,
            "req_id": "s",
            "op": "subscribe",
        }
        await client.send(op="ping")
        assert list(await client.frame()) == ["success", "ret_msg", "conn_id", "op"]
        await sim.fault("maintenance", announce_seconds=0.2, duration_seconds=0.4, title="t")
        for state in ("scheduled", "ongoing", "completed"):
            frame = await client.frame()
            assert list(frame) == ["topic", "ts", "data"]
            (row,) = frame["data"]
            assert (row["state"], row["title"], row["product"]) == (state, "t", [1, 2, 3, 4])
            assert int(row["end"]) - int(row["begin"]) in range(190, 211)
            (told,) = await notices(sim.rest_url)
            assert told["id"] == row["id"]
        assert await notices(sim.rest_url, "?state=ongoing") == []
        assert sim.faults.active == []


async def test_maintenance_called_off() -> None:
    """A notice cleared before its time is canceled; nobody has to listen."""
    async with running() as sim:
        await sim.fault("maintenance", announce_seconds=60)
        sim.clear_faults("maintenance")
        (row,) = await notices(sim.rest_url)
        assert row["state"] == "canceled"


async def test_the_status_socket_has_one_topic() -> None:
    """Market data are not found there, nor the status elsewhere."""
    async with (
        running() as sim,
        client_of(sim, STATUS) as client,
        client_of(sim, LINEAR) as other,
    ):
        for each, topic in ((client, BOOK), (other, "system.status"), (client, "order")):
            refusal = await each.subscribe(topic)
            assert refusal["ret_msg"] == f"error:handler not found,topic:{topic}"


async def test_quiet_private_topics_are_accepted() -> None:
    """Spread and dcp topics can be subscribed; dcp never says anything."""
    quiet = ["spread.order", "spread.execution", "dcp.future", "dcp.spot", "dcp.option"]
    async with running() as sim, client_of(sim, PRIVATE) as client:
        await client.log_in(sim)
        assert (await client.subscribe(*quiet))["success"] is True
        sim.place_market_order("BTCUSDT", "Buy", "0.001")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.socket.recv()
