"""Refusals: the bad topic stands alone with the venue's words, and the others flow."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.scripted_venue import Naming, ScriptedVenue, ack, data_frame, requests_of, ticker
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Endpoint, Topic
from ws_gateway.venue.protocol import Conversation, Timing

QUIET = Timing(ping_interval=1e6, ack_deadline=1e6, stall_check_interval=1e6)

bounded = settings(deadline=None, max_examples=150)


def topics_of(count: int, category: Category = Category.LINEAR) -> list[Topic]:
    """Build as many tickers."""
    return [ticker(f"T{n}USDT", category) for n in range(count)]


def opened(topics: list[Topic], category: Category = Category.LINEAR) -> Conversation:
    """Open a conversation that wants these."""
    conversation = Conversation(Endpoint(category.value), timing=QUIET)
    conversation.want(topics, 0.0)
    conversation.opened(0.0, 0)
    return conversation


@bounded
@given(
    count=st.integers(1, 40),
    bad=st.sets(st.integers(0, 39), max_size=12),
    naming=st.sampled_from(Naming),
    category=st.sampled_from([Category.LINEAR, Category.SPOT]),
)
def test_whatever_is_refused_the_others_become_active(
    count: int, bad: set[int], naming: Naming, category: Category
) -> None:
    """Every bad topic is rejected with words, every other is active; requests stay bounded."""
    topics = topics_of(count, category)
    wrong = {topics[n] for n in bad if n < count}
    conversation = opened(topics, category)
    venue = ScriptedVenue(wrong, naming)
    for now in range(300):  # words that name no topic are not acted on at once
        conversation.tick(float(now))
        venue.talk(conversation, float(now))
    expected = {topic: State.REJECTED if topic in wrong else State.ACTIVE for topic in topics}
    if naming is Naming.NOT_AT_ALL and len(wrong) == count:  # nobody can tell whose fault it is
        expected = dict.fromkeys(topics, State.REQUESTED)
    assert conversation.states() == expected
    assert venue.subscribed == {topic.name for topic in topics if topic not in wrong}
    assert not conversation.awaits_acks
    first = math.ceil(count / 10) if category is Category.SPOT else 1
    halvings = math.ceil(math.log2(count)) + 1
    # A name that is wrong sets a good topic apart each time it is believed.
    dearer = 2 * count if naming is Naming.WRONGLY else 0
    if naming is Naming.NOT_AT_ALL:
        dearer = 10 * len(wrong) * halvings  # asked for again, ever more rarely
    assert venue.answered <= first + 2 * len(wrong) * halvings + dearer


@pytest.mark.parametrize("naming", [Naming.AT_THE_END, Naming.IN_BRACKETS])
def test_a_named_topic_is_set_apart_at_once(naming: Naming) -> None:
    """One refusal that names its reason costs two more requests, however many topics there are."""
    topics = topics_of(1000)
    conversation = opened(topics)
    venue = ScriptedVenue([topics[500]], naming)
    venue.talk(conversation)
    assert venue.answered == 3
    assert conversation.states()[topics[500]] is State.REJECTED


def test_a_rejected_topic_has_the_venues_own_words() -> None:
    """The change that reports it carries them, and nothing else is reported as rejected."""
    good, bad = topics_of(2)
    conversation = opened([good, bad])
    ScriptedVenue([bad]).talk(conversation)
    rejected = [each for each in conversation.take_changes() if each.state is State.REJECTED]
    assert [(each.topic, each.error) for each in rejected] == [
        (bad, f"error:handler not found,topic:{bad.name}")
    ]


def test_a_rejected_topic_is_tried_again_when_it_is_wanted_again() -> None:
    """A new wish is a new try: it may have been listed meanwhile."""
    (topic,) = topics_of(1)
    conversation = opened([topic])
    ScriptedVenue([topic]).talk(conversation)
    conversation.want([topic], 1.0)
    ScriptedVenue().talk(conversation)
    assert conversation.states() == {topic: State.ACTIVE}


def test_already_subscribed_is_the_state_that_was_wanted() -> None:
    """A topic the venue already sends is active, and the others of the request are asked again."""
    topics = topics_of(3)
    conversation = opened(topics)
    venue = ScriptedVenue()
    venue.subscribed.add(topics[1].name)
    venue.talk(conversation)
    assert set(conversation.states().values()) == {State.ACTIVE}
    assert venue.subscribed == {topic.name for topic in topics}


def test_topics_dropped_while_refused_are_not_asked_again() -> None:
    """The division of a refused request leaves out what nobody wants any more."""
    topics = topics_of(4)
    conversation = opened(topics)
    (subscribe,) = requests_of(conversation)
    conversation.drop(topics[:3], 0.1)
    requests_of(conversation)
    words = f"error:handler not found,topic:{topics[0].name}"
    conversation.receive(ack(subscribe, words), 0.2)
    assert [request["args"] for request in requests_of(conversation)] == [[topics[3].name]]


def test_a_refused_unsubscribe_is_the_end_of_it_too() -> None:
    """What the venue does not know is gone, which was the wish."""
    (topic,) = topics_of(1)
    conversation = opened([topic])
    ScriptedVenue().talk(conversation)
    conversation.drop([topic], 1.0)
    (request,) = requests_of(conversation)
    conversation.take_changes()
    conversation.receive(ack(request, "error:handler not found"), 1.1)
    assert [change.state for change in conversation.take_changes()] == [State.REMOVED]


def test_words_that_blame_no_topic_condemn_none() -> None:
    """The venue cannot serve: everything is asked for again after a pause, and shown meanwhile."""
    topics = topics_of(5)
    conversation = opened(topics)
    (subscribe,) = requests_of(conversation)
    conversation.receive(ack(subscribe, "error:service unavailable"), 0.2)
    assert set(conversation.states().values()) == {State.REQUESTED}
    assert {c.error for c in conversation.take_changes()[-5:]} == {"error:service unavailable"}
    assert requests_of(conversation) == []
    conversation.tick(1.3)
    (again,) = requests_of(conversation)
    assert again["args"] == subscribe["args"]
    conversation.receive(ack(again), 1.4)
    assert set(conversation.states().values()) == {State.ACTIVE}


def test_a_topic_refused_without_blame_is_not_called_rejected_while_nothing_else_flows() -> None:
    """However often: it keeps the words, also while it is asked for again, and says when it is."""
    (topic,) = topics_of(1)
    conversation = opened([topic])
    told = []
    for now in range(40):
        conversation.tick(float(now))
        for request in requests_of(conversation):
            refused = "error:service unavailable" if request["op"] != "ping" else None
            conversation.receive(ack(request, refused), float(now))
        told += conversation.take_changes()
    assert len(told) > 10
    assert {change.state for change in told} == {State.REQUESTED, State.PENDING}
    assert {change.error for change in told[2:]} == {"error:service unavailable"}
    assert all(change.retry_at for change in told[1:] if change.state is State.REQUESTED)
    for now in range(40, 100):
        conversation.tick(float(now))
        ScriptedVenue().talk(conversation, float(now))
    assert conversation.take_changes()[-1].error is None
    assert conversation.states() == {topic: State.ACTIVE}


def test_a_topic_refused_alone_while_others_flow_is_at_fault_although_no_name_is_said() -> None:
    """It is called rejected, and asked for all the same."""
    good, bad = topics_of(2)
    conversation = opened([good, bad])
    venue = ScriptedVenue([bad], Naming.NOT_AT_ALL)
    for now in range(60):
        conversation.tick(float(now))
        venue.talk(conversation, float(now))
    assert conversation.states() == {good: State.ACTIVE, bad: State.REJECTED}
    assert conversation.take_changes()[-1].retry_at is not None


def test_a_venue_that_cannot_serve_is_not_stormed() -> None:
    """A thousand topics refused without blame for a minute cost few requests, and all come back."""
    topics = topics_of(200)
    conversation = opened(topics)
    asked = 0
    for tenth in range(600):
        conversation.tick(tenth / 10)
        for request in requests_of(conversation):
            asked += request["op"] == "subscribe"
            reply = ack(request, "error:service unavailable" if request["op"] != "ping" else None)
            conversation.receive(reply, tenth / 10)
    assert asked < 80
    for tenth in range(600, 7000):
        conversation.tick(tenth / 10)
        ScriptedVenue().talk(conversation, tenth / 10)
    assert set(conversation.states().values()) == {State.ACTIVE}


def test_a_topic_that_brought_data_is_asked_for_again_after_a_refusal() -> None:
    """One bad answer after a reconnect is not the end of a stream that worked for days."""
    topics = topics_of(2)
    conversation = opened(topics)
    ScriptedVenue().talk(conversation)
    conversation.receive(data_frame(topics[0]), 1.0)
    conversation.lost()
    conversation.opened(2.0, 0)
    ScriptedVenue(topics).talk(conversation, 2.0)
    assert set(conversation.states().values()) == {State.REJECTED}
    conversation.tick(33.0)
    (again,) = (request for request in requests_of(conversation) if request["op"] != "ping")
    assert again["args"] == [topics[0].name]
