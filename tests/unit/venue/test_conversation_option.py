"""Acks of the option and spread sockets: no id, no proof, and sometimes none at all."""

from __future__ import annotations

import pytest

from support.scripted_venue import data_frame, encode, requests_of, state_of, ticker
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Endpoint, Topic
from ws_gateway.errors import VenueLost
from ws_gateway.venue.protocol import Conversation, Timing

A = ticker("BTC-27DEC26-100000-C-USDT", Category.OPTION)
B = ticker("BTC-27DEC26-110000-C-USDT", Category.OPTION)
TIMING = Timing(ping_interval=1000, ack_deadline=10, stall_check_interval=1e6)


def outcome(good: list[Topic], bad: list[Topic]) -> bytes:
    """Build an ack of these sockets."""
    names = {"failTopics": [t.name for t in bad], "successTopics": [t.name for t in good]}
    return encode(success=True, conn_id="c", data=names, type="COMMAND_RESP")


def flowing(*topics: Topic) -> Conversation:
    """Open an option conversation whose topics flow."""
    conversation = Conversation(Endpoint.OPTION, timing=TIMING)
    conversation.want(topics, 0.0)
    conversation.opened(0.0, 0)
    conversation.receive(outcome(list(topics), []), 0.1)
    for topic in topics:
        conversation.receive(data_frame(topic), 0.2)
    requests_of(conversation)
    return conversation


def test_an_unsubscribe_nobody_confirms_tears_nothing() -> None:
    """After its deadline the topic is gone, and the others flow on."""
    conversation = flowing(A, B)
    conversation.drop([A], 1.0)
    conversation.tick(11.5)
    assert A not in conversation.states()
    assert not conversation.awaits_acks
    assert state_of(conversation, B) is State.ACTIVE


def test_a_topic_wanted_again_is_asked_for_when_the_silent_unsubscribe_is_over() -> None:
    """A wish that came meanwhile is not forgotten."""
    conversation = flowing(A)
    conversation.drop([A], 1.0)
    conversation.want([A], 2.0)
    requests_of(conversation)
    conversation.tick(11.5)
    assert [request["op"] for request in requests_of(conversation)] == ["subscribe"]


def test_a_missing_ack_does_not_shift_the_ones_behind_it() -> None:
    """An outcome belongs to the request whose topics it names."""
    conversation = flowing(A)
    conversation.drop([A], 1.0)  # never confirmed
    conversation.want([B], 2.0)
    conversation.receive(outcome([], [B]), 2.5)
    assert state_of(conversation, B) is State.REJECTED


def test_a_subscribe_proven_by_data_needs_no_ack() -> None:
    """Data is the better proof; only a topic with neither costs the socket."""
    conversation = Conversation(Endpoint.OPTION, timing=TIMING)
    conversation.want([A], 0.0)
    conversation.opened(0.0, 0)
    conversation.receive(data_frame(A), 0.2)
    conversation.tick(10.5)
    assert not conversation.awaits_acks
    conversation.want([B], 11.0)
    conversation.tick(21.0)  # it is asked for once more
    with pytest.raises(VenueLost, match="no answer to subscribe"):
        conversation.tick(31.0)
