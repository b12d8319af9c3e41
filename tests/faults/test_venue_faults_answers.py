"""Faults of what the venue answers: pongs, acks, refusals, logins, and its clock."""

from __future__ import annotations

import asyncio
import time

import pytest

from support.fault_stage import FaultStage, faulting
from support.feed_stage import QUICK, QUICK_SPACING
from support.scripted_venue import book, ticker
from support.sim_client import LINEAR, OPTION, PRIVATE, SPOT
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, build_topic
from ws_gateway.ports.feed import SessionState

BOOK, TICKER, LATER = book(), ticker("BTCUSDT"), ticker("ETHUSDT")
BOTH = (BOOK, TICKER)
LONGEST_PAUSE = QUICK_SPACING.login_pause_cap
ORDERS, EXECUTIONS = build_topic(Channel.ORDER), build_topic(Channel.EXECUTION)
OF_SPOT = tuple(
    book(symbol, Category.SPOT, depth)
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    for depth in (1, 50, 200, 1000)
)
WORDS = {
    "expired": "Params Error",
    "wrong_key": "API key is invalid.",
    "wrong_signature": "Params Error",
    "wrong_environment": "API key is invalid for this environment.",
    "expired_key": "Your api key has expired.",
    "ip_not_allowed": "Unmatched IP",
}
"""What the venue says of each reason a login is refused for."""

REMEDY = {
    "expired": "clock",
    "wrong_key": "key",
    "wrong_signature": "secret",
    "wrong_environment": "environment",
    "expired_key": "renew",
    "ip_not_allowed": "address",
}
"""A word that whoever must put it right has to read."""


# ── pongs and acks ────────────────────────────────────────────────────────────────────────────


async def test_missing_pongs() -> None:
    """Data is no proof of life: the socket is left at its deadline, and all is whole afterwards."""
    async with faulting() as stage:
        await stage.flow(*BOTH)
        first = stage.venue.connections[0].id
        await stage.begin("missing_pongs", path=LINEAR)
        await stage.until(lambda: first not in [each.id for each in stage.venue.connections])
        stage.venue.clear_faults()
        await stage.settle(*BOTH)
        assert set(stage.breaks(TICKER)) == {"disconnect"}
        assert stage.attempts() <= 4


async def test_late_acks() -> None:
    """Within the deadline nothing happens but waiting; data that comes first is not refused."""
    async with faulting() as stage:
        await stage.flow(BOOK)
        fault = await stage.begin("late_acks", delay_seconds=0.3, count=2)
        await stage.flow(TICKER)
        assert stage.state_of(TICKER) is State.ACTIVE
        stage.feed.drop([BOOK])
        stage.feed.want([BOOK])
        await stage.until(lambda: fault.hits == 2 and stage.breaks(BOOK) == ["resubscribe"])
        await stage.settle(*BOTH)
        assert stage.attempts() == 1
        stage.assert_undisturbed([TICKER])


async def test_missing_acks() -> None:
    """Data proves a subscription as well as an ack would, so nothing is cut for want of one."""
    async with faulting() as stage:
        await stage.flow(*BOTH)
        await stage.begin("missing_acks")
        await stage.flow(LATER)
        await asyncio.sleep(QUICK.ack_deadline + 0.5)
        stage.venue.clear_faults()
        await stage.settle(*BOTH, LATER)
        assert set(stage.breaks(TICKER)) <= {"disconnect"}
        assert stage.attempts() <= 4


async def test_missing_acks_where_nothing_else_tells() -> None:
    """A login that gets no answer ends the socket at its deadline; public data does not notice."""
    async with faulting() as stage:
        await stage.flow(*BOTH)
        await stage.begin("missing_acks", path=PRIVATE)
        stage.feed.want([ORDERS, EXECUTIONS])
        await stage.until(
            lambda: "no answer to the login" in str(stage.status("private").last_error)
        )
        assert stage.state_of(ORDERS) is not State.ACTIVE
        stage.venue.clear_faults()
        await stage.settle(*BOTH, ORDERS, EXECUTIONS)
        await private_flows(stage)
        stage.assert_undisturbed(BOTH)
        assert stage.attempts() <= 6


# ── refusals ──────────────────────────────────────────────────────────────────────────────────


async def test_refused_acks() -> None:
    """A request that is refused as a whole, for no topic's fault, is asked again in parts."""
    async with faulting() as stage:
        fault = await stage.begin("refused_acks", path=LINEAR, count=1)
        await stage.flow(BOOK, TICKER, LATER)
        await stage.settle(BOOK, TICKER, LATER)
        assert fault.hits == 1
        assert not [each for each in stage.changes if each[1] is State.REJECTED]
        assert stage.attempts() == 1


async def test_refused_acks_of_one_topic() -> None:
    """Words that blame nobody are shown, the others flow, and it is asked for again by itself."""
    async with faulting() as stage:
        await stage.flow(*BOTH)
        await stage.begin("refused_acks", text="error:come back later", count=1)
        stage.feed.want([LATER])
        words = "error:come back later; asked for again at 20"
        await stage.until(lambda: (stage.words_of(LATER) or "").startswith(words))
        assert stage.state_of(LATER) is State.REQUESTED
        await stage.settle(*BOTH)
        await stage.until(lambda: stage.is_active(LATER))
        await stage.settle(LATER)
        stage.assert_undisturbed(BOTH)


async def test_refused_acks_of_an_unsubscription() -> None:
    """A book that is to be mended is mended although its unsubscription was refused."""
    async with faulting() as stage:
        await stage.flow(*BOTH)
        await stage.begin("refused_acks", op="unsubscribe", count=1)
        await stage.begin("update_gap", topic=BOOK.name, path=LINEAR)
        await stage.until(lambda: stage.breaks(BOOK) == ["sequence"])
        await stage.settle(*BOTH)
        stage.assert_undisturbed([TICKER])


async def test_args_size() -> None:
    """Requests the venue finds too long are divided until it takes them; no topic is rejected."""
    async with faulting() as stage:
        fault = await stage.begin("args_size", most=3)
        await stage.flow(*OF_SPOT)
        await stage.begin("drop", path=SPOT)
        await stage.until(lambda: stage.breaks(OF_SPOT[0]) == ["disconnect"])
        await stage.settle(*OF_SPOT)
        assert fault.hits > 0
        assert all(len(names) <= 10 for names in stage.asked("subscribe", SPOT))
        assert not [each for each in stage.changes if each[1] is State.REJECTED]
        assert stage.attempts() == 2


async def test_handler_not_found() -> None:
    """A topic that was taken away is rejected alone after the next loss; given back, it comes."""
    others = (TICKER, LATER)
    async with faulting() as stage:
        await stage.flow(BOOK, *others)
        await stage.begin("handler_not_found", topic=BOOK.name)
        await stage.begin("drop", path=LINEAR)
        await stage.until(lambda: stage.state_of(BOOK) is State.REJECTED)
        words = stage.words_of(BOOK) or ""
        assert words.startswith(f"error:handler not found,topic:{BOOK.name}; Bybit offers no such")
        assert "; asked for again at 20" in words  # it has brought data
        await stage.settle(*others)
        assert stage.status().active_subscriptions == 2
        stage.venue.clear_faults()
        await stage.flow(BOOK)
        await stage.settle(BOOK, *others)
        assert stage.breaks(TICKER) == ["disconnect"]
        assert stage.attempts() == 2


async def test_handler_not_found_where_the_ack_proves_nothing() -> None:
    """Listed as a success and never told, an option topic is not called active."""
    good = ticker("BTC-25JUN27-106000-C-USDT", Category.OPTION)
    bad = ticker("BTC-25JUN27-106000-P-USDT", Category.OPTION)
    async with faulting() as stage:
        await stage.begin("handler_not_found", topic=bad.name, path=OPTION)
        stage.feed.want([good, bad])
        await stage.hear(good)
        assert stage.state_of(bad) is not State.ACTIVE
        await stage.until(lambda: stage.state_of(bad) is State.REJECTED)
        assert stage.words_of(bad)
        await stage.settle(good)
        stage.assert_undisturbed([good])
        assert stage.attempts() == 1


# ── logins ────────────────────────────────────────────────────────────────────────────────────


async def private_flows(stage: FaultStage) -> None:
    """Trade, and wait until it is told."""
    before = len(stage.facts(EXECUTIONS))
    stage.venue.place_market_order("BTCUSDT", "Buy", "0.010")
    await stage.until(lambda: len(stage.facts(EXECUTIONS)) > before)


@pytest.mark.parametrize("reason", WORDS)
async def test_login_refused(reason: str) -> None:
    """Private data stops, says why and what to do, and is gentle; public data does not notice."""
    private = (ORDERS, EXECUTIONS)
    async with faulting(login_pause=0.5) as stage:
        await stage.begin("login_refused", reason=reason)
        stage.feed.want([*private, *BOTH])
        began = time.monotonic()
        await stage.hear(*BOTH, count=6)
        await stage.until(lambda: REMEDY[reason] in str(stage.status("private").last_error).lower())
        status = stage.status("private")
        assert WORDS[reason] in str(status.last_error)
        assert status.connection_status is not SessionState.STREAMING
        assert status.active_subscriptions == 0
        await stage.until(lambda: WORDS[reason] in str(stage.words_of(ORDERS)))
        assert len(stage.asked("auth")) <= 4 + (time.monotonic() - began) / LONGEST_PAUSE
        stage.assert_undisturbed(BOTH)
        stage.venue.clear_faults()
        await stage.settle(*private, *BOTH)
        await private_flows(stage)
        stage.assert_undisturbed(BOTH)


@pytest.mark.parametrize("by_seconds", [30, -30])
async def test_clock_skew(by_seconds: int) -> None:
    """Whatever the venue's clock shows, streams that stand go on; stamps are passed on as told."""
    async with faulting() as stage:
        await stage.flow(*BOTH, ORDERS, EXECUTIONS)
        before = stage.facts(TICKER)[-1].observation.timestamp
        await stage.begin("clock_skew", by_seconds=by_seconds)
        await stage.hear(*BOTH, count=10)
        after = stage.facts(TICKER)[-1].observation.timestamp
        assert abs(after - before - by_seconds * 1000) < 5_000
        await private_flows(stage)
        stage.assert_undisturbed([*BOTH, ORDERS])
        assert stage.attempts() == 2


@pytest.mark.parametrize("by_seconds", [30, -30, 3600])
async def test_clock_skew_is_made_up_for(by_seconds: int) -> None:
    """A login the venue finds late is repeated by the venue's own clock; private data flows."""
    async with faulting(login_pause=0.2) as stage:
        await stage.flow(ORDERS, EXECUTIONS)
        await private_flows(stage)
        await stage.begin("clock_skew", by_seconds=by_seconds)
        await stage.begin("drop", path=PRIVATE)
        await stage.until(lambda: stage.breaks(ORDERS) == ["disconnect"])
        await stage.settle(ORDERS, EXECUTIONS)
        await private_flows(stage)
        assert len(stage.asked("auth")) <= 4


async def test_an_answer_to_nobody_changes_nothing() -> None:
    """A late ack of a request that is of no concern any more is left aside, by rule."""
    async with faulting() as stage:
        await stage.flow(*BOTH)
        await stage.venue.inject(
            LINEAR,
            '{"success":false,"ret_msg":"error:handler not found","conn_id":"c","req_id":"999999",'
            '"op":"subscribe"}',
        )
        await asyncio.sleep(0.1)
        await stage.settle(*BOTH)
        stage.assert_undisturbed(BOTH)
        assert stage.quarantined == []
