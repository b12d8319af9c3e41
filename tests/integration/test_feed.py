"""The feed against a local venue over real sockets: topics in, facts out."""

from __future__ import annotations

from support.feed_stage import feeding
from support.scripted_venue import book, ticker
from support.sim_client import LINEAR, PRIVATE, SPOT, eventually, running
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, build_topic
from ws_gateway.ports.feed import SessionState

LINEAR_BOOK = book()
SPOT_BOOK = book(category=Category.SPOT)
TICKER = ticker("BTCUSDT")
TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")
ORDERS = build_topic(Channel.ORDER)
EXECUTIONS = build_topic(Channel.EXECUTION)
POSITIONS = build_topic(Channel.POSITION)
WALLET = build_topic(Channel.BALANCE)


async def test_connections_exist_only_while_something_is_wanted_of_them() -> None:
    """None at first, one per category when needed, and closed with the last topic."""
    async with running() as venue, feeding(venue.ws_url) as stage:
        assert stage.feed.connections() == []
        stage.feed.want([LINEAR_BOOK, TICKER])
        await eventually(lambda: stage.is_active(LINEAR_BOOK, TICKER))
        assert [each.path for each in venue.connections] == [LINEAR]
        stage.feed.drop([TICKER])
        await eventually(lambda: (TICKER, State.REMOVED, None) in stage.changes)
        assert len(venue.connections) == 1
        stage.feed.drop([LINEAR_BOOK])
        await eventually(lambda: venue.connections == [])
        await eventually(lambda: stage.feed.connections() == [])
        assert (LINEAR_BOOK, State.REMOVED, None) in stage.changes


async def test_one_name_on_two_categories_flows_on_two_connections() -> None:
    """Told apart by category; dropping one stops only that one."""
    async with running() as venue, feeding(venue.ws_url) as stage:
        stage.feed.want([LINEAR_BOOK, SPOT_BOOK])
        await stage.more([LINEAR_BOOK, SPOT_BOOK])
        assert sorted(each.path for each in venue.connections) == [LINEAR, SPOT]
        stage.feed.drop([SPOT_BOOK])
        await eventually(lambda: [each.path for each in venue.connections] == [LINEAR])
        before = len(stage.facts(SPOT_BOOK))
        await stage.more([LINEAR_BOOK])
        assert len(stage.facts(SPOT_BOOK)) == before
        assert stage.problems() == []


async def test_a_topic_dropped_and_wanted_again_continues_its_numbers() -> None:
    """With a marker that says so, and no number twice."""
    async with running() as venue, feeding(venue.ws_url) as stage:
        stage.feed.want([LINEAR_BOOK, TICKER])
        await stage.more([LINEAR_BOOK])
        stage.feed.drop([LINEAR_BOOK])
        stage.feed.want([LINEAR_BOOK])
        await stage.more([LINEAR_BOOK])
        assert stage.gaps(LINEAR_BOOK) == ["restart", "resubscribe"]
        numbers = [event.sequence for event in stage.outlet.of(LINEAR_BOOK)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(venue.connections) == 1


async def test_the_only_topic_dropped_and_wanted_again_gets_a_connection_of_its_own() -> None:
    """The old connection's farewell is not taken for a state of the new one."""
    async with running() as venue, feeding(venue.ws_url) as stage:
        stage.feed.want([LINEAR_BOOK])
        await stage.more([LINEAR_BOOK])
        stage.changes.clear()
        stage.feed.drop([LINEAR_BOOK])
        stage.feed.want([LINEAR_BOOK])
        await stage.more([LINEAR_BOOK])
        states = [state for _, state, _ in stage.changes]
        assert states == [State.REMOVING, State.PENDING, State.ACTIVE]
        assert len(venue.connections) == 1
        assert stage.gaps(LINEAR_BOOK) == ["restart", "resubscribe"]
        assert stage.problems() == []


async def test_a_rejected_topic_is_visible_and_the_others_flow() -> None:
    """The venue's own words are reported, once, for the bad topic alone."""
    bad = ticker("NOPEUSDT")
    good = [TICKER, LINEAR_BOOK, TRADES]
    async with running() as venue, feeding(venue.ws_url) as stage:
        stage.feed.want([*good[:2], bad, good[2]])
        await eventually(lambda: stage.is_active(*good))
        await stage.more(good, 1)
        rejected = [each for each in stage.changes if each[1] is State.REJECTED]
        words = f"error:handler not found,topic:{bad.name}"
        ((topic, _, told),) = rejected
        assert topic == bad
        assert (told or "").startswith(f"{words}; Bybit offers no such topic there; not asked for")
        assert stage.feed.wanted()[bad] is State.REJECTED


async def test_private_facts_flow_after_a_login() -> None:
    """A fill is told as order, execution, position and wallet, each with its own record."""
    topics = [ORDERS, EXECUTIONS, POSITIONS, WALLET]
    async with running() as venue, feeding(venue.ws_url) as stage:
        stage.feed.want(topics)
        await eventually(lambda: stage.is_active(*topics))
        venue.place_market_order("BTCUSDT", "Buy", "0.010", fills=2)
        await eventually(lambda: all(stage.facts(topic) for topic in topics))
        await eventually(lambda: len(stage.facts(EXECUTIONS)) == 2)
        ids = {event.observation.event_id for event in stage.facts(EXECUTIONS)}
        assert len(ids) == 2
        fact = stage.facts(EXECUTIONS)[0].observation
        assert (fact.category, fact.symbol) == ("linear", "BTCUSDT")
        asked = [each.message["op"] for each in venue.requests if each.path == PRIVATE]
        assert asked[:2] == ["auth", "subscribe"]


async def test_a_wrong_secret_is_told_in_the_venues_words_without_hammering() -> None:
    """The connection says why; attempts are spaced; public topics flow meanwhile."""
    async with (
        running() as venue,
        feeding(venue.ws_url, secret="wrong", login_pause=10) as stage,
    ):
        stage.feed.want([ORDERS, TICKER])
        await stage.more([TICKER], 5)
        await eventually(
            lambda: (
                (private := stage.connection("private")) is not None
                and private.connection_status is SessionState.BACKING_OFF
            )
        )
        status = stage.connection("private")
        assert status is not None
        assert status.last_error is not None
        assert "Params Error" in status.last_error
        assert status.connection_status is SessionState.BACKING_OFF
        assert stage.feed.wanted()[ORDERS] is State.REQUESTED
        attempts = [each for each in venue.requests if each.path == PRIVATE]
        assert len(attempts) == 1, "a refused login is not repeated at once"
        error = next(words for topic, _, words in reversed(stage.changes) if topic == ORDERS)
        assert error is not None
        assert "Params Error" in error


async def test_many_spot_topics_are_asked_for_in_tens() -> None:
    """No request is refused for its size, on the first socket and on the next."""
    names = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    topics = [book(name, Category.SPOT, depth) for name in names for depth in (1, 50, 200, 1000)]
    async with running() as venue, feeding(venue.ws_url) as stage:
        stage.feed.want(topics)
        await eventually(lambda: stage.is_active(*topics))
        await venue.drop_connections(SPOT)
        await eventually(lambda: venue.connection_attempts == 2 and stage.is_active(*topics))
        asked = [each.message for each in venue.requests if each.message["op"] == "subscribe"]
        assert all(len(each["args"]) <= 10 for each in asked)
        assert not any("args size" in (words or "") for _, _, words in stage.changes)


async def test_a_connection_tells_its_state() -> None:
    """Everything `/health` shows of it is there."""
    async with running() as venue, feeding(venue.ws_url) as stage:
        stage.feed.want([TICKER, LINEAR_BOOK])
        await stage.more([TICKER])
        await eventually(lambda: stage.is_active(TICKER, LINEAR_BOOK))
        status = stage.connection("linear")
        assert status is not None
        assert status.connection_status is SessionState.STREAMING
        assert (status.environment, status.category) == ("testnet", "linear")
        assert (status.active_subscriptions, status.reconnection_count) == (2, 0)
        assert status.connection_duration_seconds is not None
        assert status.last_error is None
