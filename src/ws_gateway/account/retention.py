"""The history's months: made before they begin, dropped when they are too old."""

from __future__ import annotations

import asyncio

import structlog

from ws_gateway.errors import DatabaseLost
from ws_gateway.ports.account import BalanceStore

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_LOOK_SECONDS = 6 * 3600.0
_RETRY_SECONDS = 60.0


class Retention:
    """Keeps the history of balances at so many whole months; 0 keeps everything."""

    def __init__(self, store: BalanceStore, months: int) -> None:
        self._store = store
        self._months = months

    async def run(self) -> None:
        """Look after the months until cancelled."""
        while True:
            is_done = await self.look()
            await asyncio.sleep(_LOOK_SECONDS if is_done else _RETRY_SECONDS)

    async def look(self) -> bool:
        """Look once; answers False if the database was away."""
        try:
            done = await self._store.keep_history(self._months)
        except DatabaseLost as exc:
            log.warning("account.history_not_kept", why=str(exc))
            return False
        if done:
            log.info("account.history_kept", done=done, months=self._months)
        return True
