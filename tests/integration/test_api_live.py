"""The live stream over real sockets: what it tells, to whom, and how many may watch."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from support.callers import guarded
from support.control_room import KEY, Api, control_room, is_problem, served
from support.live import LIVE, told, watching
from support.memory_feed import MemoryDelivery, MemoryFeed, connection
from support.memory_keys import MemoryKeys, MemoryTrail
from support.memory_store import MemorySubscriptions
from support.programs import crowd, until
from ws_gateway.control.api import server as http_server
from ws_gateway.control.api.app import create_app
from ws_gateway.control.api.server import HttpServer, listening
from ws_gateway.control.console.audience import Audience
from ws_gateway.control.console.pictures import Pictures, Sources
from ws_gateway.control.console.schemas import LiveEvents, LiveQuery
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.keys import KeyService
from ws_gateway.control.operations import Operations
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.service import SubscriptionService
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.topic import Category
from ws_gateway.ports.feed import SessionState
from ws_gateway.runtime.recent import RecentTroubles

POLICY = Policy(tuple(Category), Category.LINEAR, has_credentials=False)


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    """Serve the control room."""
    async with control_room(database_url) as api:
        yield api


async def test_one_picture_tells_everything_in_the_shape_that_is_documented(api: Api) -> None:
    """Status, connections, topics, queues, private data, markers and errors."""
    await api.add()
    api.feed.statuses = [connection("linear", SessionState.BACKING_OFF, "closed: 1006")]

    async def health() -> dict[str, Any] | None:
        answer: dict[str, Any] = (await api.http.get("/health")).json()
        return answer if len(answer["reasons"]) == 1 else None  # at first the ledger is being read

    known = await until(health, seconds=30, what="one reason")
    seen = await told(api.http)
    assert list(seen) == ["begin", "picture", "topics", "markers", "errors", "end"]
    LiveEvents.model_validate({name: data for name, data in seen.items() if name != "end"})
    picture = seen["picture"]
    assert (picture["status"], picture["is_ready"]) == ("down", False)
    (reason,) = picture["reasons"]
    assert {**known["reasons"][0], "remedy": reason["remedy"]} == reason
    assert reason["remedy"].startswith("Nothing: it tries again")
    (state,) = picture["connections"]
    assert (state["name"], state["last_error"]) == ("linear", "closed: 1006")
    (topic,) = seen["topics"]["items"]
    assert (topic["topic"], topic["services"]) == ("tickers.BTCUSDT", 1)
    assert picture["private"]["spool"]["events"] == 0


async def test_a_picture_a_second_shows_what_changed(api: Api) -> None:
    """What is added while somebody watches is in a picture that follows."""
    async with watching(api.http) as viewer:
        assert viewer.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert viewer.answer.headers["cache-control"] == "no-store"
        assert (await viewer.next("topics"))["items"] == []
        await api.add()
        async with asyncio.timeout(30):
            while not (items := (await viewer.next("topics"))["items"]):
                continue
        assert items[0]["topic"] == "tickers.BTCUSDT"


async def test_a_search_and_a_bound_narrow_the_topics_alone(api: Api) -> None:
    """The rest of the picture is of everything."""
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        await api.add(symbol=symbol)
    seen = await told(api.http, search="eth LINEAR")
    assert [one["symbol"] for one in seen["topics"]["items"]] == ["ETHUSDT"]
    assert (seen["topics"]["fitting"], seen["topics"]["total"]) == (1, 3)
    assert sum(seen["picture"]["topics"].values()) == 3
    few = (await told(api.http, topics=2))["topics"]
    assert (len(few["items"]), few["fitting"]) == (2, 3)


@pytest.mark.parametrize("query", ["topics=0", "topics=501", "pictures=0", "pictures=61", "x=1"])
async def test_what_makes_no_sense_is_a_problem(api: Api, query: str) -> None:
    """With the field at fault."""
    answer = await api.http.get(f"{LIVE}?{query}")
    assert is_problem(answer, 422, "field_invalid" if query != "x=1" else "field_unknown")["field"]


async def test_the_key_and_its_scope_decide(api: Api) -> None:
    """No key 401, none that may read 403; a key that is revoked cannot come again."""
    async with api.client(None) as nobody:
        is_problem(await nobody.get(LIVE), 401, "api_key_missing")
    writer = await api.make_key(name="writer", scopes=["subscriptions:write"])
    async with api.client(writer["key"]) as http:
        is_problem(await http.get(LIVE), 403, "scope_missing")
    reader = await api.make_key(name="reader", scopes=["subscriptions:read"])
    async with api.client(reader["key"]) as http:
        async with asyncio.timeout(30):  # the ledger is read first
            while (await told(http))["picture"]["status"] != "ok":
                pass
        await api.http.delete(f"/api/v1/keys/{reader['id']}")
        is_problem(await http.get(LIVE), 401, "api_key_revoked")


async def test_log_lines_are_not_told_to_a_key_that_is_bound_to_services(api: Api) -> None:
    """They may name other services and where people come from; all else is shared anyway."""
    bound = await api.make_key(name="bound", services=["strategy-1"])
    async with api.client(bound["key"]) as http:
        assert (await told(http))["errors"] == {"is_allowed": False, "items": []}
    assert (await told(api.http))["errors"]["is_allowed"] is True


async def test_too_many_viewers_of_a_key_or_in_all_are_told_to_wait(api: Api) -> None:
    """A place is free again as soon as somebody leaves."""
    reader = await api.make_key(name="reader", scopes=["subscriptions:read"])
    async with api.client(reader["key"]) as http:
        async with watching(api.http), watching(api.http), watching(api.http) as last:
            await last.next("picture")
            refused = await api.http.get(LIVE)
            body = is_problem(refused, 429, "live_streams_of_key")
            assert "close one" in body["detail"]
            assert int(refused.headers["retry-after"]) > 0
            async with watching(http) as other:
                while (await other.next("picture"))["viewers"] != 4:  # the next second's
                    continue
                is_problem(await http.get(LIVE), 429, "live_streams")
        await _nobody_watches(api.audience)
        await told(api.http)


async def test_a_viewer_who_vanished_leaves_nothing_behind(api: Api) -> None:
    """The place is free, and no picture is made for nobody."""
    reader, writer = await _raw(api.url)
    await reader.readuntil(b"event: picture")
    assert api.audience.size == 1
    writer.transport.abort()
    await _nobody_watches(api.audience)


async def test_a_head_is_answered_at_once(api: Api) -> None:
    """The headers of a stream, without one."""
    answer = await api.http.head(LIVE)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    await _nobody_watches(api.audience)


async def test_a_stream_begins_with_the_clock_of_the_gateway_at_once(api: Api) -> None:
    """And no picture says that it is younger than when it was begun to be taken."""
    before = datetime.now(UTC)
    async with watching(api.http) as viewer:
        began = datetime.fromisoformat((await viewer.next("begin"))["at"])
        assert before <= began <= datetime.now(UTC)
        picture = await viewer.next("picture")
        assert datetime.fromisoformat(picture["at"]) <= datetime.now(UTC)


async def test_more_connections_than_are_shown_are_counted_all(api: Api) -> None:
    """It said that 100 of 150 stream, when 148 did."""
    state = SessionState.STREAMING
    api.feed.statuses = [connection("linear", state, name=f"linear-{n}") for n in range(148)]
    api.feed.statuses += [
        connection("spot", SessionState.BACKING_OFF, name=f"spot-{n}") for n in (1, 2)
    ]
    picture = (await told(api.http))["picture"]
    shown = [one["connection_status"] for one in picture["connections"]]
    assert (len(shown), shown[:2].count("backing_off")) == (100, 2)
    assert (picture["connection_total"], picture["streaming_total"]) == (150, 148)


async def test_a_stop_ends_every_stream_with_a_word(api: Api) -> None:
    """The page knows that it was no accident, and the stop waits for nobody."""
    async with watching(api.http) as viewer:
        await viewer.next("picture")
        api.audience.end()
        assert await viewer.next("end") == {"why": "the gateway stops"}


async def test_a_stream_does_not_count_as_a_slow_answer(api: Api) -> None:
    """Its time in the metrics is until it began, not until somebody closed the page."""
    async with watching(api.http, pictures=3) as viewer:
        await viewer.next("end")
    text = (await api.http.get("/metrics")).text
    (line,) = (
        one
        for one in text.splitlines()
        if one.startswith("ws_gateway_http_request_seconds_sum") and LIVE in one
    )
    assert float(line.rpartition(" ")[2]) < 1


# ── a database that hangs, a reader who does not read ─────────────────────────────────────────


class Hanging(MemorySubscriptions):
    """A store whose database takes the question and never answers."""

    async def ping(self) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()


def _audience(
    store: MemorySubscriptions, most_seconds: float = 60
) -> tuple[Audience, HealthReporter, Reconciler]:
    feed = MemoryFeed()
    reconciler = Reconciler(store, feed, POLICY)
    reporter = HealthReporter(
        store=store,
        feed=feed,
        delivery=MemoryDelivery(),
        reconciler=reconciler,
        counters=dict,
        epoch="01TEST",
    )
    pictures = Pictures(Sources(reporter, reconciler, troubles=RecentTroubles()))
    audience = Audience(pictures, most_seconds=most_seconds)
    return audience, reporter, reconciler


def _app(store: MemorySubscriptions) -> tuple[object, Audience]:
    audience, reporter, reconciler = _audience(store)
    app = create_app(
        subscriptions=SubscriptionService(store, reconciler, POLICY),
        health=reporter,
        operations=Operations(reporter, MemoryTrail()),
        keys=KeyService(MemoryKeys()),
        guard=guarded("key"),
        audience=audience,
    )
    return app, audience


async def test_a_database_that_hangs_delays_no_picture_and_is_named() -> None:
    """Pictures go on every second, and within five the verdict says what is lost."""
    app, audience = _app(Hanging())
    async with (
        served(app) as url,
        httpx.AsyncClient(base_url=url, headers={"X-API-Key": "key"}, timeout=30) as http,
        watching(http) as viewer,
    ):
        began = asyncio.get_running_loop().time()
        while True:
            before = asyncio.get_running_loop().time()
            picture = await viewer.next("picture")
            assert asyncio.get_running_loop().time() - before < 2.5 * crowd()  # 3 s would look dead
            if picture["database"]["status"] == "lost":
                break
        assert asyncio.get_running_loop().time() - began < 5 * crowd()
        assert "database_lost" in [one["code"] for one in picture["reasons"]]
        audience.end()


async def test_a_reader_who_takes_nothing_is_cut_and_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A browser behind a dead network: the system ends the connection, and the place is free."""
    monkeypatch.setattr(http_server, "UNREAD_SECONDS", 1.0)
    async with _narrow_reader() as (_, audience):
        await _until_size(audience, 1)
        await _until_size(audience, 0)


async def test_a_reader_who_falls_behind_is_not_sent_what_was_long_ago() -> None:
    """Pictures were kept for him by the dozen, and each was shown as the present when it came."""
    async with _narrow_reader() as (reader, _):
        loop = asyncio.get_running_loop()
        await asyncio.sleep(6)  # six pictures' time; at the second his window is full
        resumed_at, seen, taken = datetime.now(UTC), "", list[datetime]()
        async with asyncio.timeout(60):
            while not any(at >= resumed_at for at in taken):
                seen += (await loop.sock_recv(reader, 65536)).decode()
                taken = [
                    datetime.fromisoformat(json.loads(line[6:])["at"])
                    for line in seen.splitlines()
                    if line.startswith('data: {"at":"') and line.endswith("}") and "uptime" in line
                ]
        assert sum(at < resumed_at for at in taken) <= 2, "only what his window holds"


async def test_a_revoked_key_does_not_watch_for_longer_by_reading_slowly() -> None:
    """It saw sixty pictures, and who took one in ten seconds watched for ten minutes."""
    audience, _, _ = _audience(MemorySubscriptions(), most_seconds=2)
    caller = Caller("0123456789ab", "n", frozenset({Scope.SUBSCRIPTIONS_READ}))
    loop, seen = asyncio.get_running_loop(), list[bytes]()
    began = loop.time()
    async for piece in audience.watch(caller, LiveQuery.model_validate({})):
        seen.append(piece)
        assert loop.time() - began < 2 or b"event: picture" not in piece
        await asyncio.sleep(0.7)
    assert b"event: end" in seen[-1]
    # Nothing of it arrives.
    unread = audience.watch(caller, LiveQuery.model_validate({}), lambda: 1)
    assert len([piece async for piece in unread if b"event: picture" in piece]) == 1


@asynccontextmanager
async def _narrow_reader() -> AsyncIterator[tuple[socket.socket, Audience]]:
    """Watch through a socket that takes next to nothing before it is read."""
    app, audience = _app(MemorySubscriptions())
    with listening("127.0.0.1", 0) as listener, socket.socket() as reader:
        server = HttpServer(app)  # type: ignore[arg-type]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            reader.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(reader, listener.getsockname())
            await loop.sock_sendall(reader, _request("key"))
            yield reader, audience
        finally:
            audience.end()
            server.stop()
            await serving


def _request(key: str) -> bytes:
    return f"GET {LIVE} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n".encode()


async def _raw(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = httpx.URL(url)
    reader, writer = await asyncio.open_connection(parts.host, parts.port)
    writer.write(_request(KEY))
    return reader, writer


async def _nobody_watches(audience: Audience) -> None:
    await _until_size(audience, 0)


async def _until_size(audience: Audience, size: int) -> None:
    async def fits() -> bool:
        return audience.size == size

    await until(fits, seconds=20, what=lambda: f"{size} watch, but {audience.size} do")
