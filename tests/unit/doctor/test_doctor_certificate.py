"""What is said of a certificate that was looked at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ws_gateway.doctor.certificates import judge
from ws_gateway.doctor.finding import Verdict

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "days", "verdict", "words", "remedy"),
    [
        ("http", 15, Verdict.OK, "http ends on 2026-11-16T00:00Z, in 15 days", ""),
        ("broker", 13, Verdict.WARNING, "broker ends on", "let whoever runs the broker renew it"),
        ("broker_authority", 1, Verdict.FAILED, "broker_authority ends", "beside the old one"),
        ("database_client", -3, Verdict.FAILED, "ended on 2026-10-29", "runs the database"),
    ],
)
def test_a_certificate_is_an_error_before_it_ends(
    name: str, days: int, verdict: Verdict, words: str, remedy: str
) -> None:
    """With what to do about it, and by whom."""
    finding = judge(name, NOW + timedelta(days=days), NOW)
    assert finding.verdict is verdict
    assert words in finding.found
    assert remedy in (finding.remedy or "")
    assert (finding.remedy is None) == (verdict is Verdict.OK)
