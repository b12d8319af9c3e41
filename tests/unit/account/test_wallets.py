"""Wallets: read exactly, held against the rules, merged coin by coin."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.account_desk import NOW_MS, WALLET, Desk, coin
from ws_gateway.account.wallets import read_wallet
from ws_gateway.domain.amount import EXACT, plain, read_amount
from ws_gateway.domain.balance import content_digest
from ws_gateway.domain.event import GapReason, Source

amounts = st.decimals(
    min_value=Decimal("-1e20"), max_value=Decimal("1e20"), places=18, allow_nan=False
)


@given(amounts)
def test_an_amount_is_read_and_written_without_losing_a_digit(amount: Decimal) -> None:
    """Beyond what a float or the default context could hold."""
    text = format(amount, "f")
    read = read_amount(text)
    assert read is not None
    assert EXACT.compare(read, amount) == 0
    again = read_amount(plain(read))
    assert again == read
    assert "e" not in plain(read).lower()


@given(amounts, st.integers(0, 6))
def test_equal_amounts_are_written_alike(amount: Decimal, zeros: int) -> None:
    """However the venue pads them, so that they make the same identity."""
    text = format(amount, "f")
    padded = read_amount(text + "0" * zeros)
    bare = read_amount(text)
    assert padded is not None
    assert bare is not None
    assert plain(padded) == plain(bare)


@pytest.mark.parametrize(
    "text", ["1_000", " 1", "0x1", "NaN", "Infinity", "1,5", "٣", "1e400", "-"]
)
def test_what_is_no_decimal_number_is_refused(text: str) -> None:
    """Python's own reader would take some of these."""
    with pytest.raises(ValueError, match="no decimal number"):
        read_amount(text)


@given(st.lists(st.tuples(st.sampled_from("ABCD"), amounts), max_size=30))
def test_the_latest_of_each_coin_is_what_was_told_of_it_last(
    told: list[tuple[str, Decimal]],
) -> None:
    """Whatever else was told since: a push names only the coins it touched."""
    desk, expected = Desk(), {}
    for step, (name, amount) in enumerate(told):
        text = format(abs(amount), "f")
        desk.wallet(coin(name, text), at=NOW_MS + step)
        expected[name] = Decimal(text)
    assert {row.coin: row.amounts.wallet_balance for row in desk.stage.balances.coins} == expected
    assert len({row.event_id for row in desk.coins}) == len(desk.coins)


def test_a_wallet_goes_on_as_it_came_and_its_coins_are_stored() -> None:
    """Every amount, exact; available is what no order, position or bonus binds."""
    desk = Desk()
    desk.wallet(
        coin("USDT", "100.10", locked="1", totalOrderIM="2", totalPositionIM="3", bonus="4"),
        totalEquity="100", totalWalletBalance="90", totalPerpUPL="10", totalMarginBalance="100",
        accountIMRate="0.05",
    )  # fmt: skip
    (row,) = desk.coins
    assert row.amounts.available_balance == Decimal("90.10")
    assert row.amounts.frozen == Decimal(3)
    assert (row.account, row.event_timestamp, row.source) == ("main", NOW_MS, Source.STREAM)
    (fact,) = desk.pipeline.taken
    assert json.loads(fact.payload)["coin"][0]["walletBalance"] == "100.10"
    margin = desk.stage.balances.margin
    assert margin is not None
    assert margin.amounts.total_equity == 100
    assert len(desk.records) == 2


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"walletBalance": "ten"}, "balance_malformed"),
        ({"walletBalance": ""}, "balance_malformed"),
        ({"walletBalance": 5}, "balance_malformed"),
        ({"coin": ""}, "balance_malformed"),
        ({"locked": "-1"}, "balance_sign"),
        ({"borrowAmount": "-0.1"}, "balance_sign"),
        ({"walletBalance": "-5", "equity": "-5", "usdValue": "-5"}, "balance_sign"),
        ({"usdValue": "-100"}, "balance_sign"),
        ({"coin": "BTC", "equity": "101"}, "balance_inconsistent"),
    ],
)
def test_a_coin_that_cannot_be_true_is_kept_apart_and_keeps_no_other_back(
    fields: dict[str, Any], reason: str
) -> None:
    """Quarantined with its reason, a marker in the stream, an alert; the rest goes on."""
    desk = Desk()
    desk.wallet(coin("ETH", "2"), coin() | fields)
    assert desk.pipeline.reasons == [reason]
    ((topics, why, detail),) = desk.pipeline.broken
    assert (topics, why) == ([WALLET], GapReason.SEQUENCE)
    assert "failed validation" in detail
    assert [row.coin for row in desk.coins] == ["ETH"]
    (payload,) = desk.payloads
    assert [one["coin"] for one in payload["coin"]] == ["ETH"]
    (problem,) = desk.stage.problems()
    assert (problem.code, problem.account) == (reason, "main")


@pytest.mark.parametrize(
    "fields",
    [
        {"walletBalance": "-5", "equity": "-5", "usdValue": "-5", "borrowAmount": "5"},
        {"walletBalance": "-5", "equity": "1", "unrealisedPnl": "6", "usdValue": "1"},
        {"walletBalance": "5", "equity": "-1", "unrealisedPnl": "-6", "usdValue": "-1"},
        {"coin": "USDC", "equity": "140"},  # the value of options is told nowhere
        {"coin": "BTC", "equity": "100.00001"},
        {"coin": "BTC", "spotBorrow": "30", "equity": "70"},
        {"equity": "", "usdValue": "", "unrealisedPnl": "", "totalOrderIM": ""},
    ],
)
def test_what_is_true_of_real_accounts_is_taken(fields: dict[str, Any]) -> None:
    """Debts, options, roundings, old account kinds."""
    desk = Desk()
    desk.wallet(coin() | fields)
    assert desk.pipeline.quarantined == []
    assert len(desk.coins) == 1


def test_totals_that_contradict_themselves_are_kept_apart_from_the_coins() -> None:
    """The coins are stored and told all the same."""
    desk = Desk()
    desk.wallet(coin(), totalMarginBalance="500", totalWalletBalance="90", totalPerpUPL="10")
    assert desk.pipeline.reasons == ["balance_inconsistent"]
    assert [row.coin for row in desk.coins] == ["USDT"]
    assert desk.stage.balances.margin is None


def test_a_wallet_that_cannot_be_read_is_quarantined_whole() -> None:
    """With a marker in its stream, and nothing published."""
    desk = Desk()
    desk.tell(WALLET, {"coin": "USDT"})
    assert desk.pipeline.reasons == ["balance_malformed"]
    assert desk.pipeline.taken == []
    assert len(desk.pipeline.broken) == 1


def test_the_same_amounts_told_again_are_no_news_whoever_tells_them() -> None:
    """Neither published nor stored again, over REST either; counted as unchanged."""
    desk = Desk()
    desk.wallet(coin("USDT", "7.10"))
    desk.wallet(coin("USDT", "7.1"), at=NOW_MS + 5)
    desk.tell(WALLET, {"coin": [coin("USDT", "7.100")]}, at=NOW_MS + 9, source=Source.REST)
    assert len(desk.pipeline.taken) == len(desk.coins) == 1
    assert desk.counters.suppressed["unchanged"] == desk.counters.received == 2


def test_amounts_that_return_are_a_fact_of_their_own() -> None:
    """An order placed and cancelled leaves what was: that is told, under another id."""
    desk = Desk()
    for step, balance in enumerate(["1", "2", "1"]):
        desk.wallet(coin("USDT", balance), at=NOW_MS + step)
    assert len({row.event_id for row in desk.coins}) == 3
    assert len(desk.pipeline.taken) == 3


def test_rest_tells_only_the_coins_that_changed() -> None:
    """It names every coin that is held."""
    desk = Desk()
    desk.wallet(coin("BTC", "1"), coin("USDT", "5"))
    desk.tell(
        WALLET, {"coin": [coin("BTC", "1"), coin("USDT", "6")]}, at=NOW_MS + 1, source=Source.REST
    )
    assert [one["coin"] for one in desk.payloads[1]["coin"]] == ["USDT"]
    assert desk.coins[-1].source is Source.REST


def test_an_older_reading_over_rest_does_not_undo_a_newer_push() -> None:
    """The answer was on its way while the stream told more."""
    desk = Desk()
    desk.wallet(coin("USDT", "6"), at=NOW_MS + 10)
    desk.tell(WALLET, {"coin": [coin("USDT", "5")]}, at=NOW_MS, source=Source.REST)
    (row,) = desk.stage.balances.coins
    assert row.amounts.wallet_balance == 6
    assert len(desk.coins) == 1


def test_a_coin_that_is_gone_is_told_as_zero_and_one_never_held_not_at_all() -> None:
    """REST writes both as empty texts."""
    desk = Desk()
    empty = {"walletBalance": "", "equity": "", "usdValue": "", "locked": "", "borrowAmount": "",
             "unrealisedPnl": ""}  # fmt: skip
    desk.wallet(coin("BTC", "1"))
    gone = [coin("BTC") | empty, coin("ETH") | empty]
    desk.tell(WALLET, {"coin": gone}, at=NOW_MS + 1, source=Source.REST)
    (row,) = desk.stage.balances.coins
    assert (row.coin, str(row.amounts.wallet_balance)) == ("BTC", "0")
    assert desk.stage.balances.held() == set()
    assert [one["coin"] for one in desk.payloads[1]["coin"]] == ["BTC"]


@given(st.binary(max_size=200))
def test_whatever_stands_in_a_coin_nothing_is_raised(raw: bytes) -> None:
    """The stage runs inside the socket's read callback."""
    desk = Desk()
    text = msgspec.json.encode(raw.decode("latin-1"))
    desk.tell(WALLET, b'{"coin":[{"coin":"USDT","walletBalance":' + text + b"}]}")
    desk.tell(WALLET, b'{"coin":[' + text + b"]}")
    assert desk.pipeline.quarantined
    assert desk.stage.balances.coins == [] or read_amount(raw.decode("latin-1")) is not None


def test_one_digest_for_equal_amounts() -> None:
    """As texts, and as bytes of a record in another order of keys."""
    one = read_wallet(msgspec.json.encode({"coin": [coin("USDT", "7.10")]}))
    other = read_wallet(
        msgspec.json.encode({"coin": [dict(reversed(coin("USDT", "7.1").items()))]})
    )
    assert content_digest(one.coins["USDT"][0]) == content_digest(other.coins["USDT"][0])


def test_a_balance_event_that_found_no_room_is_told_again_by_the_next_reading() -> None:
    """The book knows the amounts by then, so nothing has changed; readers know nothing of it."""
    desk = Desk()
    desk.wallet(coin("USDT", "100"))
    desk.pipeline.has_room = False
    desk.wallet(coin("USDT", "200"), at=NOW_MS + 10)
    whole = {"accountType": "UNIFIED", "coin": [coin("USDT", "200")]}
    desk.tell(WALLET, whole, at=NOW_MS + 20, source=Source.REST)
    desk.pipeline.has_room = True
    for step in (30, 40):
        desk.tell(WALLET, whole, at=NOW_MS + step, source=Source.REST)
    assert [one["coin"][0]["walletBalance"] for one in desk.payloads] == ["100", "200"]


def test_a_faulty_coin_keeps_no_other_from_being_told_again() -> None:
    """What is whole is all that is valid."""
    desk = Desk()
    desk.pipeline.has_room = False
    desk.wallet(coin("USDT", "200"))
    desk.pipeline.has_room = True
    whole = {"coin": [coin("USDT", "200"), coin("BTC", "many")]}
    desk.tell(WALLET, {"accountType": "UNIFIED", **whole}, at=NOW_MS + 20, source=Source.REST)
    (told,) = desk.payloads
    assert [one["coin"] for one in told["coin"]] == ["USDT"]
