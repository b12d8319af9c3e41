"""As many sockets as the topics need: split, joined for safety, and replaced before closed."""

from __future__ import annotations

from dataclasses import replace

from bybit_sim import Simulator
from support.feed_stage import QUICK, FeedStage, feeding
from support.scripted_venue import book, ticker
from support.sim_client import KEY, LINEAR, PRIVATE, SECRET, eventually, running
from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.venue.auth import Credentials

BOOK, TICKER = book(), ticker("BTCUSDT")
TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")
TOP = book(depth=1)
ORDERS = build_topic(Channel.ORDER)
ALL = [BOOK, TICKER, TRADES, TOP]


def sockets(venue: Simulator, path: str = LINEAR) -> list[str]:
    """Name the venue's sockets of a path."""
    return [each.id for each in venue.connections if each.path == path]


def unsubscribed(venue: Simulator) -> list[list[str]]:
    """List the topics of every unsubscribe the venue took."""
    messages = [each.message for each in venue.requests]
    return [each["args"] for each in messages if each["op"] == "unsubscribe"]


async def until_replaced(venue: Simulator, lost: str) -> None:
    """Wait until another socket stands in for a lost one."""
    await eventually(lambda: lost not in sockets(venue) and len(sockets(venue)) == 2)


def names(stage: FeedStage) -> list[str]:
    """Name the connections the feed tells of."""
    return [each.name for each in stage.feed.connections()]


def repeats(stage: FeedStage, *topics: Topic) -> int:
    """Count the facts a consumer got twice."""
    ids = [event.observation.event_id for topic in topics for event in stage.facts(topic)]
    return len(ids) - len(set(ids))


async def test_topics_beyond_the_venues_limit_get_a_socket_of_their_own() -> None:
    """21,000 characters of args per connection; a socket nobody needs is closed."""
    topics = [ticker(f"SIM{number:04}USDT") for number in range(1, 1201)]
    async with running(rate=0.2, symbols=1200) as venue, feeding(venue.ws_url) as stage:
        stage.feed.want(topics)
        await eventually(lambda: stage.is_active(*topics))
        assert names(stage) == ["linear", "linear-2"]
        assert sorted(len(each.topics) for each in venue.connections) == [246, 954]
        wanted = [each.wanted_subscriptions for each in stage.feed.connections()]
        assert wanted == [954, 246]
        stage.feed.drop(topics[954:])
        await eventually(lambda: len(venue.connections) == 1)
        await eventually(lambda: names(stage) == ["linear"])
        assert stage.is_active(*topics[:954])
        assert stage.gaps(topics[0]) in ([], ["restart"])


async def test_a_socket_is_replaced_before_it_is_closed() -> None:
    """No gap, no repeat: the new one carries everything before the old one goes."""
    async with running() as venue, feeding(venue.ws_url) as stage:
        stage.feed.want(ALL)
        await stage.more(ALL, 5)
        (first,) = sockets(venue)
        assert stage.feed.replace("linear", "a person wished it")
        await eventually(lambda: sockets(venue) not in ([first], []) and len(sockets(venue)) == 1)
        await eventually(lambda: names(stage) == ["linear.b"])
        await stage.more(ALL, 5)
        assert all(stage.gaps(topic) == ["restart"] for topic in ALL)
        assert repeats(stage, BOOK, TRADES) == 0
        assert stage.problems() == []
        assert venue.connection_attempts == 2


async def test_a_socket_that_comes_of_age_is_replaced() -> None:
    """Again and again, and nobody notices."""
    async with running() as venue, feeding(venue.ws_url, max_age=0.5, linger=0.1) as stage:
        stage.feed.want(ALL)
        await eventually(lambda: venue.connection_attempts >= 4)
        await stage.more(ALL, 3)
        assert all(stage.gaps(topic) == ["restart"] for topic in ALL)
        assert repeats(stage, BOOK, TRADES) == 0
        assert stage.problems() == []
        await eventually(lambda: len(sockets(venue)) == 1)


async def test_a_replacement_that_does_not_come_up_costs_nothing() -> None:
    """The old socket stays, and says so."""
    async with running() as venue, feeding(venue.ws_url, settle_deadline=0.5) as stage:
        stage.feed.want(ALL)
        await stage.more(ALL)
        before = sockets(venue)
        venue.refuse_handshakes = 503
        stage.feed.replace("linear", "a person wished it")
        await eventually(lambda: len(names(stage)) == 2)
        await eventually(lambda: names(stage) == ["linear"])
        await stage.more(ALL)
        assert sockets(venue) == before
        assert all(stage.gaps(topic) == ["restart"] for topic in ALL)
        assert stage.problems() == []


async def test_either_of_two_sockets_may_die_without_a_gap_or_a_repeat() -> None:
    """First copy wins; the lost one comes back and takes its part again."""
    async with running() as venue, feeding(venue.ws_url, redundancy=2) as stage:
        stage.feed.want(ALL)
        await stage.more(ALL, 5)
        await eventually(lambda: len(sockets(venue)) == 2)
        await eventually(lambda: names(stage) == ["linear", "linear.b"])
        for turn in range(4):
            await eventually(lambda: all(each.topics for each in venue.connections))
            await stage.more(ALL, 3)
            victim = venue.connections[turn % 2]
            lost = victim.id
            victim.socket.transport.abort()
            await until_replaced(venue, lost)
            await eventually(
                lambda: all(
                    each.active_subscriptions == len(ALL) for each in stage.feed.connections()
                )
            )
            await stage.more(ALL, 3)
        assert all(stage.gaps(topic) == ["restart"] for topic in ALL)
        assert repeats(stage, BOOK, TRADES) == 0
        assert stage.problems() == []


async def test_the_loss_of_both_sockets_is_marked_once() -> None:
    """Two copies of nothing are nothing."""
    async with running() as venue, feeding(venue.ws_url, redundancy=2) as stage:
        stage.feed.want(ALL)
        await stage.more(ALL, 5)
        await eventually(
            lambda: all(each.active_subscriptions == 4 for each in stage.feed.connections())
        )
        await venue.drop_connections(LINEAR)
        await stage.more(ALL, 3)
        assert all(stage.gaps(topic) == ["restart", "disconnect"] for topic in ALL)
        assert stage.problems() == []


async def test_private_facts_on_two_sockets_are_told_once() -> None:
    """Order, execution, position and wallet, by identity."""
    topics = [build_topic(Channel(name)) for name in ("order", "execution", "position", "balance")]
    async with running() as venue, feeding(venue.ws_url, redundancy=2) as stage:
        stage.feed.want(topics)
        await eventually(lambda: stage.is_active(*topics) and len(sockets(venue, PRIVATE)) == 2)
        await eventually(
            lambda: all(each.active_subscriptions == 4 for each in stage.feed.connections())
        )
        venue.place_market_order("BTCUSDT", "Buy", "0.010", fills=2)
        await eventually(lambda: all(stage.facts(topic) for topic in topics))
        await eventually(lambda: stage.counters.suppressed["duplicate"] > 0)
        assert len(stage.facts(topics[1])) == 2
        assert repeats(stage, *topics) == 0


async def test_new_credentials_replace_a_private_socket_without_a_gap() -> None:
    """The old login serves until the new one does."""
    async with running() as venue, feeding(venue.ws_url) as stage:
        stage.feed.want([ORDERS])
        await eventually(lambda: stage.is_active(ORDERS))
        (first,) = sockets(venue, PRIVATE)
        stage.feed.renew_credentials(Credentials(KEY, SECRET))
        await eventually(
            lambda: len(sockets(venue, PRIVATE)) == 1 and first not in sockets(venue, PRIVATE)
        )
        venue.place_market_order("BTCUSDT", "Buy", "0.010")
        await eventually(lambda: bool(stage.facts(ORDERS)))
        assert stage.gaps(ORDERS) in ([], ["restart"])


async def test_new_credentials_end_the_wait_after_a_refused_login() -> None:
    """Nobody waits out the pause of a key that is no more."""
    async with (
        running() as venue,
        feeding(venue.ws_url, secret="wrong", login_pause=60) as stage,
    ):
        stage.feed.want([ORDERS])
        await eventually(lambda: stage.connection("private").last_error is not None)  # type: ignore[union-attr]
        stage.feed.renew_credentials(Credentials(KEY, SECRET))
        await eventually(lambda: stage.is_active(ORDERS))


async def test_a_stalled_topic_is_asked_again_and_then_its_socket_is_replaced() -> None:
    """Noticed in seconds although pongs go on; the other topics have neither gap nor repeat."""
    others = [BOOK, TRADES, TOP, ticker("ETHUSDT"), ticker("SOLUSDT")]
    async with running() as venue, feeding(venue.ws_url, timing=QUICK) as stage:
        stage.feed.want([TICKER, *others])
        await stage.more([TICKER, *others], 5)
        await venue.fault("stall", topic=TICKER.name)
        await eventually(lambda: stage.gaps(TICKER)[-1:] == ["resubscribe"])
        await eventually(lambda: unsubscribed(venue) == [[TICKER.name]])
        await eventually(lambda: venue.connection_attempts == 2)
        venue.clear_faults()
        await stage.more([TICKER, *others], 5)
        assert all(stage.gaps(topic) == ["restart"] for topic in others)
        assert repeats(stage, BOOK, TRADES) == 0
        assert stage.problems() == []


def logins(venue: Simulator) -> list[str]:
    """List the keys of every login the venue took."""
    return [each.message["args"][0] for each in venue.requests if each.message["op"] == "auth"]


async def test_a_stop_during_a_replacement_is_not_slept_through() -> None:
    """No topic changes any more that would wake the shard; `feeding` grants it one second."""
    async with running() as venue, feeding(venue.ws_url, timing=QUICK) as stage:
        await venue.fault("late_acks", path=PRIVATE, delay_seconds=5, count=1)
        stage.feed.want([ORDERS])
        await eventually(lambda: logins(venue) == [KEY])
        stage.feed.renew_credentials(Credentials("renewed", SECRET))
        await eventually(lambda: logins(venue)[-1] == "renewed")


async def test_trades_that_are_silent_while_their_socket_is_replaced_are_noticed_on_the_next() -> (
    None
):
    """A successor knows how lively they were; that it never heard them proves no quiet market."""
    timing = replace(QUICK, stall_scale=0.05)
    async with running(rate=200.0) as venue, feeding(venue.ws_url, timing=timing) as stage:
        stage.feed.want([TRADES])
        await stage.more([TRADES], 300)
        await venue.fault("stall", topic=TRADES.name)
        assert stage.feed.replace("linear", "a person wished it")
        await eventually(lambda: names(stage) == ["linear.b"])
        await eventually(lambda: stage.feed.state(TRADES) is SubscriptionState.STALLED)


async def test_a_topic_says_why_its_connection_does_not_come_up_also_if_it_is_wanted_later() -> (
    None
):
    """Nobody has to look for the reason elsewhere; it is gone when data can come."""
    async with running() as venue, feeding(venue.ws_url) as stage:
        venue.refuse_handshakes = 503
        stage.feed.want([TICKER])
        await eventually(lambda: "503" in str(error_of(stage, TICKER)))
        stage.feed.want([BOOK])
        await eventually(lambda: "503" in str(error_of(stage, BOOK)))
        venue.refuse_handshakes = None
        await stage.more([TICKER, BOOK])
        assert error_of(stage, TICKER) is error_of(stage, BOOK) is None


async def test_a_connection_that_waits_for_its_next_attempt_makes_it_when_it_is_asked_for() -> None:
    """There is nothing to replace, so whoever asks for that means this."""
    async with (
        running() as venue,
        feeding(venue.ws_url, secret="wrong", login_pause=600, login_pause_cap=600) as stage,
    ):
        stage.feed.want([ORDERS])
        await eventually(lambda: bool(stage.connection("private").retry_at))  # type: ignore[union-attr]
        assert logins(venue) == [KEY]
        assert stage.feed.replace("private", "a person asked for it")
        await eventually(lambda: logins(venue) == [KEY, KEY])


def error_of(stage: FeedStage, topic: Topic) -> str | None:
    """Return the words that were last told of a topic."""
    return next((error for of, _, error in reversed(stage.changes) if of == topic), None)
