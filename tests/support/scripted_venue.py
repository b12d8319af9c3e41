"""A venue without sockets for the conversation's tests: it answers requests as Bybit does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

from ws_gateway.domain.subscription import SubscriptionState
from ws_gateway.domain.topic import Category, Channel, Topic, build_topic
from ws_gateway.venue.protocol import Conversation


class Naming(Enum):
    """How a refusal names the topic that was the reason."""

    AT_THE_END = auto()
    """`error:handler not found,topic:T`, as linear does."""
    IN_BRACKETS = auto()
    """`Invalid symbol :[T]`, as spot does."""
    NOT_AT_ALL = auto()
    """`args size >10`."""
    WRONGLY = auto()
    """Another topic of the request, which exists."""


_WORDS = {
    Naming.AT_THE_END: "error:handler not found,topic:{}",
    Naming.IN_BRACKETS: "Invalid symbol :[{}]",
    Naming.NOT_AT_ALL: "Params Error",
    Naming.WRONGLY: "error:handler not found,topic:{}",
}


def ticker(symbol: str, category: Category = Category.LINEAR) -> Topic:
    """Build a ticker."""
    return build_topic(Channel.TICKER, category=category, symbol=symbol)


def book(symbol: str = "BTCUSDT", category: Category = Category.LINEAR, depth: int = 50) -> Topic:
    """Build an order book."""
    return build_topic(Channel.ORDERBOOK, category=category, symbol=symbol, depth=depth)


def encode(**fields: Any) -> bytes:
    """Write a frame as the venue would."""
    return json.dumps(fields, separators=(",", ":")).encode()


def data_frame(topic: Topic, ts: int = 1_790_000_000_000) -> bytes:
    """Build a data frame of a ticker, or of any channel whose data is not looked at."""
    return encode(topic=topic.name, type="snapshot", ts=ts, data={"symbol": topic.symbol})


def requests_of(conversation: Conversation) -> list[dict[str, Any]]:
    """Take and read what the conversation wants to send."""
    return [json.loads(raw) for raw in conversation.take_output()]


def ack(request: dict[str, Any], refusal: str | None = None) -> bytes:
    """Answer a request: with success, or with the words of a refusal."""
    return encode(
        success=refusal is None,
        ret_msg=refusal or "",
        conn_id="c",
        req_id=request["req_id"],
        op=request["op"],
    )


def state_of(conversation: Conversation, topic: Topic) -> SubscriptionState | None:
    """Return the state of one topic, None if it is not in the intent."""
    return conversation.states().get(topic)


class ScriptedVenue:
    """Refuses a request as a whole for its first bad topic, and takes it otherwise.

    Attributes:
        subscribed: what it would send data of.
        answered: how many requests it answered.
    """

    def __init__(self, bad: Iterable[Topic] = (), naming: Naming = Naming.AT_THE_END) -> None:
        self._bad = {topic.name for topic in bad}
        self._naming = naming
        self.subscribed: set[str] = set()
        self.answered = 0

    def talk(self, conversation: Conversation, now: float = 0.0) -> None:
        """Answer requests until the conversation has no more."""
        while requests := requests_of(conversation):
            for request in requests:
                self.answered += 1
                conversation.receive(ack(request, self._serve(request)), now)

    def _serve(self, request: dict[str, Any]) -> str | None:
        names: list[str] = request["args"]
        if request["op"] == "unsubscribe":
            self.subscribed.difference_update(names)
            return None
        for name in names:
            if name in self._bad:
                good = [each for each in names if each not in self._bad]
                shown = good[0] if self._naming is Naming.WRONGLY and good else name
                return _WORDS[self._naming].format(shown)
            if name in self.subscribed:
                return f"error:already subscribed,topic:{name}"
        self.subscribed.update(names)
        return None
