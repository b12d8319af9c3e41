"""An account stage before a pipeline that only remembers, and a store that can be away."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ws_gateway.account.stage import AccountStage
from ws_gateway.domain.balance import BalanceRecord, CoinBalance, MarginBalance
from ws_gateway.domain.event import GapReason, Observation, Source
from ws_gateway.domain.topic import Channel, Topic, build_topic
from ws_gateway.errors import DatabaseLost
from ws_gateway.ports.account import HistoryQuery
from ws_gateway.runtime.counters import Counters
from ws_gateway.venue.observations import private_fact

WALLET = build_topic(Channel.BALANCE)
POSITION = build_topic(Channel.POSITION)
TRACE = "0" * 32
NOW_MS = 1_790_000_000_000


class MemoryPipeline:
    """Remembers what it is told, as `ObservationSink` and `UnreadableSink`."""

    def __init__(self, counters: Counters) -> None:
        self.has_room = True
        self._counters = counters
        self.taken: list[Observation] = []
        self.suppressed: list[Observation] = []
        self.broken: list[tuple[list[Topic], GapReason, str]] = []
        self.quarantined: list[tuple[str, str, bytes]] = []

    def accept(self, observation: Observation) -> None:
        """Take one fact, if there is room."""
        if self.has_room:
            self.taken.append(observation)
        else:
            self._counters.shed["no_room"] += 1

    def suppress(self, observation: Observation) -> None:
        """Take a copy."""
        self.suppressed.append(observation)

    def last_update_id(self, topic: Topic) -> int | None:  # noqa: ARG002 - it has no books
        """Know of none."""
        return None

    def break_streams(
        self,
        topics: Iterable[Topic],
        reason: GapReason,
        detail: str,
        *,
        is_announced: bool = True,  # noqa: ARG002 - all are remembered
    ) -> None:
        """Remember it."""
        self.broken.append((list(topics), reason, detail))

    def quarantine(
        self,
        *,
        reason: str,
        origin: str,  # noqa: ARG002 - it has one
        detail: str,
        raw: bytes,
        trace_id: str,  # noqa: ARG002
    ) -> None:
        """Remember it."""
        self.quarantined.append((reason, detail, raw))

    @property
    def reasons(self) -> list[str]:
        """Return why something went to quarantine."""
        return [reason for reason, _, _ in self.quarantined]


class Desk:
    """An account stage with everything around it in memory."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.pipeline = MemoryPipeline(self.counters)
        self.records: list[BalanceRecord] = []
        self.stage = AccountStage(
            "main",
            sink=self.pipeline,
            unreadable=self.pipeline,
            keeper=self,
            counters=self.counters,
            monotonic=lambda: 0.0,
        )

    def put(self, records: Sequence[BalanceRecord]) -> None:
        """Take records to be stored."""
        self.records.extend(records)

    @property
    def coins(self) -> list[CoinBalance]:
        """Return the coins' records that are to be stored."""
        return [one for one in self.records if isinstance(one, CoinBalance)]

    @property
    def payloads(self) -> list[Any]:
        """Return what was published."""
        return [json.loads(fact.payload) for fact in self.pipeline.taken]

    def wallet(self, *coins: dict[str, Any], at: int = NOW_MS, **totals: Any) -> None:
        """Tell a wallet over the stream."""
        self.tell(WALLET, {"accountType": "UNIFIED", **totals, "coin": list(coins)}, at=at)

    def tell(
        self,
        topic: Topic,
        record: dict[str, Any] | bytes,
        *,
        at: int = NOW_MS,
        source: Source = Source.STREAM,
        category: str | None = None,
    ) -> None:
        """Tell a record."""
        raw = record if isinstance(record, bytes) else msgspec.json.encode(record)
        self.stage.accept(
            private_fact(
                topic, msgspec.Raw(raw), at, at * 1000, TRACE, category=category, source=source
            )
        )


def coin(name: str = "USDT", balance: str = "100", **fields: Any) -> dict[str, Any]:
    """Make a coin of a wallet that obeys the rules."""
    return {
        "coin": name, "walletBalance": balance, "equity": balance, "usdValue": balance,
        "unrealisedPnl": "0", "cumRealisedPnl": "0", "borrowAmount": "0", "spotBorrow": "0",
        "locked": "0", "totalOrderIM": "0", "totalPositionIM": "0", "totalPositionMM": "0",
        "bonus": "0", "accruedInterest": "0", **fields,
    }  # fmt: skip


def position(**fields: Any) -> dict[str, Any]:
    """Make a one-way position over the stream."""
    return {
        "category": "linear", "symbol": "BTCUSDT", "positionIdx": 0, "side": "Buy", "size": "0.5",
        "entryPrice": "60000.5", "markPrice": "61000", "leverage": "10", "positionIM": "3000",
        "positionMM": "150", "positionValue": "30000.25", "unrealisedPnl": "499.75",
        "curRealisedPnl": "-1.5", "cumRealisedPnl": "12.25", "liqPrice": "", "takeProfit": "0",
        "stopLoss": "0.00", "trailingStop": "0", "positionStatus": "Normal", "seq": 100,
        "createdTime": "1789999999000", "updatedTime": "1790000000000", "isReduceOnly": False,
        **fields,
    }  # fmt: skip


class SwitchableStore:
    """A `BalanceStore` in memory that can be away."""

    def __init__(self) -> None:
        self.rows: dict[str, BalanceRecord] = {}
        self.order: list[str] = []
        self.is_away = False
        self.writes = 0

    async def write(self, records: Sequence[BalanceRecord]) -> None:
        """Append what is not there."""
        if self.is_away:
            raise DatabaseLost("switched off")
        self.writes += 1
        for record in records:
            if record.event_id not in self.rows:
                self.rows[record.event_id] = record
                self.order.append(record.event_id)

    async def latest(self, account: str) -> list[BalanceRecord]:  # noqa: ARG002
        """Know of nothing."""
        return []

    async def coin_history(self, query: HistoryQuery) -> list[CoinBalance]:  # noqa: ARG002
        """Know of nothing."""
        return []

    async def margin_history(self, query: HistoryQuery) -> list[MarginBalance]:  # noqa: ARG002
        """Know of nothing."""
        return []

    async def keep_history(self, months: int) -> list[str]:  # noqa: ARG002
        """Keep everything."""
        return []
