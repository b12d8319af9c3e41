"""Acks, pongs and refusals, literally as the reference prints them."""

from __future__ import annotations

import random
import re

import pytest

from bybit_sim import wire
from bybit_sim.feed import encode

ID = "d6ki1eae0cl5msgggj7g-1uoz2"


@pytest.mark.parametrize(
    ("kind", "req_id", "expected"),
    [
        ("spot", "7", '{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"7","op":"ping"}'),
        ("spot", None, '{"success":true,"ret_msg":"pong","conn_id":"x","op":"ping"}'),
        ("linear", None, '{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"","op":"ping"}'),
        (
            "inverse",
            "7",
            '{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"7","op":"ping"}',
        ),
        ("option", "7", '{"args":["1672916271846"],"op":"pong"}'),
        ("spread", None, '{"args":["1672916271846"],"op":"pong"}'),
        ("private", "7", '{"req_id":"7","op":"pong","args":["1672916271846"],"conn_id":"x"}'),
        ("private", None, '{"op":"pong","args":["1672916271846"],"conn_id":"x"}'),
    ],
)
def test_pong(kind: str, req_id: str | None, expected: str) -> None:
    """Each socket answers a ping in its own shape and key order."""
    assert encode(wire.pong(kind, "x", req_id, 1672916271846)).decode() == expected


@pytest.mark.parametrize(
    ("kind", "req_id", "expected"),
    [
        (
            "private",
            "7",
            '{"req_id":"7","success":true,"ret_msg":"","op":"subscribe","conn_id":"x"}',
        ),
        ("private", None, '{"success":true,"ret_msg":"","op":"subscribe","conn_id":"x"}'),
        ("spot", None, '{"success":true,"ret_msg":"subscribe","conn_id":"x","op":"subscribe"}'),
        (
            "linear",
            "7",
            '{"success":true,"ret_msg":"","conn_id":"x","req_id":"7","op":"subscribe"}',
        ),
        (
            "inverse",
            None,
            '{"success":true,"ret_msg":"","conn_id":"x","req_id":"","op":"subscribe"}',
        ),
        (
            "spot",
            "7",
            '{"success":true,"ret_msg":"subscribe","conn_id":"x","req_id":"7","op":"subscribe"}',
        ),
    ],
)
def test_subscribe_ack(kind: str, req_id: str | None, expected: str) -> None:
    """Each socket acknowledges a subscribe in its own shape and key order."""
    assert encode(wire.command_ack(kind, "x", req_id, "subscribe")).decode() == expected


def test_command_response() -> None:
    """Option and spread name topics instead of echoing op and req_id."""
    assert list(wire.command_response(ID, ["orderbook.25.X"], []).items()) == [
        ("success", True),
        ("conn_id", ID),
        ("data", {"failTopics": [], "successTopics": ["orderbook.25.X"]}),
        ("type", "COMMAND_RESP"),
    ]


def test_refusal_of_linear() -> None:
    """A refused linear request has the shape of an ack with success false."""
    text = wire.handler_not_found("orderbook.50.NOPEUSDT")
    assert list(wire.refusal("linear", ID, "e1", "subscribe", text).items()) == [
        ("success", False),
        ("ret_msg", "error:handler not found,topic:orderbook.50.NOPEUSDT"),
        ("conn_id", ID),
        ("req_id", "e1"),
        ("op", "subscribe"),
    ]


def test_decode_failure_names_the_first_character() -> None:
    """What is no JSON is answered in the manner of Bybit's decoder."""
    assert wire.decode_failure("hello").startswith(
        "Failed to decode incoming data:readObjectStart: expect { or n, but found h, "
    )


def test_connection_ids_have_the_current_form() -> None:
    """A conn_id is twenty letters and digits, a dash and four or five more."""
    rng = random.Random(1)
    assert all(
        re.fullmatch(r"d[0-9a-v]{19}-[0-9a-z]{4,5}", wire.new_conn_id(rng)) for _ in range(50)
    )
