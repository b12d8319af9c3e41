"""Why a login was refused, found out where the socket does not say: from clock, REST, and words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from ws_gateway.errors import VenueLost
from ws_gateway.venue.auth import Credentials, where_it_is_set
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.rest import KeyInformation, RestRefused, fit_to_show

INQUIRY_DEADLINE_SECONDS = 15.0
"""How long finding out may take in all; a session waits for it before it tries again."""

_TRAVEL_MS = 1_000
"""What of a login's validity is left to the way to the venue."""


class LoginFault(StrEnum):
    """What is wrong with a login."""

    CLOCK_SKEW = "clock_skew"
    WRONG_KEY = "wrong_key"
    WRONG_SIGNATURE = "wrong_signature"
    WRONG_ENVIRONMENT = "wrong_environment"
    EXPIRED_KEY = "expired_key"
    IP_NOT_ALLOWED = "ip_not_allowed"
    NOT_ALLOWED = "not_allowed"
    """The account or the key may not do this, for another reason than its address."""
    UNKNOWN = "unknown"


_OF_CODE = {
    -1: LoginFault.CLOCK_SKEW,
    10_002: LoginFault.CLOCK_SKEW,
    401: LoginFault.WRONG_KEY,
    10_003: LoginFault.WRONG_KEY,
    10_004: LoginFault.WRONG_SIGNATURE,
    10_005: LoginFault.NOT_ALLOWED,
    10_007: LoginFault.NOT_ALLOWED,
    10_008: LoginFault.NOT_ALLOWED,
    10_009: LoginFault.NOT_ALLOWED,
    10_010: LoginFault.IP_NOT_ALLOWED,
    10_024: LoginFault.NOT_ALLOWED,
    10_027: LoginFault.NOT_ALLOWED,
    33_004: LoginFault.EXPIRED_KEY,
    -2015: LoginFault.EXPIRED_KEY,
}
"""What the numbers of REST mean for a login (v5 reference 12)."""

_KNOWN_KEY = frozenset(
    {LoginFault.WRONG_SIGNATURE, LoginFault.EXPIRED_KEY, LoginFault.IP_NOT_ALLOWED}
)
"""Refusals that only a key gets which the environment knows."""

_OF_WORDS = (
    ("environment", LoginFault.WRONG_ENVIRONMENT),
    ("key has expired", LoginFault.EXPIRED_KEY),
    ("unmatched ip", LoginFault.IP_NOT_ALLOWED),
    ("key is invalid", LoginFault.WRONG_KEY),
    ("sign", LoginFault.WRONG_SIGNATURE),
)
"""What the socket's words may mean; they are not documented, so numbers are asked for first."""

_REMEDY = {
    LoginFault.CLOCK_SKEW: "the next login is reckoned with the measured clock; "
    "let this machine keep its time (NTP)",
    LoginFault.WRONG_KEY: "check WSG_BYBIT_API_KEY: it is mistyped, deleted, or of another "
    "environment than WSG_BYBIT_ENVIRONMENT",
    LoginFault.WRONG_SIGNATURE: "check WSG_BYBIT_API_SECRET: it is not the secret of this key",
    LoginFault.WRONG_ENVIRONMENT: "correct WSG_BYBIT_ENVIRONMENT, or use a key of this environment",
    LoginFault.EXPIRED_KEY: "renew the key at Bybit (one without bound addresses lasts 90 days)",
    LoginFault.IP_NOT_ALLOWED: "add this machine's address to the key at Bybit",
    LoginFault.NOT_ALLOWED: "see at Bybit what the key and its account may do",
    LoginFault.UNKNOWN: "it is tried again; if this stays, check key, secret and environment",
}


@dataclass(frozen=True, slots=True)
class LoginDiagnosis:
    """What is wrong, and what to do.

    Attributes:
        fault: what was found.
        detail: a sentence for a person on call; never holds the secret or the whole key.
        is_mended: it was found and put right, so that the next login need not wait.
    """

    fault: LoginFault
    detail: str
    is_mended: bool


class KeyDesk(Protocol):
    """Who knows keys; `BybitRest`."""

    async def key_information(self, credentials: Credentials, at_ms: int) -> KeyInformation:
        """Return what is known of a key. Raises `VenueLost` or `RestRefused`."""


class LoginInquiry:
    """Finds out why a login was refused.

    Args:
        desk: REST of the environment that refused.
        clock: measured anew at each inquiry, and what logins are reckoned with.
        validity_seconds: how far ahead logins expire.
        elsewhere: REST of the other environments, asked about a key that this one does not know.
    """

    def __init__(
        self,
        desk: KeyDesk,
        clock: VenueClock,
        *,
        validity_seconds: float = 10.0,
        elsewhere: Mapping[str, KeyDesk] | None = None,
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._validity_ms = validity_seconds * 1000
        self._elsewhere = elsewhere or {}

    @property
    def offset_ms(self) -> int:
        """Milliseconds the venue's clock is ahead of ours, as measured last."""
        return self._clock.offset_ms

    async def diagnose(self, words: str, credentials: Credentials) -> LoginDiagnosis:
        """Find out why the venue refused a login with these words; never raises.

        Ends within `INQUIRY_DEADLINE_SECONDS`, and may be cancelled at any time.
        """
        try:
            async with asyncio.timeout(INQUIRY_DEADLINE_SECONDS):
                found = await self._diagnose(words, credentials)
        except TimeoutError:
            found = _unknown(words, credentials, "REST did not answer in time")
        return replace(found, detail=where_it_is_set(found.detail, credentials.account))

    async def _diagnose(self, words: str, credentials: Credentials) -> LoginDiagnosis:
        reckoned_ms = self._clock.offset_ms
        try:
            behind_ms = await self._clock.measure() - reckoned_ms
            if self._is_skewed(behind_ms):
                return _clock_skew(behind_ms)
            known = await self._desk.key_information(credentials, self._clock.now_ms())
        except VenueLost as exc:
            return _unknown(words, credentials, f"REST is away: {exc.detail}")
        except RestRefused as exc:
            return await self._of_refusal(exc, words, credentials)
        return self._of_known(known, words, credentials)

    def _is_skewed(self, behind_ms: int) -> bool:
        """Say whether a login reckoned with the former offset could not be taken."""
        limit = max(_TRAVEL_MS, self._validity_ms - _TRAVEL_MS)
        return not -self._validity_ms < behind_ms < limit

    async def _of_refusal(
        self, refusal: RestRefused, words: str, credentials: Credentials
    ) -> LoginDiagnosis:
        answer = f"{refusal.words} ({refusal.ret_code})"
        fault = _OF_CODE.get(refusal.ret_code)
        if fault is None:  # a number that says nothing of keys: this desk may not tell of them
            by_words = _by_words(words)
            said = (
                f"the login with key {credentials.shown} was refused: {_said(words, credentials)}"
            )
            if by_words is None:
                return _unknown(words, credentials, f"REST said: {answer}")
            return _diagnosis(by_words, f"{said}; REST said: {answer}")
        said = f"the login was refused; Bybit says of key {credentials.shown}: {answer}"
        if fault is LoginFault.WRONG_KEY:
            if _by_words(refusal.words) is LoginFault.WRONG_ENVIRONMENT:
                fault = LoginFault.WRONG_ENVIRONMENT
            elif home := await self._home_of(credentials):
                fault, said = LoginFault.WRONG_ENVIRONMENT, f"{said}; {home} knows it"
        if fault is LoginFault.CLOCK_SKEW:
            said = (
                "the login was refused; Bybit says that a call came too late or too early: "
                f"{answer}, although the clocks are known to be {self._clock.offset_ms} ms apart"
            )
        return _diagnosis(fault, said)

    async def _home_of(self, credentials: Credentials) -> str | None:
        """Name the environment that knows a key; None if none does, or does not answer."""
        for name, desk in self._elsewhere.items():
            try:
                await desk.key_information(credentials, self._clock.now_ms())
            except VenueLost:
                continue
            except RestRefused as exc:
                if _OF_CODE.get(exc.ret_code) not in _KNOWN_KEY:
                    continue
            return name
        return None

    def _of_known(
        self, known: KeyInformation, words: str, credentials: Credentials
    ) -> LoginDiagnosis:
        """Judge by the socket's words what REST finds nothing wrong with."""
        fault = _by_words(words)
        if fault is None:
            return _unknown(words, credentials, "REST finds nothing wrong with the key")
        bound = ", ".join(known.ips) or "no address"
        said = (
            f"the login with key {credentials.shown} was refused ({_said(words, credentials)}), "
            f"while REST takes the key (bound to {bound}; expires {known.end_in_words})"
        )
        return _diagnosis(fault, said)


def _clock_skew(behind_ms: int) -> LoginDiagnosis:
    way = "behind" if behind_ms > 0 else "ahead of"
    return _diagnosis(
        LoginFault.CLOCK_SKEW,
        f"logins were reckoned {abs(behind_ms) / 1000:.1f} s {way} Bybit's clock",
        is_mended=True,
    )


def _unknown(words: str, credentials: Credentials, why: str) -> LoginDiagnosis:
    by_words = _by_words(words)
    guess = f" (the words mean {by_words.value} elsewhere)" if by_words else ""
    return _diagnosis(
        LoginFault.UNKNOWN,
        f"the login with key {credentials.shown} was refused: "
        f"{_said(words, credentials)}{guess}; {fit_to_show(why, credentials)}",
    )


def _diagnosis(fault: LoginFault, said: str, *, is_mended: bool = False) -> LoginDiagnosis:
    return LoginDiagnosis(fault, f"{said}; {_REMEDY[fault]}", is_mended)


def _by_words(words: str) -> LoginFault | None:
    lowered = words.lower()
    return next((fault for part, fault in _OF_WORDS if part in lowered), None)


def _said(words: str, credentials: Credentials) -> str:
    return fit_to_show(words, credentials) or "without words"
