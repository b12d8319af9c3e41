"""Who is let in: by which key, for how long, how often, and while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from support.callers import ADMIN
from support.memory_keys import MemoryKeys
from ws_gateway.control.guard import FRESH_SECONDS, KNOWN_SECONDS, Guard, Limits
from ws_gateway.control.key_words import make_key, read_key
from ws_gateway.control.keyring import KeyRing
from ws_gateway.control.keys import IssuedKey, KeyService
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.key import StoredKey
from ws_gateway.errors import DatabaseLost, Forbidden, Throttled, Unauthorized

HOME = "192.0.2.7"
NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)


class Door:
    """A guard with a clock that the test turns."""

    def __init__(self, bootstrap: str | None = "first", limits: Limits | None = None) -> None:
        self.seconds = 0.0
        self.store = MemoryKeys(utc_now=self.utc_now)
        self.ring = KeyRing(self.store, monotonic=lambda: self.seconds, utc_now=self.utc_now)
        self.keys = KeyService(self.store, self.ring)
        self.guard = Guard(
            None if bootstrap is None else SecretStr(bootstrap),
            self.ring,
            limits,
            monotonic=lambda: self.seconds,
            utc_now=self.utc_now,
        )

    def utc_now(self) -> datetime:
        """Tell the time of day."""
        return NOON + timedelta(seconds=self.seconds)

    async def make(self, **wishes: Any) -> IssuedKey:
        """Make a key as an administrator does, at a gateway that has started."""
        if self.ring.age_seconds == float("inf"):
            await self.ring.read()
        return await self.keys.create(ADMIN, name="made", **wishes)

    async def knock(
        self, word: str | bytes, *, address: str = HOME, is_reading: bool = True
    ) -> Caller:
        """Come with a key."""
        given = word.encode() if isinstance(word, str) else word
        return await self.guard.admit([given], address, is_reading=is_reading)

    async def refusal(self, word: str | bytes, *, address: str = HOME) -> str:
        """Come with a key that is refused; answers the code."""
        try:
            await self.knock(word, address=address)
        except (Unauthorized, Forbidden, Throttled) as exc:
            return exc.code
        raise AssertionError("let in")


def other_secret(word: str) -> str:
    """Change the last letter of a key."""
    return word[:-1] + ("0" if word[-1] != "0" else "1")


async def test_a_stored_key_lets_in_who_it_is_of() -> None:
    """Name, scopes and services are those it was made with."""
    door = Door()
    issued = await door.make(services=["a", "b"], scopes=[Scope.BALANCES_READ])
    caller = await door.knock(issued.word.get_secret_value())
    assert (caller.key_id, caller.name) == (issued.key.id, "made")
    assert caller.scopes == {Scope.BALANCES_READ}
    assert caller.services == frozenset({"a", "b"})


async def test_the_first_administrator_key_goes_on_beside_stored_ones() -> None:
    """WSG_API_KEY is an administrator's as before."""
    door = Door()
    await door.make()
    caller = await door.knock("first")
    assert caller.is_admin
    assert caller.key_id == "bootstrap"


async def test_a_wrong_secret_is_wrong_whether_the_id_is_known_or_not() -> None:
    """Neither answer tells which ids exist."""
    door = Door()
    word = (await door.make()).word.get_secret_value()
    assert await door.refusal(other_secret(word)) == "api_key_wrong"
    assert await door.refusal(make_key()[1].get_secret_value()) == "api_key_wrong"
    assert await door.refusal(word.upper()) == "api_key_wrong"
    assert await door.refusal(word + " ") == "api_key_wrong"


async def test_expired_and_revoked_are_said_to_who_has_the_secret_alone() -> None:
    """The holder learns why; whoever merely knows the id does not."""
    door = Door()
    short, gone = await door.make(expires_in_seconds=60), await door.make()
    await door.keys.revoke(ADMIN, gone.key.id)
    door.seconds = 59.0
    await door.knock(short.word.get_secret_value())
    door.seconds = 60.0
    await door.ring.read()
    assert await door.refusal(short.word.get_secret_value()) == "api_key_expired"
    assert await door.refusal(gone.word.get_secret_value()) == "api_key_revoked"
    assert await door.refusal(other_secret(gone.word.get_secret_value())) == "api_key_wrong"


async def test_a_key_made_elsewhere_is_taken_before_the_next_look() -> None:
    """An unknown id is asked for at once; a revocation made elsewhere comes with the next look."""
    door = Door()
    await door.ring.read()
    elsewhere = KeyService(door.store)
    issued = await elsewhere.create(ADMIN, name="made")
    word = issued.word.get_secret_value()
    assert (await door.knock(word)).key_id == issued.key.id
    asked = door.store.asked
    await door.knock(word)
    assert door.store.asked == asked  # from then on it is known
    await elsewhere.revoke(ADMIN, issued.key.id)
    await door.ring.read()
    assert await door.refusal(word) == "api_key_revoked"


async def test_without_any_key_everything_is_refused_until_one_is_made() -> None:
    """Neither WSG_API_KEY nor a stored key: nobody can come in, and the answer says how to."""
    door = Door(bootstrap=None)
    await door.ring.read()
    assert await door.refusal("anything") == "api_key_not_configured"
    word = (await door.make()).word.get_secret_value()
    await door.knock(word)
    assert await door.refusal("anything") == "api_key_wrong"


async def test_known_keys_read_on_for_an_hour_while_the_database_is_away() -> None:
    """Changes stop soon, because a revocation could not be seen; the first key goes on."""
    door = Door()
    word = (await door.make()).word.get_secret_value()
    await door.ring.read()
    door.store.is_away = True
    door.seconds = FRESH_SECONDS
    await door.knock(word, is_reading=False)
    door.seconds = KNOWN_SECONDS
    await door.knock(word, is_reading=True)
    with pytest.raises(DatabaseLost):
        await door.knock(word, is_reading=False)
    door.seconds += 1
    with pytest.raises(DatabaseLost):
        await door.knock(word, is_reading=True)
    assert (await door.knock("first", is_reading=False)).is_admin


async def test_an_unknown_key_cannot_be_judged_while_the_database_is_away() -> None:
    """It may have been made a moment ago: 503 and not 401; what is no key at all is 401."""
    door = Door()
    known = (await door.make()).word.get_secret_value()
    await door.ring.read()
    door.store.is_away = True
    with pytest.raises(DatabaseLost):
        await door.knock(make_key()[1].get_secret_value())
    assert await door.refusal("no key at all") == "api_key_wrong"
    assert await door.refusal(other_secret(known)) == "api_key_wrong"


async def test_an_address_that_guesses_has_to_wait_and_locks_out_nobody_else() -> None:
    """Neither a further guess nor the first key is listened to; stored keys and others are."""
    door = Door(limits=Limits(failures_per_minute=3))
    word = (await door.make()).word.get_secret_value()
    for _ in range(3):
        assert await door.refusal("guess") == "api_key_wrong"
    asked = door.store.asked
    with pytest.raises(Throttled) as caught:
        await door.knock("first")
    assert caught.value.code == "too_many_wrong_keys"
    assert 0 < caught.value.retry_after_seconds <= 20
    assert await door.refusal(make_key()[1].get_secret_value()) == "too_many_wrong_keys"
    assert door.store.asked == asked  # nor is the database asked any more
    await door.knock(word)
    await door.knock("first", address="192.0.2.8")
    door.seconds += caught.value.retry_after_seconds
    await door.knock("first")


class SlowKeys(MemoryKeys):
    """Answers nobody until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def find(self, key_id: str) -> StoredKey | None:
        """Return one when the gate is open."""
        found = await super().find(key_id)
        await self.gate.wait()
        return found


async def test_a_crowd_of_guesses_is_counted_before_the_database_answers() -> None:
    """As many as may come at once ask it; the others are sent away while it thinks."""
    store = SlowKeys()
    guard = Guard(SecretStr("first"), KeyRing(store), Limits(failures_per_minute=3))
    words = [make_key()[1].get_secret_value().encode() for _ in range(20)]
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        knocks = [
            group.create_task(outcome(guard.admit([word], HOME, is_reading=True))) for word in words
        ]
        while sum(one.done() for one in knocks) < 17:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0)
        assert store.asked == 3
        store.gate.set()
    told = [one.result() for one in knocks]
    assert (told.count("api_key_wrong"), told.count("too_many_wrong_keys")) == (3, 17)


async def test_an_attempt_that_the_database_never_judged_is_counted() -> None:
    """Whoever guesses in an outage has to wait too."""
    door = Door(limits=Limits(failures_per_minute=2))
    door.store.is_away = True
    for _ in range(2):
        with pytest.raises(DatabaseLost):
            await door.knock(make_key()[1].get_secret_value())
    assert await door.refusal(make_key()[1].get_secret_value()) == "too_many_wrong_keys"


async def test_right_keys_cost_an_address_nothing() -> None:
    """The first key, and a key made elsewhere a moment ago, come as often as they like."""
    door = Door(limits=Limits(failures_per_minute=1))
    await door.ring.read()
    for _ in range(5):
        await door.knock("first")
        issued = await KeyService(door.store).create(ADMIN, name="made")
        await door.knock(issued.word.get_secret_value())
    assert await door.refusal("guess") == "api_key_wrong"
    assert await door.refusal("guess") == "too_many_wrong_keys"


async def outcome(admission: Awaitable[Caller]) -> str:
    """Wait for an answer at the door; tells the code of a refusal."""
    try:
        return (await admission).name
    except (Unauthorized, Throttled) as exc:
        return exc.code


async def test_keys_that_were_once_right_are_no_guesses() -> None:
    """A service that goes on with an expired key does not shut out its neighbours."""
    door = Door(limits=Limits(failures_per_minute=1))
    issued = await door.make()
    await door.keys.revoke(ADMIN, issued.key.id)
    for _ in range(5):
        assert await door.refusal(issued.word.get_secret_value()) == "api_key_revoked"
    await door.knock("first")


@pytest.mark.parametrize(
    ("one", "other", "code"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", "too_many_wrong_keys"),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", "api_key_wrong"),
        ("::ffff:192.0.2.7", "192.0.2.7", "too_many_wrong_keys"),
        ("192.0.2.7", "192.0.2.8", "api_key_wrong"),
        ("unknown", "unknown", "too_many_wrong_keys"),
    ],
)
async def test_an_ipv6_host_is_one_address_whatever_it_picks(
    one: str, other: str, code: str
) -> None:
    """A host has a whole /64 of them, and must not begin anew with each."""
    door = Door(limits=Limits(failures_per_minute=1))
    assert await door.refusal("guess", address=one) == "api_key_wrong"
    assert await door.refusal("guess", address=other) == code


async def test_requests_are_counted_per_service_over_all_its_keys() -> None:
    """A second key of the service has no quota of its own; other services have."""
    door = Door(limits=Limits(requests_per_second=2, requests_burst=3))
    first, second = await door.make(services=["a"]), await door.make(services=["a"])
    other = await door.make(services=["b"])
    for key in (first, second, first):
        await door.knock(key.word.get_secret_value())
    with pytest.raises(Throttled) as caught:
        await door.knock(second.word.get_secret_value())
    assert caught.value.code == "too_many_requests"
    assert caught.value.retry_after_seconds == pytest.approx(0.5)
    await door.knock(other.word.get_secret_value())
    door.seconds += 0.5
    await door.knock(second.word.get_secret_value())


async def test_administrators_are_not_counted() -> None:
    """Who has to put things right is never told to come later."""
    door = Door(limits=Limits(requests_per_second=0.001, requests_burst=1))
    admin = await door.make(scopes=[Scope.ADMIN])
    for _ in range(5):
        await door.knock("first")
        await door.knock(admin.word.get_secret_value())


async def test_a_successor_shares_name_scopes_services_and_quota() -> None:
    """Both keys are of use for the overlap; then the old one has expired."""
    door = Door()
    old = await door.make(services=["a"], expires_in_seconds=1000)
    door.seconds = 500.0
    new = await door.keys.rotate(ADMIN, old.key.id, overlap_seconds=60)
    assert new is not None
    assert (new.key.name, new.key.scopes, new.key.services) == (
        old.key.name,
        old.key.scopes,
        old.key.services,
    )
    assert new.key.rotates == old.key.id
    assert new.key.expires_at == door.utc_now() + timedelta(seconds=1000)
    for seconds, old_is_of_use in ((559.0, True), (560.0, False)):
        door.seconds = seconds
        await door.ring.read()
        await door.knock(new.word.get_secret_value())
        if old_is_of_use:
            await door.knock(old.word.get_secret_value())
        else:
            assert await door.refusal(old.word.get_secret_value()) == "api_key_expired"


async def test_an_overlap_lengthens_no_life() -> None:
    """A key that ends before the overlap does still ends."""
    door = Door()
    old = await door.make(expires_in_seconds=10)
    await door.keys.rotate(ADMIN, old.key.id, overlap_seconds=3600)
    stored = door.ring.known(old.key.id)
    assert stored is not None
    assert stored.key.expires_at == NOON + timedelta(seconds=10)


async def test_no_secret_is_in_any_repr_or_log_line() -> None:
    """Neither of a key just made nor of one that was refused."""
    door = Door()
    with capture_logs() as lines:
        issued = await door.make()
        word = issued.word.get_secret_value()
        await door.knock(word)
        await door.refusal(other_secret(word))
    secret = word.rpartition("_")[2]
    stored = door.ring.known(issued.key.id)
    shown = f"{issued!r} {stored!r} {lines!r} {door.guard!r}"
    assert secret not in shown
    assert secret[:-1] not in shown
    assert stored is not None
    assert repr(stored.secret_hash) not in shown


def test_keys_are_of_one_form_and_never_alike() -> None:
    """A readable prefix, an id to look up, and a secret of 52 letters."""
    made = {make_key()[1].get_secret_value() for _ in range(100)}
    assert len(made) == 100
    for word in made:
        prefix, key_id, secret = word.split("_")
        assert (prefix, len(key_id), len(secret)) == ("wsg", 12, 52)
        parts = read_key(word.encode())
        assert parts is not None
        assert parts.id == key_id
        assert len(parts.digest) == 32
        assert secret.encode() not in parts.digest
