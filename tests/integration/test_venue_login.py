"""Refused logins told apart, against the simulator over real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from bybit_sim import Simulator
from support.http_stage import HANG, answer, answering
from support.sim_client import KEY, PRIVATE, SECRET, client_of, running
from ws_gateway.venue.auth import Credentials, signature
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.login import LoginDiagnosis, LoginFault, LoginInquiry
from ws_gateway.venue.rest import BybitRest

OWN = Credentials(KEY, SECRET)
VALIDITY_SECONDS = 10.0


def clock_us() -> int:
    """Return Unix time, µs."""
    return time.time_ns() // 1000


class Bench:
    """A login and the inquiry behind it, as a session has them."""

    def __init__(
        self, sim: Simulator, rest: BybitRest, elsewhere: Mapping[str, BybitRest] | None
    ) -> None:
        self._sim = sim
        self.clock = VenueClock(rest, clock_us=clock_us)
        self.inquiry = LoginInquiry(
            rest, self.clock, validity_seconds=VALIDITY_SECONDS, elsewhere=elsewhere
        )

    async def log_in(self, credentials: Credentials) -> str | None:
        """Log in; answers the words of a refusal, None if it was taken."""
        expires = self.clock.now_ms() + int(VALIDITY_SECONDS * 1000)
        async with client_of(self._sim, PRIVATE) as client:
            signed = signature(credentials.secret, expires)
            await client.send(op="auth", args=[credentials.key, expires, signed])
            reply = await client.reply()
        return None if reply["success"] else str(reply["ret_msg"])

    async def refused(self, credentials: Credentials = OWN) -> LoginDiagnosis:
        """Log in, be refused, and find out why."""
        words = await self.log_in(credentials)
        assert words is not None
        diagnosis = await self.inquiry.diagnose(words, credentials)
        for hidden in (credentials.key, credentials.secret):
            assert hidden not in diagnosis.detail
        return diagnosis


@asynccontextmanager
async def bench(
    elsewhere: Mapping[str, BybitRest] | None = None,
) -> AsyncIterator[tuple[Simulator, Bench]]:
    """Run a simulator and a bench before it."""
    async with running() as sim, BybitRest(sim.rest_url) as rest:
        yield sim, Bench(sim, rest, elsewhere)


@pytest.mark.parametrize(
    ("reason", "fault", "remedy"),
    [
        ("expired", LoginFault.CLOCK_SKEW, "keep its time"),
        ("wrong_key", LoginFault.WRONG_KEY, "WSG_BYBIT_API_KEY"),
        ("wrong_signature", LoginFault.WRONG_SIGNATURE, "WSG_BYBIT_API_SECRET"),
        ("wrong_environment", LoginFault.WRONG_ENVIRONMENT, "WSG_BYBIT_ENVIRONMENT"),
        ("expired_key", LoginFault.EXPIRED_KEY, "renew the key"),
        ("ip_not_allowed", LoginFault.IP_NOT_ALLOWED, "address"),
    ],
)
async def test_each_reason_is_found(reason: str, fault: LoginFault, remedy: str) -> None:
    """Each reason has its name and its remedy, and none is mended by asking."""
    async with bench() as (sim, at):
        await sim.fault("login_refused", reason=reason)
        diagnosis = await at.refused()
        assert diagnosis.fault is fault
        assert remedy in diagnosis.detail
        assert not diagnosis.is_mended


@pytest.mark.parametrize(
    ("credentials", "fault"),
    [
        (Credentials("a-mistyped-key", SECRET), LoginFault.WRONG_KEY),
        (Credentials(KEY, "a-mistyped-secret"), LoginFault.WRONG_SIGNATURE),
    ],
)
async def test_a_really_wrong_half_is_found(credentials: Credentials, fault: LoginFault) -> None:
    """Without any fault of the venue, a mistyped key and a mistyped secret differ."""
    async with bench() as (_, at):
        assert (await at.refused(credentials)).fault is fault


@pytest.mark.parametrize("behind", [30, 3600])
async def test_a_clock_that_is_behind_is_measured_and_made_up_for(behind: int) -> None:
    """After one refused login the next is reckoned with the venue's clock and taken."""
    async with bench() as (sim, at):
        await sim.fault("clock_skew", by_seconds=behind)
        diagnosis = await at.refused()
        assert diagnosis.fault is LoginFault.CLOCK_SKEW
        assert diagnosis.is_mended
        assert f"{behind}." in diagnosis.detail
        assert "behind" in diagnosis.detail
        assert await at.log_in(OWN) is None


async def test_a_clock_that_was_made_up_for_is_not_blamed_again() -> None:
    """With the offset known, another reason is found behind the same skew."""
    async with bench() as (sim, at):
        await sim.fault("clock_skew", by_seconds=30)
        await at.clock.measure()
        await sim.fault("login_refused", reason="ip_not_allowed")
        assert (await at.refused()).fault is LoginFault.IP_NOT_ALLOWED


async def test_a_clock_set_right_after_it_was_measured_is_measured_anew() -> None:
    """An offset that is no longer true is found by the next refusal."""
    async with bench() as (sim, at):
        fault = await sim.fault("clock_skew", by_seconds=-30)
        await at.clock.measure()
        sim.clear_faults(fault.name)
        assert (await at.refused()).fault is LoginFault.CLOCK_SKEW
        assert await at.log_in(OWN) is None


async def test_a_key_of_another_environment_is_found_there() -> None:
    """10003 is both a wrong key and a wrong environment; the other environment knows."""
    foreign = Credentials("key-of-testnet", "secret-of-testnet")
    async with (
        running(api_key=foreign.key, api_secret=foreign.secret) as other,
        BybitRest(other.rest_url) as testnet,
        bench({"testnet": testnet}) as (_, at),
    ):
        diagnosis = await at.refused(foreign)
        assert diagnosis.fault is LoginFault.WRONG_ENVIRONMENT
        assert "testnet knows it" in diagnosis.detail
        unknown = await at.refused(Credentials("key-of-nobody", "secret"))
        assert unknown.fault is LoginFault.WRONG_KEY


async def test_rest_away_leaves_it_open_and_says_both() -> None:
    """Nothing is guessed while nobody can be asked."""
    async with answering(answer("<html>", 502)) as stage, BybitRest(stage.url) as rest:
        clock = VenueClock(rest, clock_us=clock_us)
        diagnosis = await LoginInquiry(rest, clock).diagnose("API key is invalid.", OWN)
        assert diagnosis.fault is LoginFault.UNKNOWN
        assert not diagnosis.is_mended
        assert "API key is invalid." in diagnosis.detail
        assert "REST is away: HTTP 502" in diagnosis.detail


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("Params Error", LoginFault.UNKNOWN),
        ("API key is invalid.", LoginFault.WRONG_KEY),
        (f"error sign! origin_string[{KEY}]", LoginFault.WRONG_SIGNATURE),
    ],
)
async def test_words_count_where_rest_finds_nothing_wrong(words: str, fault: LoginFault) -> None:
    """The socket's words are the last resort, and never show the key."""
    async with bench() as (_, at):
        diagnosis = await at.inquiry.diagnose(words, OWN)
        assert diagnosis.fault is fault
        assert KEY not in diagnosis.detail
        assert f"{KEY[:4]}…" in diagnosis.detail


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("API key is invalid.", LoginFault.WRONG_KEY),
        ("Your api key has expired.", LoginFault.EXPIRED_KEY),
        ("Params Error", LoginFault.UNKNOWN),
    ],
)
async def test_words_count_where_rest_does_not_tell_of_keys(words: str, fault: LoginFault) -> None:
    """The demo environment may not serve the path; then the socket's words are all there is."""
    time_now = answer(
        f'{{"retCode":0,"result":{{"timeSecond":"1","timeNano":"{clock_us() * 1000}"}}}}'
    )
    refusal = answer('{"retCode":10032,"retMsg":"Demo trading are not supported."}')
    async with answering(time_now, refusal) as stage, BybitRest(stage.url) as rest:
        clock = VenueClock(rest, clock_us=clock_us)
        diagnosis = await LoginInquiry(rest, clock).diagnose(words, OWN)
        assert diagnosis.fault is fault
        assert "10032" in diagnosis.detail
        assert words in diagnosis.detail


async def test_an_inquiry_can_be_cancelled_at_once() -> None:
    """A session that stops does not wait for REST."""
    async with answering(HANG) as stage, BybitRest(stage.url) as rest:
        inquiry = LoginInquiry(rest, VenueClock(rest, clock_us=clock_us))
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(inquiry.diagnose("Params Error", OWN), 0.1)
        assert time.monotonic() - began < 5  # the answer never comes; REST is asked for 10 s
