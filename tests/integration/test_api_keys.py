"""Keys over HTTP, on a real PostgreSQL: every endpoint with every kind of key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest

from support.control_room import KEY, PATH, Api, control_room, is_problem
from support.live import LIVE
from ws_gateway.control.api.app import describe
from ws_gateway.control.guard import Limits
from ws_gateway.control.key_words import make_key
from ws_gateway.domain.caller import Scope

KEYS = "/api/v1/keys"
AUDIT = "/api/v1/audit"
OPEN = {"/health", "/livez", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json"}


class Operation(NamedTuple):
    """One operation of the API, as its own document tells of it."""

    method: str
    path: str
    scope: Scope

    def at(self, **names: object) -> str:
        """Fill in the path; names that are not given do not exist."""
        known = {"subscription_id": uuid4(), "key_id": "000000000000", "service_name": "foreign"}
        path = self.path
        for part in [one.partition("}")[0] for one in path.split("{")[1:]]:
            value = {**known, **names}.get(part, "nothing")
            path = path.replace(f"{{{part}}}", str(value))
        return path


OPERATIONS = [
    Operation(method.upper(), path, Scope(operation["security"][0]["ApiKey"][0]))
    for path, operations in describe()["paths"].items()
    if path.startswith("/api")
    for method, operation in operations.items()
]


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    """Serve the control room on a database of the test's own; nobody comes too often."""
    limits = Limits(requests_per_second=10_000, requests_burst=10_000, failures_per_minute=10_000)
    async with control_room(database_url, limits=limits) as room:
        yield room


async def everywhere(api: Api, key: str | None, status: int, code: str) -> None:
    """Try every operation with a key; each is refused alike, before anything else is judged."""
    async with api.client(key) as http:
        for operation in OPERATIONS:
            answer = await http.request(operation.method, operation.at())
            is_problem(answer, status, code)
            assert key is None or key not in answer.text


def test_every_guarded_operation_is_tried() -> None:
    """The list is the document's own, and what needs no key is known by name."""
    assert len(OPERATIONS) >= 14
    paths = {path for path in describe()["paths"] if not path.startswith("/api")}
    assert paths <= {*OPEN, "/schemas/{event_class}.json"}


async def test_without_a_key_every_endpoint_is_401(api: Api) -> None:
    """It says which header to send."""
    await everywhere(api, None, 401, "api_key_missing")


async def test_with_a_wrong_key_every_endpoint_is_401(api: Api) -> None:
    """Whether it looks like a key of ours, is another's, or is anything."""
    for wrong in ("anything", KEY + "x", make_key()[1].get_secret_value()):
        await everywhere(api, wrong, 401, "api_key_wrong")


async def test_with_an_expired_key_every_endpoint_is_401(api: Api) -> None:
    """Even an administrator's."""
    made = await api.make_key(scopes=["admin"], expires_in_seconds=3600)
    async with api.client(made["key"]) as http:
        assert (await http.get(KEYS)).status_code == 200
        await api.pool.execute("UPDATE api_keys SET expires_at = now()")
        await until_refused(http)  # the keys are read again within seconds
    await everywhere(api, made["key"], 401, "api_key_expired")


async def test_with_a_revoked_key_every_endpoint_is_401(api: Api) -> None:
    """From the answer to the revocation on."""
    made = await api.make_key(scopes=["admin"])
    async with api.client(made["key"]) as http:
        assert (await http.delete(f"{KEYS}/{made['id']}")).status_code == 204  # its own, too
    await everywhere(api, made["key"], 401, "api_key_revoked")


@pytest.mark.parametrize("scope", list(Scope))
async def test_every_endpoint_opens_to_its_scope_alone(api: Api, scope: Scope) -> None:
    """403 names the scope that is missing, before the request itself is judged."""
    made = await api.make_key(scopes=[scope.value])
    async with api.client(made["key"]) as http:
        for operation in OPERATIONS:
            once = {"pictures": 1} if operation.path == LIVE else {}  # it goes on for a minute
            answer = await http.request(operation.method, operation.at(), params=once)
            if scope in (operation.scope, Scope.ADMIN):
                assert answer.status_code not in {401, 403}, operation
                continue
            body = is_problem(answer, 403, "scope_missing")
            assert body["found"] == scope.value
            assert operation.scope.value in body["allowed"]


async def test_a_key_of_one_service_reaches_nothing_of_another(api: Api) -> None:
    """Every endpoint that names a service or one of its subscriptions, and the list."""
    foreign = (await api.add(requesting_service="foreign")).json()["id"]
    own = (await api.add(requesting_service="own")).json()["id"]
    made = await api.make_key(services=["own"])
    refused = {}
    async with api.client(made["key"]) as http:
        for operation in OPERATIONS:
            if "{service_name}" in operation.path:
                answer = await http.request(
                    operation.method, operation.at(), json={"subscriptions": []}
                )
                body = is_problem(answer, 403, "foreign_service")
                assert (body["found"], body["allowed"]) == ("foreign", ["own"])
                refused[operation.path] = 403
            elif "{subscription_id}" in operation.path:
                of_foreign = await http.request(
                    operation.method, operation.at(subscription_id=foreign)
                )
                of_nobody = await http.request(operation.method, operation.at())
                assert is_problem(of_foreign, 404, "subscription_unknown").keys() == (
                    is_problem(of_nobody, 404, "subscription_unknown").keys()
                )
                refused[operation.path] = 404
        wish = {"channel": "ticker", "symbol": "ETHUSDT", "requesting_service": "foreign"}
        is_problem(await http.post(PATH, json=wish), 403, "foreign_service")
        query = {"requesting_service": "foreign"}
        is_problem(await http.get(PATH, params=query), 403, "foreign_service")
        assert [item["id"] for item in (await http.get(PATH)).json()["items"]] == [own]
        assert (await http.delete(f"{PATH}/{own}")).status_code == 204
    assert len(refused) >= 2
    assert [item["id"] for item in await api.items()] == [foreign]


async def test_probes_and_contract_are_open_to_anybody(api: Api) -> None:
    """Also to who brings a wrong key."""
    async with api.client("wrong") as http:
        for path in describe()["paths"]:
            if not path.startswith("/api"):
                answer = await http.get(path.replace("{event_class}", "trade"))
                assert answer.status_code in {200, 404, 503}, path


async def test_a_key_is_told_once_and_stored_nowhere(api: Api) -> None:
    """Only a digest is in the database; no list, no audit row shows the secret."""
    made = await api.make_key(services=["own"], expires_in_seconds=3600)
    secret = made["key"].rpartition("_")[2]
    assert made["key"] == f"wsg_{made['id']}_{secret}"
    assert (made["state"], made["services"]) == ("active", ["own"])
    assert made["scopes"] == ["subscriptions:read", "subscriptions:write"]
    for path in (KEYS, f"{KEYS}/{made['id']}", AUDIT):
        answer = await api.http.get(path)
        assert answer.status_code == 200
        assert made["id"] in answer.text
        assert secret not in answer.text
    for table in ("api_keys", "audit_log"):
        for row in await api.pool.fetch(f"SELECT t::text AS shown FROM {table} t"):  # noqa: S608
            assert secret not in row["shown"]
            assert secret.encode().hex() not in row["shown"]


async def test_keys_are_listed_in_pages_those_that_ended_included(api: Api) -> None:
    """In order of creation, each once."""
    ids = [(await api.make_key())["id"] for _ in range(5)]
    await api.http.delete(f"{KEYS}/{ids[1]}")
    seen: list[dict[str, Any]] = []
    cursor = None
    for _ in range(10):
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await api.http.get(KEYS, params=query)).json()
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [one["id"] for one in seen] == ids
    assert [one["state"] for one in seen] == ["active", "revoked", "active", "active", "active"]
    is_problem(await api.http.get(KEYS, params={"cursor": "x"}), 422, "cursor_unknown")


async def test_a_successor_takes_over_while_both_are_of_use(api: Api) -> None:
    """The old one has its end, the new one is of the same kind, and both are known by the trail."""
    old = await api.make_key(services=["own"])
    answer = await api.http.post(f"{KEYS}/{old['id']}/rotation", json={"overlap_seconds": 60})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    new = answer.json()
    assert (new["rotates"], new["services"], new["name"]) == (old["id"], ["own"], "made")
    for key in (old["key"], new["key"]):
        async with api.client(key) as http:
            assert (await http.get(PATH)).status_code == 200
    left = (await api.http.get(f"{KEYS}/{old['id']}")).json()
    assert (left["state"], left["expires_at"] is None) == ("active", False)
    now = await api.http.post(f"{KEYS}/{new['id']}/rotation", json={"overlap_seconds": 0})
    assert now.status_code == 201
    async with api.client(new["key"]) as http:
        is_problem(await http.get(PATH), 401, "api_key_expired")
    again = await api.http.post(f"{KEYS}/{new['id']}/rotation")
    is_problem(again, 422, "key_not_active")


async def test_a_key_that_was_rotated_before_hands_no_dying_life_on(api: Api) -> None:
    """A second successor would end with the overlap; the first one is named instead."""
    old = await api.make_key()
    rotation = f"{KEYS}/{old['id']}/rotation"
    first = (await api.http.post(rotation, json={"overlap_seconds": 60})).json()
    assert first["expires_at"] is None
    answer = await api.http.post(rotation, json={"overlap_seconds": 60})
    body = is_problem(answer, 422, "key_rotated")
    assert body["found"] == first["id"]
    assert first["id"] in body["detail"]
    await api.http.delete(f"{KEYS}/{first['id']}")  # nobody has it
    second = (await api.http.post(rotation, json={"overlap_seconds": 60})).json()
    assert (second["expires_at"], second["rotates"]) == (None, old["id"])


async def test_unknown_keys_are_404_and_revoking_twice_is_no_fault(api: Api) -> None:
    """What is not there cannot be seen, revoked or rotated."""
    nobody = "000000000000"
    for answer in (
        await api.http.get(f"{KEYS}/{nobody}"),
        await api.http.delete(f"{KEYS}/{nobody}"),
        await api.http.post(f"{KEYS}/{nobody}/rotation"),
    ):
        is_problem(answer, 404, "key_unknown")
    made = await api.make_key()
    for _ in range(2):
        assert (await api.http.delete(f"{KEYS}/{made['id']}")).status_code == 204
    actions = [one["action"] for one in (await api.http.get(AUDIT)).json()["items"]]
    assert actions == ["key.revoke", "key.create"]


async def test_every_change_is_noted_with_who_what_when_and_trace(api: Api) -> None:
    """Of subscriptions, keys and the log level; who asks only, or changes nothing, is not noted."""
    made = await api.make_key(services=["own"], name="strategy")
    trace_id = uuid4().hex
    async with api.client(made["key"]) as http:
        http.headers["traceparent"] = f"00-{trace_id}-00f067aa0ba902b7-01"
        wish = {"channel": "ticker", "symbol": "BTCUSDT", "requesting_service": "own"}
        added = (await http.post(PATH, json=wish)).json()
        assert (await http.post(PATH, json=wish)).status_code == 200
        await http.get(PATH)
        assert (await http.delete(f"{PATH}/{added['id']}")).status_code == 204
        assert (await http.delete(f"{PATH}/{added['id']}")).status_code == 404
    page = (await api.http.get(AUDIT, params={"trace_id": trace_id})).json()
    remove, add = page["items"]
    assert [add["action"], remove["action"]] == ["subscription.add", "subscription.remove"]
    for entry in (add, remove):
        assert (entry["actor_id"], entry["actor_name"]) == (made["id"], "strategy")
        assert (entry["subject"], entry["address"]) == (added["id"], "127.0.0.1")
        assert UUID(entry["id"]).version == 7
        assert entry["at"].endswith("Z")
    assert (add["before"], remove["after"]) == (None, None)
    assert add["after"] == remove["before"]
    assert add["after"]["topic"] == "tickers.BTCUSDT"
    assert add["after"]["requesting_service"] == "own"
    by_action = (await api.http.get(AUDIT, params={"action": "key.create"})).json()["items"]
    assert [(one["subject"], one["actor_id"]) for one in by_action] == [(made["id"], "bootstrap")]
    assert by_action[0]["after"]["scopes"] == ["subscriptions:read", "subscriptions:write"]


QUERIES = [
    (path, parameter["name"])
    for path, operations in describe()["paths"].items()
    for parameter in operations.get("get", {}).get("parameters", [])
    if parameter["in"] == "query"
]


async def test_a_nul_in_any_filter_is_refused_before_the_database_is_asked(api: Api) -> None:
    """PostgreSQL takes no NUL; the one who sent it is at fault, and is told which field it is."""
    assert {(AUDIT, name) for name in ("actor_id", "action", "subject", "trace_id")} <= {*QUERIES}
    for path, name in QUERIES:
        for value in ("\0", "a\0b"):
            answer = await api.http.get(path, params={name: value})
            assert answer.status_code == 422, (path, name, answer.text)
            assert answer.json()["field"] == name


async def test_the_trail_is_read_in_pages_newest_first(api: Api) -> None:
    """Each once, also while more is written."""
    ids = [(await api.make_key())["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = None
    for _ in range(10):
        query = {"limit": "2", "action": "key.create", **({"cursor": cursor} if cursor else {})}
        page = (await api.http.get(AUDIT, params=query)).json()
        seen += [one["subject"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await api.make_key()
    assert seen == ids[::-1]
    is_problem(await api.http.get(AUDIT, params={"cursor": "x"}), 422, "cursor_unknown")


async def test_a_change_that_cannot_be_noted_does_not_happen(api: Api) -> None:
    """The row and its note are one transaction."""
    await api.pool.execute("ALTER TABLE audit_log ADD CHECK (action = 'nothing')")
    answer = await api.add()
    assert answer.status_code == 500
    answer = await api.http.post(KEYS, json={"name": "n"})
    assert answer.status_code == 500
    assert await api.items() == []
    assert (await api.http.get(KEYS)).json()["items"] == []


async def test_when_a_key_was_last_used_is_written_after_a_while(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with the request."""
    monkeypatch.setattr("ws_gateway.control.keyring.USES_SECONDS", 0.0)
    monkeypatch.setattr("ws_gateway.control.keyring.POLL_SECONDS", 0.02)
    async with control_room(database_url) as api:
        made = await api.make_key()
        assert made["last_used_at"] is None
        async with api.client(made["key"]) as http:
            await http.get(PATH)
        await until_shown(api, made["id"], "last_used_at")


async def test_too_many_requests_of_a_service_are_429_with_a_time_to_wait(
    database_url: str,
) -> None:
    """The next service and the administrator are served meanwhile."""
    limits = Limits(requests_per_second=0.1, requests_burst=3)
    async with control_room(database_url, limits=limits) as api:
        one, other = await api.make_key(services=["a"]), await api.make_key(services=["b"])
        async with api.client(one["key"]) as http:
            statuses = [(await http.get(PATH)).status_code for _ in range(3)]
            assert statuses == [200, 200, 200]
            answer = await http.get(PATH)
        is_problem(answer, 429, "too_many_requests")
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        async with api.client(other["key"]) as http:
            assert (await http.get(PATH)).status_code == 200
        assert (await api.http.get(PATH)).status_code == 200


async def test_an_address_with_too_many_wrong_keys_is_429(database_url: str) -> None:
    """A stored key is served from there all the same."""
    async with control_room(database_url, limits=Limits(failures_per_minute=5)) as api:
        made = await api.make_key()
        async with api.client("wrong") as http:
            statuses = [(await http.get(PATH)).status_code for _ in range(6)]
        assert statuses == [401] * 5 + [429]
        answer = await api.http.get(PATH)
        is_problem(answer, 429, "too_many_wrong_keys")
        assert 1 <= int(answer.headers["retry-after"]) <= 12
        async with api.client(made["key"]) as http:
            assert (await http.get(PATH)).status_code == 200


async def until_refused(http: httpx.AsyncClient) -> None:
    """Ask until a key that ended elsewhere is refused: some seconds at most."""
    async with asyncio.timeout(30):
        while (await http.get(KEYS)).status_code != 401:  # noqa: ASYNC110 - HTTP has no event
            await asyncio.sleep(0.05)


async def until_shown(api: Api, key_id: str, field: str) -> None:
    """Ask until a field of a key is not null."""
    async with asyncio.timeout(30):
        while (await api.http.get(f"{KEYS}/{key_id}")).json()[field] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
