"""Private facts of a recording, brought into the form the live path gives them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ws_gateway.account.stage import AccountStage
from ws_gateway.domain.balance import BalanceRecord
from ws_gateway.ports import ObservationSink, UnreadableSink
from ws_gateway.runtime.counters import Counters


class _NothingKept:
    """Stores no balances: a replay tells what was, and changes nothing."""

    def put(self, records: Sequence[BalanceRecord]) -> None:
        """Let them go."""


def replayed_account(
    name: str, sink: ObservationSink, unreadable: UnreadableSink, counters: Counters
) -> AccountStage:
    """Make the stage through which an account's private facts go before the pipeline.

    Args:
        name: of the account.
        sink: the pipeline.
        unreadable: where goes what cannot be believed.
        counters: of the replay.
    """
    return AccountStage(
        name,
        sink=sink,
        unreadable=unreadable,
        keeper=_NothingKept(),
        counters=counters,
        monotonic=time.monotonic,
    )
