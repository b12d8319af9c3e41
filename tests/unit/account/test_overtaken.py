"""An answer of REST may be older than a push that came meanwhile, whatever time it bears."""

from __future__ import annotations

import json

import msgspec

from support.account_desk import NOW_MS, POSITION, TRACE, WALLET, Desk, coin, position
from ws_gateway.domain.event import Observation, Source
from ws_gateway.domain.topic import Topic
from ws_gateway.venue.observations import private_fact

ASKED_AT = NOW_MS * 1000
PUSHED_MS = NOW_MS + 20
ANSWERED_MS = NOW_MS + 50


def answer(topic: Topic, record: dict[str, object]) -> Observation:
    """Make of a record a fact of REST."""
    raw = msgspec.Raw(msgspec.json.encode(record))
    return private_fact(
        topic, raw, ANSWERED_MS, ANSWERED_MS * 1000, TRACE, category="linear", source=Source.REST
    )


def wallet(*coins: dict[str, object], **totals: str) -> Observation:
    """Make an answer with a wallet."""
    return answer(WALLET, {"accountType": "UNIFIED", **totals, "coin": list(coins)})


def test_a_balance_pushed_while_rest_was_asked_is_not_overwritten_by_the_older_answer() -> None:
    """The answer bears a later time than the push, but was read before it."""
    desk = Desk()
    desk.wallet(coin("USDT", "100"), at=NOW_MS - 1000, totalEquity="100")
    desk.wallet(coin("USDT", "90"), at=PUSHED_MS, totalEquity="90")
    old = wallet(coin("USDT", "100"), coin("BTC", "1"), totalEquity="100")
    _, merged = desk.stage.take_wallet(old, asked_at=ASKED_AT)
    (usdt,) = (row for row in desk.stage.balances.coins if row.coin == "USDT")
    assert str(usdt.amounts.wallet_balance) == "90"
    assert desk.stage.balances.margin is not None
    assert str(desk.stage.balances.margin.amounts.total_equity) == "90"
    assert (list(merged.changed), list(merged.outdated)) == (["BTC"], ["USDT"])
    assert [one["coin"] for one in desk.payloads[-1]["coin"]] == ["BTC"]


def test_a_whole_wallet_tells_no_coin_that_was_pushed_while_rest_was_asked() -> None:
    """What consumers hear last of each coin is true."""
    desk = Desk()
    desk.wallet(coin("USDT", "90"), at=PUSHED_MS)
    old = wallet(coin("USDT", "100"), coin("BTC", "1"))
    desk.stage.take_wallet(old, is_whole=True, asked_at=ASKED_AT)
    assert [one["coin"] for one in desk.payloads[-1]["coin"]] == ["BTC"]


def test_a_balance_pushed_before_rest_was_asked_gives_way_to_the_answer() -> None:
    """A push that was missed since is made up for."""
    desk = Desk()
    desk.wallet(coin("USDT", "90"), at=NOW_MS - 1)
    desk.stage.take_wallet(wallet(coin("USDT", "100")), asked_at=ASKED_AT)
    assert str(desk.stage.balances.coins[0].amounts.wallet_balance) == "100"


def test_a_leverage_pushed_while_rest_was_asked_is_not_set_back_by_the_older_answer() -> None:
    """No trade, so `seq` is the same, and time alone would decide."""
    desk = Desk()
    desk.tell(POSITION, position(leverage="10"), at=NOW_MS - 1000)
    desk.tell(POSITION, position(leverage="20"), at=PUSHED_MS)
    assert not desk.stage.take(answer(POSITION, position(leverage="10")), ASKED_AT)
    assert desk.stage.take(answer(POSITION, position(leverage="20", seq=101)), ASKED_AT)
    assert [json.loads(fact.payload)["leverage"] for fact in desk.pipeline.taken] == [
        "10", "20", "20",
    ]  # fmt: skip


def test_a_leverage_pushed_before_rest_was_asked_gives_way_to_the_answer() -> None:
    """And what was told unchanged since then does not."""
    desk = Desk()
    desk.tell(POSITION, position(leverage="10"), at=NOW_MS - 1000)
    assert desk.stage.take(answer(POSITION, position(leverage="20")), ASKED_AT)
    desk.tell(POSITION, position(leverage="20"), at=PUSHED_MS)
    assert not desk.stage.take(answer(POSITION, position(leverage="5")), ASKED_AT)
