"""Balances read over REST on request: stored, published, and told coin by coin."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from ws_gateway.account.balance_book import Merged
from ws_gateway.account.stage import AccountStage
from ws_gateway.account.wallets import WalletReading
from ws_gateway.account.writer import BalanceWriter
from ws_gateway.domain.event import Observation
from ws_gateway.ports.account import CoinOutcome, Synced, SyncedCoin, WalletSource

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

STORE_SECONDS = 2.0
"""How long an answer waits for the commit of what it tells."""

_COINS_PER_CALL = 20


class BalanceSync:
    """Reads the wallet of one account over REST, one reading at a time for all who ask."""

    def __init__(self, stage: AccountStage, source: WalletSource, writer: BalanceWriter) -> None:
        self._stage = stage
        self._source = source
        self._writer = writer
        self._running: asyncio.Task[Synced] | None = None

    async def sync(self) -> Synced:
        """Read, store and publish now; whoever asks meanwhile gets the answer of the same reading.

        Raises:
            VenueLost: the venue is away or busy.
            Rejected: it refuses, or there is no key.
        """
        if self._running is None:
            self._running = asyncio.create_task(self._sync(), name="balance-sync")
            self._running.add_done_callback(self._done)
        return await asyncio.shield(self._running)

    def _done(self, task: asyncio.Task[Synced]) -> None:
        self._running = None
        if not task.cancelled():
            task.exception()  # whoever asked may have left; a failure is theirs to hear

    async def close(self) -> None:
        """End a reading that is under way."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _sync(self) -> Synced:
        known = self._stage.balances.held()
        results = self._take(await self._source.wallet())
        named = {coin for reading, _, _ in results for coin in (*reading.coins, *reading.empty)}
        # Coins that went to zero are not told unless they are asked for (v5 reference 11.6).
        gone = sorted(known - named)
        for start in range(0, len(gone), _COINS_PER_CALL):
            results += self._take(await self._source.wallet(gone[start : start + _COINS_PER_CALL]))
        is_stored = await self._writer.committed_all(STORE_SECONDS)
        synced = Synced(
            self._stage.account,
            max((fact.timestamp for _, _, fact in results), default=0),
            sorted(_coins(merged for _, merged, _ in results), key=lambda one: one.coin),
            [fault.detail for reading, _, _ in results for fault in reading.faults],
            is_stored,
        )
        log.info(
            "account.balances_synced",
            account=synced.account,
            changed=sum(one.outcome is CoinOutcome.CHANGED for one in synced.coins),
            coins=len(synced.coins),
            faults=len(synced.faults),
            stored=is_stored,
        )
        return synced

    def _take(self, facts: list[Observation]) -> list[tuple[WalletReading, Merged, Observation]]:
        return [(*self._stage.take_wallet(fact), fact) for fact in facts]


def _coins(merged: Iterable[Merged]) -> list[SyncedCoin]:
    found: dict[str, SyncedCoin] = {}
    for one in merged:
        for coin, change in one.changed.items():
            found[coin] = SyncedCoin(coin, CoinOutcome.CHANGED, change.previous, change.latest)
        for coin, row in (*one.unchanged.items(), *one.outdated.items()):
            found[coin] = SyncedCoin(coin, CoinOutcome.UNCHANGED, row, row)
    return list(found.values())
