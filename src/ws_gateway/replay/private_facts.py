"""Private facts of a recording, brought into the form the live path gives them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from frame_recording import RecordedFile, RecordingFault, find_files
from ws_gateway.account.stage import AccountStage
from ws_gateway.domain.balance import BalanceRecord
from ws_gateway.domain.event import Observation
from ws_gateway.ports.event_path import ObservationSink, UnreadableSink
from ws_gateway.runtime.counters import Counters


def recorded_account(places: Sequence[Path]) -> str | None:
    """Name the first account of a recording as its gateway called it; None if it does not say."""
    try:
        paths = find_files(places)
    except RecordingFault:
        return None  # which is told when it is to be replayed
    for path in paths:
        try:
            accounts = RecordedFile(path).header.accounts
        except RecordingFault:
            continue
        if accounts:
            return accounts[0]
    return None


class _NothingKept:
    """Stores no balances: a replay tells what was, and changes nothing."""

    def put(self, records: Sequence[BalanceRecord]) -> None:
        """Let them go."""


class ReplayedAccounts:
    """The stages through which private facts go before the pipeline, one per account.

    Args:
        first: name of the account whose topics name none.
        sink: the pipeline.
        unreadable: where goes what cannot be believed.
        counters: of the replay.
    """

    def __init__(
        self, first: str, sink: ObservationSink, unreadable: UnreadableSink, counters: Counters
    ) -> None:
        self._first = first
        self._sink = sink
        self._unreadable = unreadable
        self._counters = counters
        self._stages: dict[str | None, AccountStage] = {}
        self.suppress = sink.suppress
        self.last_update_id = sink.last_update_id
        self.break_streams = sink.break_streams

    def accept(self, observation: Observation) -> None:
        """Take one private fact."""
        account = observation.topic.account
        stage = self._stages.get(account)
        if stage is None:
            stage = self._stages[account] = AccountStage(
                account or self._first,
                sink=self._sink,
                unreadable=self._unreadable,
                keeper=_NothingKept(),
                counters=self._counters,
                monotonic=time.monotonic,
            )
        stage.accept(observation)
