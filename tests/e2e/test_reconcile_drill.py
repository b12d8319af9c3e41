"""What a busy account did is complete although its socket was cut and its gateway killed."""

from __future__ import annotations

from support.reconcile_drill import Plan, drill
from support.site import Site


async def test_nothing_an_account_did_is_missing_after_cuts_and_a_kill(site: Site) -> None:
    """Every execution, and the last state of orders, positions and balances, under one id each."""
    figures = await drill(site, Plan(orders=600, rate=60, cuts=5, kills=1, settle_seconds=240))
    words = "\n".join([*figures.lines(), *figures.faults[:10]])
    assert figures.faults == [], words
    assert figures.cuts == 5, words
    assert figures.from_rest["execution"] > 0, words
    assert figures.from_rest["balance"] > 0, words
