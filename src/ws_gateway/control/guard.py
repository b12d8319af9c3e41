"""The door: who asks is recognised here, before anything of the request is looked at."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address, ip_network

import structlog
from pydantic import SecretStr

from ws_gateway.control.key_words import KeyParts, digest_of, read_key
from ws_gateway.control.keyring import KeyRing
from ws_gateway.domain.caller import Caller, Scope
from ws_gateway.domain.key import KeyState, StoredKey
from ws_gateway.errors import DatabaseLost, Forbidden, Throttled, Unauthorized
from ws_gateway.runtime.token_buckets import TokenBuckets
from ws_gateway.runtime.tracing import note

KEY_HEADER = "X-API-Key"

FRESH_SECONDS = 15.0
"""How long ago the keys may have been read for a change to be served: no revoked key changes
anything because the database cannot say that it is revoked."""

KNOWN_SECONDS = 3600.0
"""The same for reading, so that operators and services see how things are in an outage."""

BOOTSTRAP = Caller("bootstrap", "WSG_API_KEY", frozenset({Scope.ADMIN}))
"""Whoever holds the first administrator key."""

_NOBODY = bytes(32)  # no secret has this digest; an unknown id takes as long as a known one

_log = structlog.get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Limits:
    """How often somebody may come.

    Attributes:
        requests_per_second, requests_burst: of one service's keys together.
        failures_per_minute: keys that are none, of one address; as many may come at once.
    """

    requests_per_second: float = 50.0
    requests_burst: int = 100
    failures_per_minute: int = 100


class Guard:
    """Recognises callers by their keys, and lets nobody come too often.

    Args:
        bootstrap: the first administrator key; None or empty is no key.
        ring: the stored keys; None knows none.
        limits: how often somebody may come.
        monotonic: clock in seconds.
        utc_now: the time of day, by which keys expire.
    """

    def __init__(
        self,
        bootstrap: SecretStr | None = None,
        ring: KeyRing | None = None,
        limits: Limits | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        utc_now: Callable[[], datetime] = _utc_now,
    ) -> None:
        word = bootstrap.get_secret_value() if bootstrap is not None else ""
        self._bootstrap = digest_of(word.encode()) if word else None
        self._ring = ring
        self._monotonic = monotonic
        self._utc_now = utc_now
        limits = limits or Limits()
        self._requests = TokenBuckets(
            burst=limits.requests_burst, per_second=limits.requests_per_second
        )
        self._failures = TokenBuckets(
            burst=limits.failures_per_minute, per_second=limits.failures_per_minute / 60
        )

    async def admit(self, given: Sequence[bytes], address: str, *, is_reading: bool) -> Caller:
        """Recognise who asks.

        An address that brought too many keys that are none is not listened to for a while, the
        first administrator key included, or it could go on guessing that one. Stored keys, which
        nobody can guess, are: a neighbour behind the same proxy locks nobody out.

        Args:
            given: every value of the header, as sent.
            address: where the request came from.
            is_reading: nothing is to be changed.

        Raises:
            Unauthorized: no key, or none that is of use.
            Forbidden: no key would be taken, because there is none.
            Throttled: too many requests of a service, or too many wrong keys of an address.
            DatabaseLost: whether the key is of use cannot be said now.
        """
        word = given[0] if given else None
        if word is None:
            raise self._refusal("api_key_missing", f"send the key as {KEY_HEADER}")
        parts = read_key(word) if all(other == word for other in given) else None
        if parts is not None:
            note(key_id=parts.id)
        known = None
        if self._ring is not None and parts is not None:
            known = self._ring.known(parts.id)
            if stored := _proved(parts, known):
                return self._let_in(self._ring, stored, is_reading=is_reading)
        place = _place(address)
        # Taken before the database is asked, or a crowd would come in while it answers; also what
        # it never answers is an attempt.
        if (wait := self._failures.take(place, self._monotonic())) > 0:
            raise Throttled(
                "too many wrong keys came from this address; it is not listened to for a while",
                code="too_many_wrong_keys",
                retry_after_seconds=wait,
            )
        if self._is_bootstrap(given):
            self._failures.give_back(place, self._monotonic())
            return BOOTSTRAP
        if self._ring is not None and parts is not None and known is None:
            stored = _proved(parts, await self._ring.look_up(parts.id))
            if stored is not None:
                self._failures.give_back(place, self._monotonic())
                return self._let_in(self._ring, stored, is_reading=is_reading)
        _log.info("control.key_refused", address=address, key_id=parts.id if parts else None)
        raise self._refusal("api_key_wrong", f"{KEY_HEADER} is no key of this gateway")

    def _is_bootstrap(self, given: Sequence[bytes]) -> bool:
        if self._bootstrap is None:
            return False
        # Digests are of one length, so that not even the key's length shows; each has to fit.
        fits = [hmac.compare_digest(digest_of(value), self._bootstrap) for value in given]
        return all(fits)

    def _refusal(self, code: str, detail: str) -> Unauthorized | Forbidden:
        if self._bootstrap is None and (self._ring is None or self._ring.is_known_empty):
            return Forbidden(
                "there is no API key, so every request is refused; set WSG_API_KEY or "
                "WSG_API_KEY_FILE and start the gateway again, or make a key with `ws-gateway keys "
                f"create`, and send it as {KEY_HEADER}",
                code="api_key_not_configured",
            )
        return Unauthorized(detail, code=code)

    def _let_in(self, ring: KeyRing, stored: StoredKey, *, is_reading: bool) -> Caller:
        """Let the holder of a stored key in, if it is of use."""
        key = stored.key
        match key.state(self._utc_now()):
            case KeyState.REVOKED:
                raise Unauthorized(
                    f"the key {key.id} was revoked; ask an administrator for another",
                    code="api_key_revoked",
                )
            case KeyState.EXPIRED:
                raise Unauthorized(
                    f"the key {key.id} has expired; use its successor, or ask an administrator for "
                    "another",
                    code="api_key_expired",
                )
            case KeyState.ACTIVE:
                pass
        age = ring.age_seconds
        if age > (KNOWN_SECONDS if is_reading else FRESH_SECONDS):
            raise DatabaseLost(
                f"whether key {key.id} is still of use was last read {age:.0f} s ago"
            )
        caller = key.to_caller()
        if not caller.is_admin:
            self._count(caller)
        ring.used(key.id)
        return caller

    def _count(self, caller: Caller) -> None:
        # By services, so that a key and its successor, or two keys of one service, share a quota.
        whose = "name " + caller.name
        if caller.services is not None:
            whose = "services " + " ".join(sorted(caller.services))
        if (wait := self._requests.take(whose, self._monotonic())) > 0:
            raise Throttled(
                f"too many requests of {whose}; wait as Retry-After says",
                code="too_many_requests",
                retry_after_seconds=wait,
            )


def _proved(parts: KeyParts, stored: StoredKey | None) -> StoredKey | None:
    """Return the stored key if the secret is its own; found out in constant time."""
    expected = _NOBODY if stored is None else stored.secret_hash
    return stored if hmac.compare_digest(parts.digest, expected) else None


def _place(address: str) -> str:
    """Name what one caller can easily come from: an address, of IPv6 the network of its host."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)
