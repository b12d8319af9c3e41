"""The latest balance of each coin, kept in memory: pushes name only the coins they touched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ws_gateway.account.wallets import WalletReading
from ws_gateway.domain.amount import ZERO
from ws_gateway.domain.balance import (
    BalanceRecord,
    CoinAmounts,
    CoinBalance,
    MarginAmounts,
    MarginBalance,
    content_digest,
)
from ws_gateway.domain.event import Observation, Source


@dataclass(frozen=True, slots=True)
class CoinChange:
    """What a reading of a coin changed; `previous` is None for a coin that was not known."""

    previous: CoinBalance | None
    latest: CoinBalance


@dataclass(slots=True)
class Merged:
    """What a wallet told that was not known.

    Attributes:
        changed: by coin.
        unchanged: coins told as they were.
        outdated: coins of which something newer is known.
        margin: the account's totals, None if they are as they were or were not told.
    """

    changed: dict[str, CoinChange] = field(default_factory=dict)
    unchanged: dict[str, CoinBalance] = field(default_factory=dict)
    outdated: dict[str, CoinBalance] = field(default_factory=dict)
    margin: MarginBalance | None = None

    @property
    def records(self) -> list[BalanceRecord]:
        """List what is to be stored."""
        rows: list[BalanceRecord] = [change.latest for change in self.changed.values()]
        return rows if self.margin is None else [*rows, self.margin]


class BalanceBook:
    """The latest balances of one account.

    A coin told again with the same amounts is the same fact, whether stream or REST tells it, and
    keeps its identity; the same amounts after others are a new fact, told apart by their time.
    """

    def __init__(self, account: str) -> None:
        self.account = account
        self._coins: dict[str, CoinBalance] = {}
        self._margin: MarginBalance | None = None
        self._recalled: set[str] = set()

    @property
    def coins(self) -> list[CoinBalance]:
        """Return the latest of each coin, in order of name."""
        return [self._coins[coin] for coin in sorted(self._coins)]

    @property
    def margin(self) -> MarginBalance | None:
        """Return the latest totals, None before the first."""
        return self._margin

    def restore(self, records: Iterable[BalanceRecord]) -> None:
        """Take up what an earlier process knew; what is known already is newer."""
        for record in records:
            if isinstance(record, CoinBalance):
                self._coins.setdefault(record.coin, record)
            elif self._margin is None:
                self._margin = record

    def recall(self, records: Iterable[BalanceRecord]) -> None:
        """Take note of what was held, of an earlier process that may have known more.

        Amounts are not taken up: newer ones are on their way to where these were read.
        """
        self._recalled |= {one.coin for one in records if isinstance(one, CoinBalance)}

    def held(self) -> set[str]:
        """Name the coins that are not all at zero, or may not be."""
        return (self._recalled - self._coins.keys()) | {
            coin
            for coin, row in self._coins.items()
            if row.amounts.wallet_balance or row.amounts.equity or row.amounts.borrowed
        }

    def merge(
        self, reading: WalletReading, fact: Observation, asked_at: int | None = None
    ) -> Merged:
        """Take a reading of a wallet; coins it does not name stay as they are.

        Args:
            reading: what it tells.
            fact: where and when it was read.
            asked_at: when REST was asked, our clock, µs: what it tells may be as old, whatever
                time the answer bears. What was pushed since is not older.
        """
        merged = Merged()
        told = {coin: amounts for coin, (amounts, _) in reading.coins.items()}
        for coin in reading.empty:
            if coin in self._coins or coin in self._recalled:  # of others is nothing to say
                told[coin] = CoinAmounts(ZERO, ZERO, ZERO, equity=ZERO, borrowed=ZERO)
        for coin, amounts in told.items():
            self._merge_coin(merged, coin, amounts, fact, asked_at)
        if reading.margin is not None:
            self._merge_margin(merged, reading.margin, fact, asked_at)
        return merged

    def _merge_coin(
        self,
        merged: Merged,
        coin: str,
        amounts: CoinAmounts,
        fact: Observation,
        asked_at: int | None,
    ) -> None:
        latest = self._coins.get(coin)
        if latest is not None and latest.amounts == amounts:
            merged.unchanged[coin] = latest
            return
        is_older = _is_older(fact, latest, asked_at)
        if latest is not None and is_older and fact.source is not Source.STREAM:
            merged.outdated[coin] = latest
            return
        row = CoinBalance(
            self.account,
            coin,
            amounts,
            fact.timestamp,
            fact.received_at,
            fact.source,
            f"wallet:{coin}:{fact.timestamp}:{content_digest(amounts)}",
            fact.trace_id,
        )
        merged.changed[coin] = CoinChange(latest, row)
        if not is_older:
            self._coins[coin] = row

    def _merge_margin(
        self, merged: Merged, amounts: MarginAmounts, fact: Observation, asked_at: int | None
    ) -> None:
        latest = self._margin
        if latest is not None and latest.amounts == amounts:
            return
        is_older = _is_older(fact, latest, asked_at)
        if is_older and fact.source is not Source.STREAM:
            return
        merged.margin = MarginBalance(
            self.account,
            amounts,
            fact.timestamp,
            fact.received_at,
            fact.source,
            f"wallet:{fact.timestamp}:{content_digest(amounts)}",
            fact.trace_id,
        )
        if not is_older:
            self._margin = merged.margin


def _is_older(fact: Observation, latest: BalanceRecord | None, asked_at: int | None) -> bool:
    """Say whether a fact is, or may be, older than what is known."""
    if latest is None:
        return False
    is_pushed = latest.source is Source.STREAM
    is_overtaken = asked_at is not None and is_pushed and latest.received_at >= asked_at
    return is_overtaken or fact.timestamp < latest.event_timestamp
