"""The tap on the broker's bytes: every confirm is heard, everything else reaches the driver."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pamqp.body
import pamqp.commands
import pamqp.frame
import pamqp.header
import pamqp.heartbeat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_gateway.delivery.envelope import FRAME_MAX, PUBLISH_CHANNEL
from ws_gateway.delivery.link import _check_frame_max, _Tap
from ws_gateway.errors import BrokerLost

Heard = tuple[str, Any, Any]


class Ear:
    """Writes down what the tap tells."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    def on_confirm(self, tag: int, *, multiple: bool) -> None:
        """Note it."""
        self.heard.append(("ack", tag, multiple))

    def on_nack(self, tag: int, *, multiple: bool) -> None:
        """Note it."""
        self.heard.append(("nack", tag, multiple))

    def on_return(self, message_id: str, reply: str) -> None:
        """Note it."""
        self.heard.append(("return", message_id, reply))

    def on_blocked(self, *, blocked: bool) -> None:
        """Note it."""
        self.heard.append(("blocked", blocked, None))

    def on_writable(self) -> None:
        """Note it."""
        self.heard.append(("writable", None, None))


def marshal(frame: Any, channel: int = PUBLISH_CHANNEL) -> bytes:
    """Build a frame as the broker would."""
    return pamqp.frame.marshal(frame, channel)


def returned(message_id: str, body: bytes) -> bytes:
    """Build a returned message: method, header, bodies."""
    properties = pamqp.commands.Basic.Properties(message_id=message_id, app_id="ws-gateway")
    frames = [
        marshal(pamqp.commands.Basic.Return(312, "NO_ROUTE", "x", "k")),
        marshal(pamqp.header.ContentHeader(0, len(body), properties)),
    ]
    if body:
        frames.append(marshal(pamqp.body.ContentBody(body)))
    return b"".join(frames)


confirms = st.builds(
    lambda tag, multiple: (
        marshal(pamqp.commands.Basic.Ack(tag, multiple)),
        ("ack", tag, multiple),
        False,
    ),
    st.integers(1, 2**63 - 1),
    st.booleans(),
)
refusals = st.builds(
    lambda tag, multiple: (
        marshal(pamqp.commands.Basic.Nack(tag, multiple)),
        ("nack", tag, multiple),
        False,
    ),
    st.integers(1, 2**63 - 1),
    st.booleans(),
)
returns = st.builds(
    lambda name, body: (returned(name, body), ("return", name, "312 NO_ROUTE"), False),
    st.text("abc:-1", min_size=1, max_size=255),
    st.binary(max_size=300),
)
others = st.sampled_from(
    [
        (marshal(pamqp.heartbeat.Heartbeat(), 0), None, True),
        (marshal(pamqp.commands.Queue.DeclareOk("q", 1, 2), 2), None, True),
        (marshal(pamqp.commands.Basic.Ack(3, multiple=False), 2), None, True),
        (marshal(pamqp.commands.Connection.Blocked("low"), 0), ("blocked", True, None), True),
        (marshal(pamqp.commands.Connection.Unblocked(), 0), ("blocked", False, None), True),
    ]
)
conversations = st.lists(st.one_of(confirms, refusals, returns, others), max_size=20)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that never runs: the tap is driven by hand."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@given(conversation=conversations, data=st.data())
def test_however_the_bytes_are_cut_the_same_is_heard(
    loop: asyncio.AbstractEventLoop,
    conversation: list[tuple[bytes, Heard | None, bool]],
    data: st.DataObject,
) -> None:
    """Segments end anywhere; confirms, refusals and returns come through once and in order."""
    raw = b"".join(frame for frame, _, _ in conversation)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=12)))
    ear = Ear()
    reader = asyncio.StreamReader(limit=FRAME_MAX, loop=loop)
    tap = _Tap(reader, loop, ear)
    tap._heartbeat_at = float("inf")  # no heartbeats of its own
    tap.begin()
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        tap.data_received(raw[start:end])
    assert ear.heard == [heard for _, heard, _ in conversation if heard is not None]
    passed: bytearray = reader._buffer  # type: ignore[attr-defined]
    assert passed == b"".join(frame for frame, _, is_passed in conversation if is_passed)


def test_confirms_alone_keep_the_driver_s_watchdog_quiet(loop: asyncio.AbstractEventLoop) -> None:
    """A broker that only confirms is alive: the driver is shown a heartbeat, once a second."""
    reader = asyncio.StreamReader(loop=loop)
    tap = _Tap(reader, loop, Ear())
    tap.begin()
    for tag in range(1, 100):
        tap.data_received(marshal(pamqp.commands.Basic.Ack(tag, multiple=False)))
    assert bytes(reader._buffer) == marshal(  # type: ignore[attr-defined]
        pamqp.heartbeat.Heartbeat(), 0
    )


def test_closed_connection_says_why(loop: asyncio.AbstractEventLoop) -> None:
    """The broker's own words for closing become the reason of the loss."""
    tap = _Tap(asyncio.StreamReader(loop=loop), loop, Ear())
    tap.begin()
    tap.data_received(
        marshal(pamqp.commands.Connection.Close(320, "CONNECTION_FORCED - shutdown", 0, 0), 0)
    )
    tap.connection_lost(None)
    assert tap.lost.result() == "320 CONNECTION_FORCED - shutdown"


@pytest.mark.parametrize("frame_max", [0, FRAME_MAX, FRAME_MAX + 1])
def test_frames_that_fit_are_accepted(frame_max: int) -> None:
    """No limit (0) or a larger one suits the frames built in advance."""
    _check_frame_max(frame_max)


def test_smaller_frames_are_refused_with_a_remedy() -> None:
    """A broker that allows only smaller frames is told apart before anything is lost."""
    with pytest.raises(BrokerLost, match="set frame_max = 131072"):
        _check_frame_max(4096)


def test_defect_of_the_listener_is_carried_out(loop: asyncio.AbstractEventLoop) -> None:
    """A mistake in what a confirm sets off ends the publisher, instead of a reconnect for ever."""

    class Broken(Ear):
        def on_confirm(self, tag: int, *, multiple: bool) -> None:
            raise KeyError(tag, multiple)

    tap = _Tap(asyncio.StreamReader(loop=loop), loop, Broken())
    tap.begin()
    tap.data_received(marshal(pamqp.commands.Basic.Ack(3, multiple=False)))
    with pytest.raises(KeyError):
        tap.lost.result()
