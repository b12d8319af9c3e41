"""The key, the bounds, and failures nobody foresaw, at the outermost layer."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import httpx
import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from support.callers import guarded
from support.memory_feed import MemoryDelivery, MemoryFeed
from support.memory_keys import MemoryKeys, MemoryTrail
from support.memory_store import MemorySubscriptions
from ws_gateway.control.api.app import create_app
from ws_gateway.control.api.edge import Edge, OpenRequests
from ws_gateway.control.api.headers import DEFAULTS, protect
from ws_gateway.control.health import HealthReporter
from ws_gateway.control.key_words import make_key
from ws_gateway.control.keys import KeyService
from ws_gateway.control.operations import Operations
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.service import SubscriptionService
from ws_gateway.domain.topic import Category
from ws_gateway.ports.store import SubscriptionStore

PATH = "/api/v1/subscriptions"
POLICY = Policy(tuple(Category), Category.LINEAR, has_credentials=False)


class BrokenSubscriptions(MemorySubscriptions):
    """A store with a defect."""

    async def page(self, *_: object, **__: object) -> NoReturn:
        """Fail as no port foresees."""
        raise ZeroDivisionError("secret inside")


def client(api_key: str | None, store: SubscriptionStore | None = None) -> httpx.AsyncClient:
    """Build an app behind a key and a client without one."""
    store, feed = store or MemorySubscriptions(), MemoryFeed()
    reconciler = Reconciler(store, feed, POLICY)
    reporter = HealthReporter(
        store=store,
        feed=feed,
        delivery=MemoryDelivery(),
        reconciler=reconciler,
        counters=dict,
        epoch="01TEST",
    )
    app = create_app(
        subscriptions=SubscriptionService(store, reconciler, POLICY),
        health=reporter,
        operations=Operations(reporter, MemoryTrail()),
        keys=KeyService(MemoryKeys()),
        guard=guarded(api_key),
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


@pytest.mark.parametrize("configured", [None, ""])
@pytest.mark.parametrize("sent", [None, "", "anything"])
async def test_without_a_configured_key_everything_is_refused(
    configured: str | None, sent: str | None
) -> None:
    """No key set means no access, not free access; the answer says how to set one."""
    async with client(configured) as http:
        answer = await http.get(PATH, headers={} if sent is None else {"X-API-Key": sent})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "api_key_not_configured"
    assert "WSG_API_KEY" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "api_key_missing"),
        ([(b"X-API-Key", b"")], "api_key_wrong"),
        ([(b"X-API-Key", b"wrong")], "api_key_wrong"),
        ([(b"X-API-Key", b"right ")], "api_key_wrong"),
        ([(b"X-API-Key", b"RIGHT")], "api_key_wrong"),
        ([(b"X-API-Key", "schlüssel".encode())], "api_key_wrong"),
        ([(b"X-API-Key", b"\xff\xfe\x80")], "api_key_wrong"),
        ([(b"X-API-Key", b"right"), (b"X-API-Key", b"wrong")], "api_key_wrong"),
    ],
)
async def test_a_missing_or_wrong_key_is_401(headers: list[tuple[bytes, bytes]], code: str) -> None:
    """Whatever bytes are sent, the answer is a problem that says what to send where."""
    async with client("right") as http:
        answer = await http.get(PATH, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["code"] == code
    assert "X-API-Key" in answer.headers["www-authenticate"]
    assert "right" not in answer.text


@pytest.mark.parametrize("key", ["right", "schlüssel-ключ"])
async def test_the_right_key_opens(key: str) -> None:
    """The key's UTF-8 bytes in the header are the key, in any alphabet."""
    async with client(key) as http:
        answer = await http.get(PATH, headers=[(b"x-api-key", key.encode())])
    assert (answer.status_code, answer.json()) == (200, {"items": [], "next_cursor": None})


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1/nothing", f"{PATH}/not-a-uuid"])
async def test_without_the_key_nothing_is_told_of_what_exists(path: str) -> None:
    """Below /api every path answers the same, whether it is there or not."""
    async with client("right") as http:
        for method in ("GET", "PUT", "OPTIONS"):
            assert (await http.request(method, path)).status_code == 401


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/openapi.json"])
async def test_probes_and_the_document_need_no_key(path: str) -> None:
    """What restarts and routes has no key."""
    async with client(None) as http:
        assert (await http.get(path)).status_code in (200, 503)


async def test_a_defect_is_one_failed_request_and_tells_nothing() -> None:
    """500 with a number to look for in the log; no word of the inside; the next one is served."""
    async with client("k", BrokenSubscriptions()) as http:
        answer = await http.get(PATH, headers={"X-API-Key": "k"})
        assert answer.status_code == 500
        body = answer.json()
        assert body["code"] == "internal_error"
        assert len(body["trace_id"]) == 32
        assert "secret" not in answer.text
        assert "ZeroDivision" not in answer.text
        assert (await http.get("/livez")).status_code == 200


async def test_half_a_body_is_not_acted_on() -> None:
    """When the caller goes away before the end, the app never sees the request."""

    async def app(*_: Any) -> None:
        pytest.fail("half a body was acted on")

    messages: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/x", "method": "POST", "headers": []}
    await Edge(app, guard=guarded("k"), requests=OpenRequests())(scope, receive, send)
    assert sent[0]["status"] == 400


async def test_a_body_that_does_not_come_is_waited_for_only_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A caller that dawdles is answered and let go."""
    monkeypatch.setattr("ws_gateway.control.api.bounds.BODY_SECONDS", 0.01)

    async def app(*_: Any) -> None:
        pytest.fail("a body that never came was acted on")

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/x", "method": "POST", "headers": []}
    await Edge(app, guard=guarded("k"), requests=OpenRequests())(scope, receive, send)
    assert sent[0]["status"] == 408


async def test_a_stop_answers_what_is_still_open() -> None:
    """A body that does not come and an app that hangs: both callers are told to come again."""

    async def app(*_: Any) -> None:
        await asyncio.Event().wait()

    async def nothing() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def empty() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    requests, sent = OpenRequests(), list[Message]()

    async def send(message: Message) -> None:
        sent.append(message)

    edge = Edge(app, guard=guarded("k"), requests=requests)
    scope = {"type": "http", "path": "/health", "method": "GET", "headers": []}
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(edge(scope, nothing, send))
        group.create_task(edge(scope, empty, send))
        await asyncio.sleep(0.01)
        assert sent == []
        requests.end()
    assert [m["status"] for m in sent if m["type"] == "http.response.start"] == [503, 503]
    assert b"gateway_stopping" in sent[1]["body"]


async def test_an_answer_that_has_begun_is_not_begun_again_at_a_stop() -> None:
    """There is no second status line; what was sent stays all there is."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    async def empty() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    requests, sent = OpenRequests(), list[Message]()

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/health", "method": "GET", "headers": []}
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(Edge(app, guard=guarded("k"), requests=requests)(scope, empty, send))
        await asyncio.sleep(0.01)
        requests.end()
    assert [message["type"] for message in sent] == ["http.response.start"]


async def test_every_answer_tells_browsers_to_do_nothing_with_it() -> None:
    """Refusals as well; what an answer says itself stays, and only TLS is told to stay TLS."""
    async with client("k") as http:
        for path, key in (("/health", ""), (PATH, "k"), (PATH, ""), ("/x", "")):
            answer = await http.get(path, headers={"X-API-Key": key})
            for name, value in DEFAULTS.items():
                assert answer.headers[name] == value, (path, name)
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert "strict-transport-security" not in answer.headers
        answer = await http.get("https://gateway/health")
        assert answer.headers["strict-transport-security"].startswith("max-age=")


def test_an_answer_that_says_something_itself_is_left_so() -> None:
    """A page has a policy of its own; without one it may at least not be framed."""
    said = [(b"cache-control", b"max-age=5"), (b"content-type", b"text/html; charset=utf-8")]
    start: Message = {"type": "http.response.start", "status": 200, "headers": list(said)}
    protect(start, is_tls=False)
    headers = dict(start["headers"])
    assert headers[b"cache-control"] == b"max-age=5"
    assert b"default-src" not in headers[b"content-security-policy"]
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]


@pytest.mark.parametrize(
    ("method", "path", "query", "allowed"),
    [
        ("POST", PATH, "wiat", ["wait"]),
        ("PUT", "/api/v1/services/s/subscriptions", "x", ["wait"]),
        ("GET", "/api/v1/queues", "x", []),
        ("GET", PATH, "x", None),
        ("DELETE", f"{PATH}/by-service/s", "x", []),
        ("GET", "/api/v1/audit", "x", None),
    ],
)
async def test_a_query_that_nobody_knows_is_refused_wherever_it_stands(
    method: str, path: str, query: str, allowed: list[str] | None
) -> None:
    """A typing error in `wait` would else be taken for a wish not to wait."""
    bodies = {"POST": {"channel": "trades", "symbol": "BTCUSDT", "requesting_service": "s"}}
    body: dict[str, Any] = bodies.get(method) or {"subscriptions": []}
    async with client("k") as http:
        answer = await http.request(
            method, path, params={query: "5"}, json=body, headers={"X-API-Key": "k"}
        )
    assert (answer.status_code, answer.json()["code"]) == (422, "field_unknown")
    assert answer.json()["field"] == query
    told = answer.json()["allowed"]
    assert told == allowed if allowed is not None else "limit" in told


async def test_a_field_that_nobody_knows_is_answered_with_those_that_are_known() -> None:
    """Also in an object of a set."""
    headers = {"X-API-Key": "k"}
    wish = {"channel": "trades", "sybmol": "BTCUSDT"}
    async with client("k") as http:
        one = await http.post(PATH, json={**wish, "requesting_service": "s"}, headers=headers)
        many = await http.put(
            "/api/v1/services/s/subscriptions", json={"subscriptions": [wish]}, headers=headers
        )
    assert (one.json()["code"], one.json()["field"]) == ("field_unknown", "sybmol")
    assert {"symbol", "requesting_service"} <= set(one.json()["allowed"])
    assert many.json()["field"] == "subscriptions.0.sybmol"
    assert "symbol" in many.json()["allowed"]


async def test_refusals_speak_json_and_not_python() -> None:
    """What was found is told as it was sent."""
    headers = {"X-API-Key": "k"}
    async with client("k") as http:
        answer = await http.post("/api/v1/keys", json={"name": ["admin"]}, headers=headers)
        assert answer.json()["found"] == '["admin"]'
        answer = await http.post(PATH, json=["x"], headers=headers)
        assert "has to be a JSON object" in answer.json()["detail"]


async def test_the_line_of_a_refused_request_says_who_came_and_for_what() -> None:
    """Neither route nor caller is known then, so address, key id and path stand in."""
    _, word = make_key()
    async with client("k") as http:
        with capture_logs() as lines:
            await http.get(PATH, headers={"X-API-Key": word.get_secret_value()})
            await http.get("/nowhere")
    served = [line for line in lines if line["event"] == "api.request_served"]
    assert [line["path"] for line in served] == [PATH, "/nowhere"]
    assert served[0]["key_id"] in word.get_secret_value()
    assert all(line["address"] for line in served)
