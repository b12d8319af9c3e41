"""What is said of a key that Bybit knows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ws_gateway.doctor.finding import Verdict
from ws_gateway.doctor.keys import judge_expiry, judge_key, judge_permissions
from ws_gateway.venue.rest import KeyInformation

NOW = datetime(2026, 11, 1, tzinfo=UTC)
CONTRACTS = {"ContractTrade": ("Order", "Position"), "Wallet": ()}
EVERYTHING = {**CONTRACTS, "Spot": ("SpotTrade",), "Options": ("OptionsTrade",)}


@pytest.mark.parametrize(
    ("known", "verdict", "words"),
    [
        (KeyInformation(None, ("1.2.3.4",), 1), Verdict.OK, "read-only); bound to 1.2.3.4"),
        (KeyInformation(None, (), 0), Verdict.WARNING, "may trade); bound to no address"),
    ],
)
def test_a_key_that_may_trade_is_worth_a_word(
    known: KeyInformation, verdict: Verdict, words: str
) -> None:
    """The gateway only reads."""
    finding = judge_key(known, "abc…")
    assert finding.verdict is verdict
    assert words in finding.found
    assert (finding.remedy is None) == (verdict is Verdict.OK)


@pytest.mark.parametrize(
    ("expired_at", "verdict", "words"),
    [
        ("", Verdict.OK, "does not end"),
        (None, Verdict.OK, "does not end"),
        ("1970-01-01T00:00:00Z", Verdict.OK, "does not end"),
        ("2027-02-01T00:00:00Z", Verdict.OK, "in 92 days"),
        ("2026-11-10T00:00:00", Verdict.WARNING, "in 9 days"),
        ("2026-11-02T12:00:00Z", Verdict.FAILED, "in 1 days"),
        ("2026-11-01T12:00:00Z", Verdict.FAILED, "within a day"),
        ("2026-10-31T00:00:00Z", Verdict.FAILED, "ended on 2026-10-31"),
        ("soon", Verdict.WARNING, "cannot be read: 'soon'"),
    ],
)
def test_a_key_that_ends_within_days_is_an_error_and_one_bound_to_addresses_never_ends(
    expired_at: str | None, verdict: Verdict, words: str
) -> None:
    """Of the latter Bybit tells the beginning of 1970."""
    finding = judge_expiry(KeyInformation(expired_at), NOW)
    assert finding.verdict is verdict
    assert words in finding.found
    assert (finding.remedy is None) == (verdict is Verdict.OK)


def test_the_remedy_names_the_setting_that_a_further_accounts_key_comes_from() -> None:
    """It is another than the first one's."""
    finding = judge_expiry(KeyInformation("2026-10-31T00:00:00Z"), NOW, "hedge")
    assert finding.remedy is not None
    assert "api_key of hedge in WSG_ACCOUNTS" in finding.remedy


@pytest.mark.parametrize(
    ("permissions", "refused", "unread", "verdict", "words"),
    [
        (EVERYTHING, [], [], Verdict.OK, "may ContractTrade, Options, Spot"),
        (CONTRACTS, [], [], Verdict.WARNING, "lacks Spot (SpotTrade), Options (OptionsTrade)"),
        ({}, [], [], Verdict.FAILED, "may nothing; it lacks Spot"),
        ({"Wallet": ("AccountTransfer",)}, [], [], Verdict.FAILED, "lacks"),
        (EVERYTHING, ["positions of linear"], [], Verdict.FAILED, "refuses it positions of linear"),
        (EVERYTHING, [], ["the wallet (gone)"], Verdict.WARNING, "not read: the wallet (gone)"),
    ],
)
def test_a_key_without_what_the_gateway_reads_is_not_ok(
    permissions: dict[str, tuple[str, ...]],
    refused: list[str],
    unread: list[str],
    verdict: Verdict,
    words: str,
) -> None:
    """What Bybit refuses counts more than what it says the key may."""
    known = KeyInformation(None, ("*",), 1, permissions)
    finding = judge_permissions(known, refused, unread)
    assert finding.verdict is verdict
    assert words in finding.found
    assert (finding.remedy is None) == (verdict is Verdict.OK)
