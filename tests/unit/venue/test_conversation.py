"""The conversation without I/O: login, acks, data, and the end of a subscription."""

from __future__ import annotations

import json

import pytest

from support.scripted_venue import (
    ScriptedVenue,
    ack,
    book,
    data_frame,
    encode,
    requests_of,
    state_of,
    ticker,
)
from ws_gateway.domain.subscription import SubscriptionState as State
from ws_gateway.domain.topic import Category, Channel, Endpoint, Topic, build_topic
from ws_gateway.errors import Quarantine, VenueLost
from ws_gateway.venue.auth import Credentials, signature
from ws_gateway.venue.protocol import Conversation, Phase

CREDENTIALS = Credentials("key", "bybit_test_secret")
WALL_MS = 1_662_350_390_000
A, B, C = ticker("AUSDT"), ticker("BUSDT"), ticker("CUSDT")
ORDERS = build_topic(Channel.ORDER)
LOGIN_OK = encode(req_id="1", success=True, ret_msg="", op="auth", conn_id="c")
OPTION = ticker("BTC-27DEC26-100000-C-USDT", Category.OPTION)


def opened(*topics: Topic, category: Category = Category.LINEAR) -> Conversation:
    """Open a public conversation that wants these topics."""
    conversation = Conversation(Endpoint(category.value))
    conversation.want(topics, 0.0)
    conversation.opened(0.0, WALL_MS)
    return conversation


def streaming(*topics: Topic) -> Conversation:
    """Open a public conversation whose topics are acknowledged."""
    conversation = opened(*topics)
    ScriptedVenue().talk(conversation)
    conversation.take_changes()
    return conversation


def private() -> Conversation:
    """Open a private conversation that wants orders."""
    conversation = Conversation(Endpoint.PRIVATE, credentials=CREDENTIALS)
    conversation.want([ORDERS], 0.0)
    conversation.opened(0.0, WALL_MS)
    return conversation


def outcome(good: list[str], bad: list[str]) -> bytes:
    """Build an ack of the option and spread sockets."""
    return encode(
        success=not bad,
        conn_id="c",
        data={"failTopics": bad, "successTopics": good},
        type="COMMAND_RESP",
    )


# ── login ─────────────────────────────────────────────────────────────────────────────────────


def test_the_signature_is_the_documented_one() -> None:
    """The reference's vector comes out."""
    assert signature("bybit_test_secret", 1_662_350_400_000) == (
        "45e9dff2c95bef2550b506cc8ea9f007229d3d1d51b01d81e04b70f779797cb6"
    )


def test_login_comes_first_and_alone() -> None:
    """Before the login's ack nothing but the login is sent, and it expires far enough ahead."""
    conversation = private()
    (request,) = requests_of(conversation)
    key, expires, signed = request["args"]
    assert (request["op"], key) == ("auth", "key")
    assert expires - WALL_MS >= 5_000
    assert signed == signature(CREDENTIALS.secret, expires)
    assert conversation.phase is Phase.AUTHENTICATING
    assert state_of(conversation, ORDERS) is State.REQUESTED


def test_topics_wanted_during_the_login_wait_for_its_ack() -> None:
    """The subscribe follows the ack, with what was wanted before and meanwhile."""
    conversation = private()
    requests_of(conversation)
    wallet = build_topic(Channel.BALANCE)
    conversation.want([wallet], 0.1)
    assert requests_of(conversation) == []
    conversation.receive(LOGIN_OK, 0.2)
    (request,) = requests_of(conversation)
    assert (request["op"], request["args"]) == ("subscribe", ["order", "wallet"])


def test_a_refused_login_ends_the_socket_with_the_venues_words() -> None:
    """The socket is of no use, and the reason is what the venue said."""
    conversation = private()
    refusal = encode(req_id="1", success=False, ret_msg="Params Error", op="auth", conn_id="c")
    with pytest.raises(VenueLost, match="Params Error") as caught:
        conversation.receive(refusal, 0.1)
    assert caught.value.reason == "login"
    assert not conversation.made_progress


def test_a_login_nobody_sent_changes_nothing() -> None:
    """A stray auth reply on a public socket is quarantined and does not end it."""
    conversation = streaming(A)
    for success in (True, False):
        with pytest.raises(Quarantine):
            conversation.receive(encode(success=success, op="auth", ret_msg="?"), 0.1)
    assert state_of(conversation, A) is State.ACTIVE


# ── acks ──────────────────────────────────────────────────────────────────────────────────────


def test_acks_are_matched_by_their_req_id() -> None:
    """The second request's ack says nothing of the first one's topics."""
    conversation = opened(A)
    (first,) = requests_of(conversation)
    conversation.want([B], 0.0)
    (second,) = requests_of(conversation)
    conversation.receive(ack(second), 0.1)
    assert conversation.states() == {A: State.PENDING, B: State.ACTIVE}
    conversation.receive(ack(first), 0.1)
    assert conversation.states() == {A: State.ACTIVE, B: State.ACTIVE}
    assert not conversation.awaits_acks


def test_an_answer_to_an_earlier_socket_is_ignored() -> None:
    """After a loss, late acks and late refusals change nothing."""
    conversation = opened(A)
    (old,) = requests_of(conversation)
    conversation.lost()
    conversation.opened(1.0, WALL_MS)
    requests_of(conversation)
    conversation.receive(ack(old, "error:handler not found,topic:tickers.AUSDT"), 1.1)
    conversation.receive(ack(old), 1.1)
    assert state_of(conversation, A) is State.PENDING


def test_an_ack_without_req_id_answers_the_oldest_request() -> None:
    """A socket that echoes no req_id answers in order."""
    conversation = opened(A)
    requests_of(conversation)
    conversation.receive(encode(success=True, ret_msg="", req_id="", op="subscribe"), 0.1)
    assert state_of(conversation, A) is State.ACTIVE


def test_data_before_the_ack_makes_a_topic_active() -> None:
    """The snapshot may overtake the ack, and is not lost."""
    conversation = opened(A)
    result = conversation.receive(data_frame(A), 0.1)
    assert result is not None
    assert result[0] == A
    assert state_of(conversation, A) is State.ACTIVE
    assert conversation.made_progress


def test_option_acks_prove_nothing() -> None:
    """A topic listed as a success stays pending until its data comes."""
    conversation = opened(OPTION, category=Category.OPTION)
    requests_of(conversation)
    conversation.receive(outcome([OPTION.name], []), 0.1)
    assert not conversation.awaits_acks
    assert state_of(conversation, OPTION) is State.PENDING
    conversation.receive(data_frame(OPTION), 0.2)
    assert state_of(conversation, OPTION) is State.ACTIVE


def test_option_topics_listed_as_failed_are_rejected_alone() -> None:
    """The others of the request stay wanted."""
    other = ticker("BTC-27DEC26-90000-C-USDT", Category.OPTION)
    conversation = opened(OPTION, other, category=Category.OPTION)
    requests_of(conversation)
    conversation.receive(outcome([other.name], [OPTION.name]), 0.1)
    assert conversation.states() == {OPTION: State.REJECTED, other: State.PENDING}


# ── the end of a subscription ─────────────────────────────────────────────────────────────────


def test_dropping_unsubscribes_and_then_forgets() -> None:
    """A dropped topic is gone at once for users, and reported removed after the ack."""
    conversation = streaming(A, B)
    conversation.drop([A], 1.0)
    (request,) = requests_of(conversation)
    assert (request["op"], request["args"]) == ("unsubscribe", [A.name])
    assert conversation.states() == {B: State.ACTIVE}
    conversation.receive(ack(request), 1.1)
    changes = [(change.topic, change.state) for change in conversation.take_changes()]
    assert changes == [(A, State.REMOVING), (A, State.REMOVED)]


def test_data_after_the_unsubscribe_is_ignored() -> None:
    """Frames still in flight are neither delivered nor called unknown."""
    conversation = streaming(A)
    conversation.drop([A], 1.0)
    (request,) = requests_of(conversation)
    assert conversation.receive(data_frame(A), 1.1) is None
    conversation.receive(ack(request), 1.2)
    assert conversation.receive(data_frame(A), 1.3) is None


def test_dropping_without_a_socket_is_done_at_once() -> None:
    """Nothing is sent for a topic the venue was never asked for."""
    conversation = Conversation(Endpoint.LINEAR)
    conversation.want([A], 0.0)
    conversation.drop([A, B], 0.0)
    assert conversation.states() == {}
    assert [change.state for change in conversation.take_changes()] == [State.REMOVED]
    assert conversation.take_output() == []


def test_a_topic_wanted_again_waits_for_the_end_of_its_former_life() -> None:
    """Data still in flight from before is not taken for the new subscription's."""
    conversation = streaming(A)
    conversation.drop([A], 1.0)
    (leave,) = requests_of(conversation)
    conversation.want([A], 1.0)
    assert requests_of(conversation) == []
    assert conversation.receive(data_frame(A), 1.1) is None
    conversation.receive(ack(leave), 1.2)
    (enter,) = requests_of(conversation)
    assert (enter["op"], enter["args"]) == ("subscribe", [A.name])
    assert conversation.receive(data_frame(A), 1.3) is not None
    assert state_of(conversation, A) is State.ACTIVE


def test_a_topic_wanted_again_survives_a_loss() -> None:
    """If the socket goes before the unsubscribe is answered, the new wish is replayed."""
    conversation = streaming(A)
    conversation.drop([A], 1.0)
    conversation.want([A], 1.0)
    conversation.lost()
    conversation.opened(2.0, WALL_MS)
    assert [request["args"] for request in requests_of(conversation)] == [[A.name]]


def test_a_topic_dropped_wanted_and_dropped_stays_gone() -> None:
    """The last wish counts."""
    conversation = streaming(A)
    conversation.drop([A], 1.0)
    conversation.want([A], 1.0)
    conversation.drop([A], 1.0)
    ScriptedVenue().talk(conversation)
    assert conversation.states() == {}


def test_resync_asks_for_a_new_snapshot_of_one_topic() -> None:
    """Unsubscribe and subscribe travel together, and only for that topic."""
    topic = book()
    conversation = streaming(topic, A)
    conversation.resync(topic, 1.0)
    sent = [(request["op"], request["args"]) for request in requests_of(conversation)]
    assert sent == [("unsubscribe", [topic.name]), ("subscribe", [topic.name])]
    assert conversation.states() == {topic: State.PENDING, A: State.ACTIVE}


def test_a_second_resync_waits_for_the_first() -> None:
    """A topic whose snapshot is already asked for is left alone."""
    conversation = streaming(A)
    conversation.resync(A, 1.0)
    requests_of(conversation)
    conversation.resync(A, 1.0)
    conversation.resync(B, 1.0)
    assert requests_of(conversation) == []


def test_a_resync_without_a_socket_is_not_needed() -> None:
    """The next socket begins with a snapshot anyway."""
    conversation = streaming(A)
    conversation.lost()
    conversation.resync(A, 1.0)
    assert requests_of(conversation) == []


# ── what cannot be understood ─────────────────────────────────────────────────────────────────


HOSTILE: dict[str, tuple[bytes, str]] = {
    "a topic nobody asked for": (data_frame(B), "unknown_topic"),
    "no JSON": (b"hello", "malformed"),
    "cut short": (data_frame(A)[:-3], "malformed"),
    "an array": (b"[1,2]", "malformed"),
    "nothing": (b"", "malformed"),
    "binary garbage": (bytes(range(256)), "malformed"),
    "a text that is no UTF-8": (b'{"topic":"tickers.AUSDT","note":"\xff"}', "malformed"),
    "nesting without end": (b'{"note":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed"),
    "a time before time": (b'{"topic":"tickers.AUSDT","ts":-1}', "malformed"),
    "a time beyond 64 bits": (b'{"topic":"tickers.AUSDT","ts":' + b"9" * 30 + b"}", "malformed"),
    "a topic that is a number": (b'{"topic":5}', "malformed"),
    "ten megabytes": (b'{"data":"' + b"x" * 10_000_000 + b'"}', "too_large"),
    "a reply to nothing": (encode(success=False, ret_msg="error:invalid op"), "unexpected_reply"),
    "an outcome of another shape": (b'{"type":"COMMAND_RESP","data":[1]}', "malformed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_understood_is_quarantined_and_the_talk_goes_on(name: str) -> None:
    """The frame is refused with a stable reason; states stay, and the next frame is taken."""
    raw, reason = HOSTILE[name]
    conversation = opened(A)
    with pytest.raises(Quarantine) as caught:
        conversation.receive(raw, 0.1)
    assert caught.value.reason == reason
    assert conversation.receive(data_frame(A), 0.2) is not None


def test_payload_bytes_are_not_touched() -> None:
    """Decimals, spaces and key order of `data` come out as they came in."""
    payload = b'{"symbol" : "AUSDT", "lastPrice":"0.10","x":1.50}'
    conversation = opened(A)
    raw = b'{"topic":"tickers.AUSDT","type":"delta","ts":1,"data":%b}' % payload
    result = conversation.receive(raw, 0.1)
    assert result is not None
    assert bytes(result[1].data) == payload


def test_requests_obey_the_limits_of_spot() -> None:
    """Ten topics a request, every topic once."""
    topics = [ticker(f"S{n}USDT", Category.SPOT) for n in range(25)]
    conversation = opened(*topics, category=Category.SPOT)
    sizes = [len(request["args"]) for request in requests_of(conversation)]
    assert sizes == [10, 10, 5]


def test_requests_obey_the_limit_of_characters() -> None:
    """No args array is longer than the venue takes, and nothing is left out or asked twice."""
    topics = [ticker(f"{'LONG' * 9}{n}USDT") for n in range(1500)]
    requests = requests_of(opened(*topics))
    lengths = [len(json.dumps(each["args"], separators=(",", ":"))) for each in requests]
    assert max(lengths) <= 21_000
    assert min(lengths[:-1]) > 20_900
    assert [name for each in requests for name in each["args"]] == [t.name for t in topics]
