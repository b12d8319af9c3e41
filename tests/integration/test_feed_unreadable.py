"""Frames that cannot be read at all: the streams they may have belonged to say so."""

from __future__ import annotations

import pytest

from support.feed_stage import feeding
from support.scripted_venue import book, ticker
from support.sim_client import LINEAR, eventually, running
from ws_gateway.domain.topic import Category, Channel, build_topic

TRADES = build_topic(Channel.TRADES, category=Category.LINEAR, symbol="BTCUSDT")
TICKER = ticker("BTCUSDT")
BOOK = book()
ALL = (TRADES, TICKER, BOOK)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ('{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":"1","data":[]}', True),
        ('{"topic": "publicTrade.BTCUSDT","ts":1,"data":[{"i":"1"', True),
        (b'{"topic":"publicTrade.BTCUSDT","ts":1,"data":[{"i":"\xff"}]}', True),
        ('{"ts":1.5,"data":[' + "0," * 5000 + '0],"topic":"publicTrade.BTCUSDT"}', True),
        (b"\x00\x01\xfe binary", False),
    ],
)
async def test_a_loss_that_cannot_be_read_is_announced_where_it_may_belong(
    raw: str | bytes, *, named: bool
) -> None:
    """The named stream gets a marker; without a name every stream that counts nothing itself."""
    async with running(rate=30) as venue, feeding(venue.ws_url) as stage:
        stage.feed.want(ALL)
        await stage.more(ALL)
        await venue.inject(LINEAR, raw)
        await eventually(lambda: len(stage.quarantined) == 1)
        await stage.more(ALL)
        assert stage.gaps(TRADES) == ["restart", "sequence"]
        assert stage.gaps(TICKER) == (["restart"] if named else ["restart", "sequence"])
        assert stage.gaps(BOOK) == ["restart"]
        assert stage.problems() == []
