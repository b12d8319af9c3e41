"""Logins that are refused, found out and mended, on a feed before the simulator."""

from __future__ import annotations

import time

import pytest

from support.feed_stage import clock_us, feeding
from support.http_stage import HANG, answering
from support.sim_client import KEY, SECRET, eventually, running
from ws_gateway.domain.topic import Channel, build_topic
from ws_gateway.runtime.counters import VenueTally
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.login import LoginInquiry
from ws_gateway.venue.rest import BybitRest

ORDER = build_topic(Channel.ORDER)


@pytest.mark.parametrize("ahead", [30, 3600])
async def test_a_clock_that_is_off_costs_one_login(ahead: int) -> None:
    """The second login is reckoned with the venue's clock, at once, and is taken."""
    async with running() as sim, BybitRest(sim.rest_url) as rest:
        await sim.fault("clock_skew", by_seconds=ahead)
        doctor = LoginInquiry(rest, VenueClock(rest, clock_us=clock_us))
        tally = VenueTally()
        async with feeding(sim.ws_url, doctor=doctor, tally=tally, login_pause=20.0) as stage:
            began = time.monotonic()
            stage.feed.want([ORDER])
            await eventually(lambda: stage.is_active(ORDER))
            assert time.monotonic() - began < 15  # less than the pause after a refusal
            assert doctor.offset_ms == pytest.approx(ahead * 1000, abs=5_000)
            assert sim.connection_attempts == tally.attempts["private"] == 2
            assert tally.login_failures == {("", "clock_skew"): 1}
            assert tally.losses == {("private", "login"): 1}


async def test_a_refusal_says_what_to_do_and_does_not_storm() -> None:
    """The topic says the remedy, in words without secrets, and logins stay rare."""
    async with running() as sim, BybitRest(sim.rest_url) as rest:
        await sim.fault("login_refused", reason="ip_not_allowed")
        doctor = LoginInquiry(rest, VenueClock(rest, clock_us=clock_us))
        async with feeding(sim.ws_url, doctor=doctor, login_pause=20.0) as stage:
            stage.feed.want([ORDER])
            await eventually(
                lambda: any("add this machine's address" in (c[2] or "") for c in stage.changes)
            )
            assert all(KEY not in (change[2] or "") for change in stage.changes)
            assert sim.connection_attempts == 1


async def test_renewed_credentials_log_in_without_waiting() -> None:
    """The right pair is used as soon as it is there."""
    async with running() as sim, BybitRest(sim.rest_url) as rest:
        doctor = LoginInquiry(rest, VenueClock(rest, clock_us=clock_us))
        async with feeding(sim.ws_url, secret="wrong", doctor=doctor, login_pause=20.0) as stage:
            stage.feed.want([ORDER])
            await eventually(lambda: any("SECRET" in (c[2] or "") for c in stage.changes))
            stage.feed.renew_credentials(Credentials(KEY, SECRET))
            await eventually(lambda: stage.is_active(ORDER))


async def test_stopping_does_not_wait_for_an_inquiry() -> None:
    """REST that hangs keeps nobody; the stage checks the time."""
    async with running() as sim, answering(HANG) as silent, BybitRest(silent.url) as rest:
        await sim.fault("login_refused", reason="wrong_key")
        doctor = LoginInquiry(rest, VenueClock(rest, clock_us=clock_us))
        async with feeding(sim.ws_url, doctor=doctor) as stage:
            stage.feed.want([ORDER])
            await eventually(lambda: bool(silent.targets))


async def test_while_it_is_being_found_out_why_a_login_is_refused_that_is_said() -> None:
    """Until REST answers the venue's words stand there, and that they are not all."""
    async with running() as sim, answering(HANG) as silent, BybitRest(silent.url) as rest:
        await sim.fault("login_refused", reason="wrong_key")
        doctor = LoginInquiry(rest, VenueClock(rest, clock_us=clock_us))
        async with feeding(sim.ws_url, doctor=doctor) as stage:
            stage.feed.want([ORDER])
            await eventually(lambda: bool(silent.targets))
            (private,) = stage.feed.connections()
            assert private.is_login_refused
            assert "why is being asked over REST" in (private.last_error or "")
