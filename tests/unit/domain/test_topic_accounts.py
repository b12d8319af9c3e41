"""The account in a topic: absent for the first, so that what there is keeps its identity."""

from __future__ import annotations

import pytest

from ws_gateway.domain.routing import routing_key
from ws_gateway.domain.topic import (
    Category,
    Channel,
    EventClass,
    build_topic,
    event_class_of_key,
    parse_topic,
    topic_of_key,
)
from ws_gateway.errors import Rejected


def test_the_first_accounts_topics_are_what_they_were() -> None:
    """Key and object; event ids begin with the key."""
    assert build_topic(Channel.ORDER).key == "private:order"
    assert build_topic(Channel.ORDER) is parse_topic("order", None)


def test_another_accounts_topic_is_another_stream_of_the_same_name() -> None:
    """Named alike at the venue and in routing keys, and one object however it is made."""
    first, other = build_topic(Channel.ORDER), build_topic(Channel.ORDER, account="hedge")
    assert other != first
    assert (other.name, other.key) == (first.name, "private@hedge:order")
    assert other.event_class is first.event_class is EventClass.ORDER
    assert other is parse_topic("order", None, "hedge") is topic_of_key(other.key)
    assert event_class_of_key(other.key) == "order"
    assert routing_key(other.event_class, other.category, None) == "order.-.-"


def test_a_public_topic_is_of_no_account() -> None:
    """Whoever names one is told so."""
    with pytest.raises(Rejected, match="takes no account"):
        build_topic(Channel.TRADES, category=Category.SPOT, symbol="BTCUSDT", account="hedge")
    with pytest.raises(Rejected, match="of no account"):
        parse_topic("publicTrade.BTCUSDT", Category.SPOT, "hedge")
    with pytest.raises(Rejected, match="of no account"):
        parse_topic("system.status", None, "hedge")
