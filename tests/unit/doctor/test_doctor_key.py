"""What is said of a key that Bybit knows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ws_gateway.doctor.exchange import judge_key
from ws_gateway.doctor.finding import Verdict
from ws_gateway.venue.rest import KeyInformation

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("known", "verdict", "words"),
    [
        (KeyInformation("", ("*",), 1, {"Wallet": ("x",)}), Verdict.OK, "read-only; Wallet"),
        (KeyInformation("2027-02-01T00:00:00Z", ("1.2.3.4",), 1), Verdict.OK, "1.2.3.4"),
        (KeyInformation("2026-11-10T00:00:00Z", (), 1), Verdict.WARNING, "2026-11-10"),
        (KeyInformation("", (), 0), Verdict.WARNING, "may trade; no permission"),
        (KeyInformation("soon", (), 1), Verdict.OK, "expires soon"),
    ],
)
def test_a_key_is_judged_by_expiry_and_rights(
    known: KeyInformation, verdict: Verdict, words: str
) -> None:
    """One that ends soon, or that may trade, is worth a word."""
    finding = judge_key(known, "abc…", NOW)
    assert finding.verdict is verdict
    assert words in finding.found
    assert (finding.remedy is None) == (verdict is Verdict.OK)
