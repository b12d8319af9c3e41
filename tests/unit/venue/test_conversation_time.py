"""Heartbeats, deadlines, and what is said again on the next socket."""

from __future__ import annotations

from typing import Any

import pytest

from support.scripted_venue import (
    ScriptedVenue,
    data_frame,
    encode,
    requests_of,
    state_of,
    ticker,
)
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Channel, Endpoint, build_topic
from ws_gateway.errors import VenueLost
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.protocol import Conversation, Phase, Timing

A, B, C = ticker("AUSDT"), ticker("BUSDT"), ticker("CUSDT")
TIMING = Timing(
    ping_interval=20.0,
    pong_deadline=10.0,
    ack_deadline=7.0,
    login_deadline=5.0,
    login_validity=8.0,
    stall_check_interval=1e6,  # what is said of silence is tested with the watch
)
PONGS: dict[str, dict[str, Any]] = {
    "spot": {"success": True, "ret_msg": "pong", "conn_id": "c", "req_id": "2", "op": "ping"},
    "spot without id": {"success": True, "ret_msg": "pong", "conn_id": "c", "op": "ping"},
    "linear without id": {
        "success": True, "ret_msg": "pong", "conn_id": "c", "req_id": "", "op": "ping",
    },
    "option": {"args": ["1672916271846"], "op": "pong"},
    "private": {"req_id": "2", "op": "pong", "args": ["1675418560633"], "conn_id": "c"},
    "private without id": {"op": "pong", "args": ["1699766561376"], "conn_id": "c"},
    "trade": {"retCode": 0, "retMsg": "OK", "op": "pong", "data": ["1711002002529"], "connId": "c"},
}  # fmt: skip


def quiet(*, acknowledged: bool = True) -> Conversation:
    """Open a socket at 100 s that wants A."""
    conversation = Conversation(Endpoint.LINEAR, timing=TIMING)
    conversation.want([A], 0.0)
    conversation.opened(100.0, 0)
    if acknowledged:
        ScriptedVenue().talk(conversation, 100.0)
    else:
        requests_of(conversation)
    return conversation


def test_nothing_is_due_without_a_socket() -> None:
    """Before the first socket and after a loss no timer is needed, and a late tick does nothing."""
    conversation = Conversation(Endpoint.LINEAR, timing=TIMING)
    assert conversation.next_deadline() is None
    conversation.opened(0.0, 0)
    conversation.lost()
    assert conversation.next_deadline() is None
    conversation.tick(1_000.0)
    assert conversation.take_output() == []


def test_a_ping_is_sent_every_interval() -> None:
    """Exactly one per interval, each with an id of its own."""
    conversation = quiet()
    ids = []
    for due in (120.0, 140.0, 160.0):
        assert conversation.next_deadline() == due
        conversation.tick(due - 0.001)
        assert requests_of(conversation) == []
        conversation.tick(due)
        (request,) = requests_of(conversation)
        assert request["op"] == "ping"
        ids.append(request["req_id"])
        conversation.receive(encode(op="pong", args=["1"]), due + 0.1)
    assert len(set(ids)) == 3


@pytest.mark.parametrize("socket", PONGS)
def test_every_sockets_pong_is_understood(socket: str) -> None:
    """Each documented shape ends the wait for it and is remembered as a sign of life."""
    conversation = quiet()
    conversation.tick(120.0)
    assert conversation.next_deadline() == 130.0
    conversation.receive(encode(**PONGS[socket]), 121.0)
    assert conversation.next_deadline() == 140.0
    assert conversation.last_pong_at == 121.0
    conversation.tick(131.0)


def test_a_pong_that_does_not_come_ends_the_socket() -> None:
    """At its deadline, not before; data in between does not count as one."""
    conversation = quiet()
    conversation.tick(120.0)
    conversation.receive(data_frame(A), 125.0)
    conversation.tick(129.9)
    with pytest.raises(VenueLost, match="no pong") as caught:
        conversation.tick(130.0)
    assert caught.value.reason == "pong"


def test_an_unanswered_ping_is_not_excused_by_the_next_one() -> None:
    """The deadline runs from the oldest ping without an answer."""
    timing = Timing(ping_interval=4.0, pong_deadline=10.0)
    conversation = Conversation(Endpoint.LINEAR, timing=timing)
    conversation.opened(0.0, 0)
    for now in (4.0, 8.0, 12.0):
        conversation.tick(now)
    with pytest.raises(VenueLost):
        conversation.tick(14.0)


def test_an_ack_that_does_not_come_is_asked_for_once_more() -> None:
    """The oldest request decides; a second silence ends the socket."""
    conversation = quiet(acknowledged=False)
    conversation.want([B], 103.0)
    requests_of(conversation)
    assert conversation.next_deadline() == 107.0
    conversation.tick(106.9)
    assert requests_of(conversation) == []
    conversation.tick(107.0)
    (again,) = requests_of(conversation)
    assert (again["op"], again["args"]) == ("subscribe", [A.name])
    conversation.tick(113.9)
    with pytest.raises(VenueLost, match="no answer to subscribe") as caught:
        conversation.tick(114.0)
    assert caught.value.reason == "ack"


def test_a_topic_that_sends_data_needs_no_ack() -> None:
    """One lost answer is no reason to tear a hole into every topic of the socket."""
    conversation = quiet(acknowledged=False)
    conversation.receive(data_frame(A), 101.0)
    conversation.tick(107.0)
    conversation.tick(114.0)
    assert requests_of(conversation) == []
    assert not conversation.awaits_acks
    assert state_of(conversation, A) is State.ACTIVE


def test_a_login_that_is_not_answered_ends_the_socket() -> None:
    """At the login's own deadline."""
    conversation = Conversation(Endpoint.PRIVATE, credentials=Credentials("k", "s"), timing=TIMING)
    conversation.opened(0.0, 0)
    assert conversation.next_deadline() == 5.0
    with pytest.raises(VenueLost, match="login"):
        conversation.tick(5.0)


def test_a_loss_forgets_the_waits_of_the_old_socket() -> None:
    """The next socket starts with deadlines of its own."""
    conversation = quiet(acknowledged=False)
    conversation.tick(101.0)
    conversation.lost()
    conversation.opened(200.0, 0)
    requests_of(conversation)
    assert conversation.next_deadline() == 207.0
    conversation.tick(206.0)


def test_progress_is_made_anew_on_every_socket() -> None:
    """Opening a socket is none; an ack, a pong or data is."""
    for sign in (encode(op="pong"), data_frame(A), encode(op="subscribe", success=True)):
        conversation = quiet(acknowledged=False)
        progress = [conversation.made_progress]
        conversation.receive(sign, 100.5)
        progress.append(conversation.made_progress)
        conversation.lost()
        conversation.opened(200.0, 0)
        progress.append(conversation.made_progress)
        assert progress == [False, True, False]


def test_a_refusal_is_no_progress() -> None:
    """A venue that only refuses is not one that works."""
    conversation = quiet(acknowledged=False)
    conversation.receive(encode(op="subscribe", success=False, ret_msg="no"), 100.5)
    assert not conversation.made_progress


def test_the_whole_intent_is_replayed_on_the_next_socket() -> None:
    """Active and pending topics are asked for again; rejected and dropped ones are not."""
    gone, bad = ticker("GONEUSDT"), ticker("BADUSDT")
    conversation = Conversation(Endpoint.LINEAR, timing=TIMING)
    conversation.want([A, gone, bad], 0.0)
    conversation.opened(0.0, 0)
    ScriptedVenue([bad]).talk(conversation)
    conversation.want([B], 1.0)
    conversation.drop([gone], 1.0)
    assert set(conversation.lost()) == {A, B}
    conversation.want([C], 2.0)
    assert conversation.phase is Phase.CLOSED
    conversation.opened(3.0, 0)
    names = [name for request in requests_of(conversation) for name in request["args"]]
    assert sorted(names) == sorted([A.name, B.name, C.name])
    assert conversation.states()[bad] is State.REJECTED


def test_a_login_is_repeated_on_the_next_socket() -> None:
    """Its expiry is counted from the new time."""
    conversation = Conversation(Endpoint.PRIVATE, credentials=Credentials("k", "s"), timing=TIMING)
    conversation.want([build_topic(Channel.ORDER)], 0.0)
    conversation.opened(0.0, 1_000_000)
    requests_of(conversation)
    conversation.lost()
    conversation.opened(9.0, 2_000_000)
    (request,) = requests_of(conversation)
    assert request["op"] == "auth"
    assert request["args"][1] == 2_008_000
