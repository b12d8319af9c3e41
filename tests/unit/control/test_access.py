"""What a caller may do, without HTTP: scopes, and services other than its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from support.callers import ADMIN, service_caller
from support.memory_gateway import Gateway
from support.memory_keys import MemoryKeys, MemoryTrail
from support.memory_store import MemorySubscriptions
from ws_gateway.control.access import require
from ws_gateway.control.keys import KeyService
from ws_gateway.control.policy import Policy
from ws_gateway.control.reconciler import Reconciler
from ws_gateway.control.service import SubscriptionService, Wish
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.topic import Category, Channel
from ws_gateway.errors import Forbidden, Rejected
from ws_gateway.ports.store import SubscriptionFilter

ANY = SubscriptionFilter()
OWN = service_caller("own")


def wish(service: str) -> Wish:
    """Ask for a ticker."""
    return Wish(Channel.TICKER, service, symbol="BTCUSDT", category=Category.LINEAR)


@pytest.fixture
def use() -> SubscriptionService:
    """Use cases on an empty ledger."""
    gateway = Gateway()
    policy = Policy(tuple(Category), Category.LINEAR, has_credentials=False)
    store = MemorySubscriptions()
    return SubscriptionService(store, Reconciler(store, gateway.feed, policy), policy)


@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_opens_itself_alone_and_admin_opens_all(scope: Scope) -> None:
    """Reading is not part of writing, nor the other way round."""
    for needed in Scope:
        caller = Caller("0123456789ab", "n", frozenset({scope}))
        if scope in (needed, Scope.ADMIN):
            require(caller, needed)
            continue
        with pytest.raises(Forbidden) as caught:
            require(caller, needed)
        assert caught.value.code == "scope_missing"
        assert caught.value.allowed is not None
        assert needed.value in caught.value.allowed


async def test_a_bound_key_acts_for_its_own_services_alone(use: SubscriptionService) -> None:
    """The name of another service is refused, wherever it stands in the request."""
    await use.add(OWN, wish("own"))
    await use.add(ADMIN, wish("foreign"))
    refused: list[Callable[[], Awaitable[object]]] = [
        lambda: use.add(OWN, wish("foreign")),
        lambda: use.remove_service(OWN, "foreign"),
        lambda: use.page(
            OWN, SubscriptionFilter(requesting_service="foreign"), after=None, limit=10
        ),
    ]
    for call in refused:
        with pytest.raises(Forbidden) as caught:
            await call()
        assert caught.value.code == "foreign_service"
        assert caught.value.allowed == ["own"]
    page = await use.page(ADMIN, ANY, after=None, limit=10)
    assert len(page.items) == 2


async def test_a_foreign_subscription_does_not_exist_for_a_bound_key(
    use: SubscriptionService,
) -> None:
    """Its id is answered as one that nobody ever had, it is in no list, and it stays."""
    foreign = (await use.add(ADMIN, wish("foreign")))[0].subscription.id
    own = (await use.add(OWN, wish("own")))[0].subscription.id
    assert await use.get(OWN, foreign) is None
    assert await use.remove(OWN, foreign) is None
    page = await use.page(OWN, ANY, after=None, limit=10)
    assert [one.subscription.id for one in page.items] == [own]
    kept = await use.get(ADMIN, foreign)
    assert kept is not None
    assert kept.subscription.id == foreign


async def test_only_administrators_see_and_change_keys() -> None:
    """Every other scope together is not enough."""
    keys = KeyService(MemoryKeys())
    issued = await keys.create(ADMIN, name="n")
    everything_else = Caller("0123456789ab", "n", frozenset(set(Scope) - {Scope.ADMIN}))
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: keys.create(everything_else, name="n"),
        lambda: keys.rotate(everything_else, issued.key.id),
        lambda: keys.revoke(everything_else, issued.key.id),
        lambda: keys.get(everything_else, issued.key.id),
        lambda: keys.page(everything_else, after=None, limit=1),
    ]
    for call in calls:
        with pytest.raises(Forbidden):
            await call()
    kept = await keys.get(ADMIN, issued.key.id)
    assert kept is not None
    assert kept.state(datetime.now(UTC)) == "active"


@pytest.mark.parametrize(
    ("wishes", "code", "field"),
    [
        ({"name": ""}, "field_invalid", "name"),
        ({"name": "a b"}, "field_invalid", "name"),
        ({"name": "n" * 65}, "field_invalid", "name"),
        ({"scopes": []}, "scope_none", "scopes"),
        ({"services": ["a b"]}, "field_invalid", "services"),
        ({"services": [""]}, "field_invalid", "services"),
        ({"services": ["a"], "scopes": [Scope.ADMIN]}, "admin_bound", "services"),
        ({"expires_in_seconds": 0}, "field_invalid", "expires_in_seconds"),
        ({"expires_in_seconds": 10**12}, "field_invalid", "expires_in_seconds"),
    ],
)
async def test_a_key_that_cannot_be_is_refused_with_the_field(
    wishes: dict[str, object], code: str, field: str
) -> None:
    """Nothing is stored, and nothing noted."""
    trail = MemoryTrail()
    keys = KeyService(MemoryKeys(trail))
    with pytest.raises(Rejected) as caught:
        await keys.create(ADMIN, **{"name": "n", **wishes})  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.field) == (code, field)
    assert trail.entries == []


async def test_operators_change_what_is_logged_without_the_database() -> None:
    """They can act in an outage, unnoted but for the log; otherwise there is a row."""
    gateway = Gateway()
    gateway.trail.is_away = True
    async with gateway.http as http:
        answer = await http.put(
            "/api/v1/log-level", json={"level": "debug"}, headers={"X-API-Key": "k"}
        )
        assert answer.status_code == 200
        gateway.trail.is_away = False
        await http.put("/api/v1/log-level", json={"level": "info"}, headers={"X-API-Key": "k"})
    (entry,) = gateway.trail.entries
    assert (entry.action, entry.actor_id) == ("log_level.change", "bootstrap")
    assert entry.before == {"level": "debug"}
    assert entry.trace_id is not None
    assert len(entry.trace_id) == 32
