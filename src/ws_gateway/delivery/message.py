"""One event, or marker, or quarantined frame, as it goes to the broker."""

from __future__ import annotations

import msgspec

from ws_gateway.domain.topic import Lane, Topic


class Message(msgspec.Struct, gc=False):
    """One event as it goes to the broker, with what is needed to account for it.

    Attributes:
        data: all AMQP frames.
        topic, sequence: its place in its stream; None and 0 for a quarantined frame.
        lane: whose room it takes.
        received_at: our clock at the socket, µs.
        is_observed: it carries an observation; markers and quarantined frames do not, and stay
            out of the counters' balance.
        timestamp: exchange time, ms.
        attempts: how often the broker refused or returned it.
        conflated: how many numbers just before its own it stands for.
        record: where in the spool it is, too; of private ones only.
        is_settled: it needs no record any more.
        stands_for: how many events its times are taken for; 0 while they are not taken.
        sent_as: how many private messages were sent first before it, from 1; 0 if it was not yet.
        sent_at: when it was written first, µs, if its times are taken.
        is_again: it was sent before, or an earlier process may have: it is flagged as a resend.
    """

    data: bytes
    topic: Topic | None
    lane: Lane
    sequence: int
    event_id: str
    received_at: int
    is_observed: bool
    timestamp: int = 0
    attempts: int = 0
    returned: bool = False
    conflated: int = 0
    record: tuple[int, int] | None = None
    is_settled: bool = False
    stands_for: int = 0
    sent_at: int = 0
    sent_as: int = 0
    is_again: bool = False
