"""One account of the simulator with all that is its own: nothing of it is shared with another."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from bybit_sim.account import Account
from bybit_sim.busy import Runs
from bybit_sim.config import AccountConfig, SimulatorError
from bybit_sim.key_terms import KeyTerms
from bybit_sim.private_stage import PrivateStage
from bybit_sim.rest_private import PrivateDesk
from bybit_sim.trader import Trader
from bybit_sim.trading import Trading


@dataclass(eq=False, slots=True)
class Party:
    """An account, who hears of it, and what moves it.

    Attributes:
        of: its name and key pair; the pair is None where every login is refused.
        uid: account number in private frame ids.
        account: balances, positions and orders.
        stage: its private topics.
        trading: the way to change it, with its ledger.
        runs: busy traders.
        desk: what signed REST calls tell of it.
        trader: the background trader.
        visits: signed calls of the present second, by path.
        terms: what its key may do.
    """

    of: AccountConfig
    uid: int
    account: Account
    stage: PrivateStage
    trading: Trading
    runs: Runs
    desk: PrivateDesk
    trader: Trader
    visits: dict[str, tuple[int, int]] = field(default_factory=dict)
    terms: KeyTerms = field(default_factory=KeyTerms)

    @property
    def name(self) -> str:
        """Name it as the control endpoint does."""
        return self.of.name


def party_of_key(parties: Sequence[Party], key: str) -> Party | None:
    """Return whose key it is, None if it is nobody's."""
    for party in parties:
        known = party.of.api_key
        if known is not None and hmac.compare_digest(known.encode(), key.encode()):
            return party
    return None


def party_of_name(parties: Sequence[Party], name: str | None) -> Party:
    """Return an account by its name; the first one without.

    Raises:
        SimulatorError: there is none.
    """
    if name is None:
        return parties[0]
    for party in parties:
        if party.name == name:
            return party
    names = ", ".join(each.name for each in parties)
    raise SimulatorError(f"there is no account {name!r}; there are: {names}")
