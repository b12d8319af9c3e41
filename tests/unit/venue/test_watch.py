"""Stalled topics are told from quiet ones, and only the stalled are acted on."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from support.scripted_venue import (
    ScriptedVenue,
    book,
    data_frame,
    encode,
    requests_of,
    state_of,
    ticker,
)
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, Endpoint, Topic, build_topic
from ws_gateway.venue.protocol import Conversation, Timing

TICKERS = [ticker(f"T{number}USDT") for number in range(5)]
LIVELY, *OTHERS = TICKERS
TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")
CANDLES = build_topic(Channel.KLINE, category=Category.LINEAR, symbol="BTCUSDT", interval="1")
LIQUIDATIONS = build_topic(Channel.LIQUIDATION, category=Category.LINEAR, symbol="BTCUSDT")
TOP = book(depth=1)
TIMING = Timing(ping_interval=1e6, ack_deadline=1e6)


@dataclass
class Watched:
    """A socket on which a script lets time pass, second by second."""

    topics: list[Topic]
    endpoint: Endpoint = Endpoint.LINEAR
    now: float = 100.0
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open the socket with everything acknowledged."""
        self.open()

    def open(self) -> None:
        """Open a socket with everything acknowledged, in place of one there was."""
        former = getattr(self, "conversation", None)
        self.conversation = Conversation(self.endpoint, timing=TIMING)
        self.conversation.want(self.topics, self.now)
        if former is not None:
            self.conversation.succeed(former)
        self.conversation.opened(self.now, 0)
        if self.endpoint is Endpoint.LINEAR:
            ScriptedVenue().talk(self.conversation, self.now)
        else:
            requests_of(self.conversation)

    def run(self, seconds: float, every: dict[Topic, float], step: float = 0.25) -> None:
        """Let time pass while topics tell something at their intervals."""
        due = {topic: self.now + interval for topic, interval in every.items()}
        ends = self.now + seconds
        while self.now < ends:
            self.now += step
            for topic, interval in every.items():
                if self.now >= due[topic]:
                    self.conversation.receive(data_frame(topic), self.now)
                    due[topic] = self.now + interval
            self.conversation.tick(self.now)
            for request in requests_of(self.conversation):
                for name in request["args"]:
                    self.asked.append((request["op"], name))
                if self.endpoint is Endpoint.LINEAR:
                    ok = encode(success=True, op=request["op"], req_id=request["req_id"])
                    self.conversation.receive(ok, self.now)

    def state(self, topic: Topic) -> State:
        """Say what state a topic has."""
        state = state_of(self.conversation, topic)
        assert state is not None
        return state

    def stalls(self) -> list[Topic]:
        """Take the topics that fell silent."""
        return [stall.topic for stall in self.conversation.take_stalls()]


def test_a_lively_topic_that_falls_silent_is_noticed_in_seconds_and_asked_again_alone() -> None:
    """Pongs and the other topics go on; only the silent one is touched."""
    watched = Watched(TICKERS)
    watched.run(120, dict.fromkeys(TICKERS, 0.5))
    assert watched.asked == []
    watched.run(8, dict.fromkeys(OTHERS, 0.5))
    assert watched.state(LIVELY) is State.STALLED
    assert watched.stalls() == [LIVELY]
    assert watched.asked == [("unsubscribe", LIVELY.name), ("subscribe", LIVELY.name)]
    assert all(watched.state(topic) is State.ACTIVE for topic in OTHERS)
    assert watched.conversation.take_hopeless() is None


def test_data_make_a_stalled_topic_active_again() -> None:
    """Whatever brought them back."""
    watched = Watched(TICKERS)
    watched.run(120, dict.fromkeys(TICKERS, 0.5))
    watched.run(8, dict.fromkeys(OTHERS, 0.5))
    watched.run(2, dict.fromkeys(TICKERS, 0.5))
    assert watched.state(LIVELY) is State.ACTIVE


def test_a_topic_that_stays_silent_costs_its_socket_once_and_is_then_asked_ever_more_rarely() -> (
    None
):
    """Replacement is proposed once; after that the pauses double."""
    watched = Watched(TICKERS)
    watched.run(120, dict.fromkeys(TICKERS, 0.5))
    watched.run(20, dict.fromkeys(OTHERS, 0.5))
    assert LIVELY.name in (watched.conversation.take_hopeless() or "")
    before = len(watched.asked)
    watched.run(600, dict.fromkeys(OTHERS, 0.5))
    assert watched.conversation.take_hopeless() is None
    assert 4 <= len(watched.asked) - before <= 12
    assert watched.state(LIVELY) is State.STALLED


@pytest.mark.parametrize("interval", [2.0, 6.0, 20.0, 60.0])
def test_a_quiet_market_raises_no_alarm(interval: float) -> None:
    """What counts is how long this topic has been silent before."""
    quiet = book("QUIETUSDT")
    watched = Watched([quiet, *TICKERS])
    every = {**dict.fromkeys(TICKERS, 0.5), quiet: interval}
    watched.conversation.receive(data_frame(quiet), watched.now)
    watched.run(25, every)  # it is known by now, or falls under what is allowed at first
    watched.stalls()
    watched.run(1800, every, step=0.5)
    assert watched.stalls() in ([], [quiet])  # a silence of a minute is learned by one question
    assert all(watched.state(topic) is State.ACTIVE for topic in (quiet, *TICKERS))


def test_a_market_that_grows_quiet_slowly_raises_no_alarm() -> None:
    """Each silence is a little longer than the ones before."""
    topic = book("NIGHTUSDT")
    watched = Watched([topic, *TICKERS])
    watched.run(120, {**dict.fromkeys(TICKERS, 0.5), topic: 0.5})
    for interval in (1, 2, 4, 8, 16, 32, 60):
        watched.run(interval * 10, {**dict.fromkeys(TICKERS, 0.5), topic: interval})
    assert watched.stalls() == []


def test_topics_that_may_be_silent_for_days_are_left_alone() -> None:
    """Liquidations, and trades of a symbol that was never lively."""
    watched = Watched([LIQUIDATIONS, TRADES])
    watched.run(4000, {TRADES: 900.0}, step=1.0)
    assert watched.asked == []
    assert watched.state(LIQUIDATIONS) is watched.state(TRADES) is State.ACTIVE


def test_lively_trades_that_stop_are_noticed() -> None:
    """A symbol with trades every second is not silent for minutes."""
    watched = Watched([TRADES, *TICKERS])
    watched.run(400, {**dict.fromkeys(TICKERS, 0.5), TRADES: 1.0})
    watched.run(70, dict.fromkeys(TICKERS, 0.5))
    assert watched.stalls() == [TRADES]


def test_a_silence_in_which_the_socket_was_replaced_does_not_hide_the_next() -> None:
    """Trades stop for 58 s, their socket is replaced meanwhile, and later they stop for good."""
    watched = Watched([TRADES, *TICKERS])
    ticking = dict.fromkeys(TICKERS, 0.5)
    watched.run(120, {**ticking, TRADES: 0.25})
    watched.run(15, ticking)
    watched.open()
    watched.run(43, ticking)
    watched.run(120, {**ticking, TRADES: 0.25})
    assert watched.stalls() == []
    watched.run(65, ticking)
    assert watched.stalls() == [TRADES]
    assert watched.state(TRADES) is State.STALLED


def test_a_stall_that_a_new_socket_did_not_cure_does_not_hide_the_next() -> None:
    """What the ticker was silent for is no measure of what it may be silent for."""
    watched = Watched(TICKERS)
    watched.run(120, dict.fromkeys(TICKERS, 0.5))
    watched.run(16, dict.fromkeys(OTHERS, 0.5))
    watched.open()
    watched.run(8, dict.fromkeys(OTHERS, 0.5))
    watched.run(60, dict.fromkeys(TICKERS, 0.5))
    watched.stalls()
    watched.run(20, dict.fromkeys(OTHERS, 0.5))
    assert watched.stalls() == [LIVELY]


def test_a_quiet_market_stays_quiet_on_the_next_socket() -> None:
    """Its pace came with it, so nobody is asked again for a silence that is its own."""
    quiet = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="QUIETUSDT")
    watched = Watched([quiet, *TICKERS])
    every = {**dict.fromkeys(TICKERS, 0.5), quiet: 50.0}
    watched.run(12_000, every, step=0.5)
    watched.open()
    watched.run(1000, every, step=0.5)
    assert watched.stalls() == []


def test_a_book_of_depth_one_is_told_again_every_three_seconds() -> None:
    """Known from the venue's promise, so it need not be learned."""
    watched = Watched([TOP, *TICKERS])
    every = dict.fromkeys(TICKERS, 0.5)
    watched.run(12, {**every, TOP: 3.0})
    assert watched.stalls() == []
    watched.run(12, every)
    assert watched.stalls() == [TOP]


def test_candles_are_told_once_a_minute_at_least() -> None:
    """A minute is no alarm, minutes are one."""
    watched = Watched([CANDLES, *TICKERS])
    every = dict.fromkeys(TICKERS, 0.5)
    watched.run(600, {**every, CANDLES: 60.0})
    assert watched.stalls() == []
    watched.run(310, every)
    assert watched.stalls() == [CANDLES]


def test_when_most_topics_fall_silent_at_once_the_socket_is_suspected() -> None:
    """None is asked alone; what had no pace of its own is called missed as well."""
    watched = Watched([TRADES, LIQUIDATIONS, *TICKERS])
    watched.run(120, {**dict.fromkeys(TICKERS, 0.5), TRADES: 5.0})
    watched.run(10, {})
    assert "5 of 5" in (watched.conversation.take_hopeless() or "")
    assert watched.asked == []
    assert set(watched.stalls()) == {TRADES, LIQUIDATIONS, *TICKERS}
    assert watched.state(TRADES) is State.ACTIVE


def test_maintenance_is_borne_with() -> None:
    """What is silent is said, for no data is no data; it is acted on when the maintenance ends."""
    watched = Watched(TICKERS)
    watched.run(120, dict.fromkeys(TICKERS, 0.5))
    watched.conversation.is_excused = True
    watched.run(600, {})
    assert (set(watched.stalls()), watched.asked) == (set(TICKERS), [])
    assert watched.conversation.take_hopeless() is None
    watched.conversation.is_excused = False
    watched.run(20, {})
    assert watched.conversation.take_hopeless() is not None


def test_a_process_that_was_frozen_blames_nobody() -> None:
    """What came meanwhile has yet to be read."""
    watched = Watched(TICKERS)
    watched.run(120, dict.fromkeys(TICKERS, 0.5))
    watched.now += 20
    watched.run(5, dict.fromkeys(TICKERS, 0.5))
    assert watched.stalls() == []


def test_first_data_that_do_not_come_are_noticed() -> None:
    """An ack is not data; but no socket is spent on a topic that may have nothing to tell."""
    watched = Watched(TICKERS)
    watched.run(12, dict.fromkeys(OTHERS, 0.5))
    assert watched.stalls() == [LIVELY]
    watched.run(600, dict.fromkeys(OTHERS, 0.5))
    assert watched.conversation.take_hopeless() is None
    assert watched.state(LIVELY) is State.STALLED


# ── acks that prove nothing ───────────────────────────────────────────────────────────────────

OPTION = ticker("BTC-27DEC26-100000-C-USDT", Category.OPTION)
NOWHERE = ticker("BTC-27DEC26-1-C-USDT", Category.OPTION)
COIN = build_topic(Channel.TRADES, category=Category.OPTION, symbol="BTC")


def options(*topics: Topic) -> Watched:
    """Open an option socket whose topics are all acknowledged."""
    watched = Watched(list(topics), Endpoint.OPTION)
    names = [topic.name for topic in topics]
    ok = encode(success=True, type="COMMAND_RESP", data={"failTopics": [], "successTopics": names})
    watched.conversation.receive(ok, watched.now)
    return watched


def test_an_option_topic_that_brings_nothing_is_rejected_while_others_flow() -> None:
    """The option socket acknowledges topics that do not exist."""
    watched = options(OPTION, NOWHERE, COIN)
    watched.run(5, {OPTION: 1.0})
    assert watched.state(NOWHERE) is State.PENDING
    watched.run(7, {OPTION: 1.0})
    assert watched.state(NOWHERE) is State.REJECTED
    change = next(c for c in watched.conversation.take_changes() if c.state is State.REJECTED)
    assert "no data came in 10 s" in (change.error or "")
    assert watched.state(COIN) is State.ACTIVE  # trades may be silent


def test_late_data_prove_that_an_option_topic_exists() -> None:
    """Our judgement yields to the venue's data, on this socket or on the next."""
    watched = options(OPTION, NOWHERE)
    watched.run(12, {OPTION: 1.0})
    watched.run(2, {OPTION: 1.0, NOWHERE: 1.0})
    assert watched.state(NOWHERE) is State.ACTIVE


def test_an_option_topic_judged_by_its_silence_gets_another_chance_on_the_next_socket() -> None:
    """Nobody but us refused it."""
    watched = options(OPTION, NOWHERE)
    watched.run(12, {OPTION: 1.0})
    watched.conversation.lost()
    assert watched.state(NOWHERE) is State.REQUESTED


def test_a_wholly_silent_option_socket_is_not_blamed_on_its_topics_at_once() -> None:
    """Nothing flows at all: it may be the socket; in the end something must be said."""
    watched = options(NOWHERE)
    watched.run(20, {})
    assert watched.state(NOWHERE) is State.PENDING
    watched.run(15, {})
    assert watched.state(NOWHERE) is State.REJECTED


def test_one_stall_does_not_hide_the_next() -> None:
    """A pace that is known is not forgotten over one long silence."""
    watched = Watched(TICKERS)
    watched.run(120, dict.fromkeys(TICKERS, 0.5))
    watched.run(40, dict.fromkeys(OTHERS, 0.5))
    watched.run(60, dict.fromkeys(TICKERS, 0.5))
    watched.stalls()
    watched.run(20, dict.fromkeys(OTHERS, 0.5))
    assert watched.stalls() == [LIVELY]


def test_a_stall_right_after_the_subscription_does_not_hide_the_next() -> None:
    """What was silent before its pace was known was not silent by nature."""
    watched = Watched(TICKERS)
    watched.conversation.receive(data_frame(LIVELY), watched.now)
    watched.run(22, dict.fromkeys(OTHERS, 0.5))
    assert watched.stalls() == []  # nothing is known of it yet
    watched.run(30, dict.fromkeys(TICKERS, 0.1), step=0.1)
    watched.run(12, dict.fromkeys(OTHERS, 0.5))
    assert watched.stalls() == [LIVELY]


def test_trades_are_called_missed_when_the_only_topic_with_a_pace_falls_silent() -> None:
    """Whether they were quiet or deaf, nobody can tell any more."""
    watched = Watched([LIVELY, TRADES])
    watched.run(120, {LIVELY: 0.5, TRADES: 5.0})
    watched.run(10, {})
    assert set(watched.stalls()) == {LIVELY, TRADES}
    assert watched.asked == [("unsubscribe", LIVELY.name), ("subscribe", LIVELY.name)]


def test_the_silence_of_a_stalled_topic_goes_on_while_it_is_asked_for_again() -> None:
    """It ends with data; who flows is silent for no longer than its pace and one look."""
    watched = Watched([LIVELY, TRADES])
    watched.run(60, {LIVELY: 0.5, TRADES: 2.0})
    silent = dict(watched.conversation.silences(watched.now))
    assert silent[LIVELY] <= 1.5
    assert silent[TRADES] <= 3.0
    watched.run(40, {TRADES: 2.0})
    assert watched.state(LIVELY) is State.STALLED
    assert ("subscribe", LIVELY.name) in watched.asked
    silent = dict(watched.conversation.silences(watched.now))
    assert 39 <= silent[LIVELY] <= 42
    assert silent[TRADES] <= 3.0
    watched.run(2, {LIVELY: 0.5, TRADES: 2.0})
    assert dict(watched.conversation.silences(watched.now))[LIVELY] <= 1.5
