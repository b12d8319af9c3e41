"""Routing keys of events, and the way back from a key to what it names.

A key is `{event_class}.{category}.{symbol}`. Dots separate its words, so a dot inside a word is
written `%2E`, and a percent sign `%25`; a word that is not there is `-`.
"""

from __future__ import annotations

from ws_gateway.domain.topic import Topic

ABSENT = "-"
"""The word of a key that names nothing."""

_ABSENT_ITSELF = "%2D"  # a symbol that is a hyphen, which nobody has seen, is not an absent one


def routing_key(event_class: str, category: str | None, symbol: str | None) -> str:
    """Return the key under which the exchange routes an event."""
    return f"{event_class}.{routing_word(category)}.{routing_word(symbol)}"


def queue_name(prefix: str, event_class: str, service: str | None = None) -> str:
    """Name the queue of an event class: the one that all share, or a service's own.

    No two have the same name, because a class has no dot in it.
    """
    return f"{prefix}.{event_class}" if service is None else f"{prefix}.{service}.{event_class}"


def binding_keys(topic: Topic) -> tuple[str, ...]:
    """Return what to bind for a topic: every event and every marker of it matches one of them.

    Keys name neither depth nor interval, and private records only their category, so events of a
    sibling topic may match too; each event's `topic` tells.
    """
    event_class = topic.event_class
    if not topic.is_private:
        return (routing_key(event_class, topic.category, topic.symbol),)
    if topic.category is None:
        return (f"{event_class}.#",)
    # Markers of a topic that is of all categories are about this one too.
    return (f"{event_class}.{routing_word(topic.category)}.*", routing_key(event_class, None, None))


def routing_word(text: str | None) -> str:
    """Write a category or a symbol as one word of a routing key."""
    if not text:
        return ABSENT
    if text == ABSENT:
        return _ABSENT_ITSELF
    return text.replace("%", "%25").replace(".", "%2E")


def read_routing_word(word: str) -> str | None:
    """Read a word back into the category or symbol it was written from, None if it names none."""
    if word == ABSENT:
        return None
    if word == _ABSENT_ITSELF:
        return ABSENT
    return word.replace("%2E", ".").replace("%25", "%")
