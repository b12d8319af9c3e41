"""What stands between venue and pipeline for private facts.

Each is seen here synchronously and in order, whether the stream tells it or REST: wallets are kept
and stored, positions brought into one form, everything else goes on untouched. What cannot be
believed goes to quarantine, and its stream gets a gap marker; it keeps nothing else back.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec
import structlog

from ws_gateway.account.balance_book import BalanceBook, Merged
from ws_gateway.account.position_book import PositionBook, Verdict
from ws_gateway.account.position_rows import InvalidPosition, read_position
from ws_gateway.account.recent import OrderBook, RecentIds, id_digest
from ws_gateway.account.wallets import WalletReading, read_wallet, with_coins
from ws_gateway.domain.balance import BalanceRecord, BrokenRule
from ws_gateway.domain.event import GapReason, Observation, Source
from ws_gateway.domain.topic import Channel, EventClass, Topic
from ws_gateway.ports.account import AccountProblem
from ws_gateway.ports.event_path import ObservationSink, UnreadableSink
from ws_gateway.runtime.counters import AccountTally, Counters

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_TELL_SECONDS = 600.0
_MOST_TOLD = 100

_encode = msgspec.json.Encoder().encode


class BalanceKeeper(Protocol):
    """Who stores balances; the writer."""

    def put(self, records: Sequence[BalanceRecord]) -> None:
        """Take records to be stored, in order; never waits."""


class AccountStage:
    """The private facts of one account on their way to the pipeline; an `ObservationSink`.

    Args:
        account: its name, as in events and rows.
        sink: the pipeline.
        unreadable: where goes what cannot be believed.
        keeper: who stores balances.
        tally: where what is refused is counted.
        monotonic: clock in seconds.

    Attributes:
        balances: the latest of each coin.
        missing: how many facts found no room.
        positions, orders, told: what was told lately, by the key of the topic.
    """

    def __init__(
        self,
        account: str,
        *,
        sink: ObservationSink,
        unreadable: UnreadableSink,
        keeper: BalanceKeeper,
        counters: Counters,
        monotonic: Callable[[], float],
        tally: AccountTally | None = None,
    ) -> None:
        self.account = account
        self._tally = tally or AccountTally()
        self.balances = BalanceBook(account)
        self._refused: deque[tuple[float, str, str]] = deque(maxlen=_MOST_TOLD)
        self._passed = self.missing = 0
        self._monotonic = monotonic
        # By topic: `position` and `position.linear` tell the same positions to different readers.
        self.positions: defaultdict[str, PositionBook] = defaultdict(PositionBook)
        self.orders: defaultdict[str, OrderBook] = defaultdict(OrderBook)
        self.told: defaultdict[str, RecentIds] = defaultdict(RecentIds)
        self._sink = sink
        self._unreadable = unreadable
        self._keeper = keeper
        self._counters = counters
        # Balance streams that lack an event: the next wallet of REST is told whole.
        self.untold: set[str] = set()
        self._takes: dict[Channel, Callable[[Observation], object]] = {
            Channel.BALANCE: self.take_wallet,
            Channel.POSITION: self._take_position,
            Channel.ORDER: self._take_order,
            Channel.EXECUTION: self._take_once,
            Channel.EXECUTION_FAST: self._take_once,
        }
        self.suppress = sink.suppress
        self.last_update_id = sink.last_update_id
        self.break_streams = sink.break_streams

    def accept(self, observation: Observation) -> None:
        """Take one private fact: of the stream, in the order it was read, or of REST.

        A fact of REST has the payload of a row as REST gave it, and its time as `timestamp`.
        """
        take = self._takes.get(observation.topic.channel)
        if take is None:
            self._sink.accept(observation)
        else:
            take(observation)

    def take(self, observation: Observation) -> bool:
        """Take one fact of REST; answers whether it was news, so that it was passed on."""
        before = self._passed
        self.accept(observation)
        return self._passed > before

    def _pass(self, fact: Observation) -> bool:
        """Let a fact go on; answers False if there was no room for it, so that it is missing."""
        before = self._counters.shed["no_room"]
        self._sink.accept(fact)
        if self._counters.shed["no_room"] > before:
            self.missing += 1
            return False
        self._passed += 1
        return True

    def facts_lost(self, topics: Iterable[Topic]) -> None:
        """Forget what was told of these: not all of it arrived, and the next reading tells it."""
        for topic in topics:
            self.told.pop(topic.key, None)
            self.orders.pop(topic.key, None)
            if topic.channel is Channel.BALANCE:
                self.untold.add(topic.key)
            elif topic.key in self.positions:
                self.positions[topic.key].forget_all()

    def problems(self) -> list[AccountProblem]:
        """Tell what failed validation lately, the newest of each kind."""
        since = self._monotonic() - _TELL_SECONDS
        newest = {reason: detail for at, reason, detail in self._refused if at > since}
        return [
            AccountProblem(reason, self.account, f"in quarantine: {detail}")
            for reason, detail in newest.items()
        ]

    # ── wallets ───────────────────────────────────────────────────────────────────────────────

    def take_wallet(
        self, fact: Observation, *, is_whole: bool = False
    ) -> tuple[WalletReading, Merged]:
        """Take a wallet: its news are stored and published; answers them, and what it told.

        Args:
            fact: the wallet.
            is_whole: publish all of it though nothing may have changed, under an id that is made
                of the coins' states: what was stored last was perhaps not published.
        """
        try:
            reading = read_wallet(fact.payload)
        except BrokenRule as exc:
            self._refuse(fact, exc.reason, str(exc), fact.payload)
            return WalletReading(), Merged()
        for fault in reading.faults:
            self._refuse(fact, fault.reason, fault.detail, fault.raw)
        merged = self.balances.merge(reading, fact)
        records = merged.records
        if is_whole or (fact.source is not Source.STREAM and fact.topic.key in self.untold):
            self._keeper.put(records)
            self._tell_wallet(self._whole(fact, reading))
            return reading, merged
        if not records:
            if reading.coins or reading.margin is not None or not reading.faults:
                self._unchanged()
            return reading, merged
        self._keeper.put(records)
        published = _published(fact, reading, merged)
        if not self._pass(published):
            self.untold.add(fact.topic.key)  # the book has it, so it would be news no more
        return reading, merged

    def _whole(self, fact: Observation, reading: WalletReading) -> Observation:
        """Make of a reading of the whole wallet an event that tells all of it that is valid."""
        states = "|".join(sorted(row.event_id for row in self.balances.coins))
        identity = blake2b(states.encode(), digest_size=8).hexdigest()
        payload = fact.payload
        if reading.faults:
            payload = with_coins(payload, [raw for _, raw in reading.raw_coins()])
        return msgspec.structs.replace(
            fact, event_id=f"{fact.topic.key}:whole:{identity}", payload=payload
        )

    def _tell_wallet(self, whole: Observation) -> None:
        key = whole.topic.key
        self.untold.discard(key)
        if not self._pass(whole):
            self.untold.add(key)

    # ── orders and executions ─────────────────────────────────────────────────────────────────

    def _take_order(self, fact: Observation) -> None:
        """Take a state of an order; REST's is dropped if the stream told a later one."""
        book, category = self.orders[fact.topic.key], fact.category or ""
        if fact.source is not Source.STREAM and book.is_outdated(category, fact.payload):
            self._counters.received += 1
            self._counters.suppressed["outdated"] += 1
            return
        if self._take_once(fact):
            book.note(category, fact.payload)

    def _take_once(self, fact: Observation) -> bool:
        """Take a fact unless it was told; what finds no room may be told again."""
        told, digest = self.told[fact.topic.key], id_digest(fact.event_id, fact.topic.key)
        if digest in told:
            self._sink.suppress(fact)
            return False
        if self._pass(fact):
            told.add(digest)
            return True
        return False

    # ── positions ─────────────────────────────────────────────────────────────────────────────

    def _take_position(self, fact: Observation) -> None:
        try:
            position = read_position(fact.payload, category=fact.category, timestamp=fact.timestamp)
        except InvalidPosition as exc:
            self._refuse(fact, "position_invalid", str(exc), fact.payload)
            return
        book = self.positions[fact.topic.key]
        verdict, identity = book.judge(position, fact.source)
        if verdict is not Verdict.NEWS:
            self._unchanged()
            return
        is_taken = self._pass(
            msgspec.structs.replace(
                fact,
                event_id=f"{fact.topic.key}:{identity}",
                category=position.category,
                symbol=position.symbol,
                payload=_encode(position),
            )
        )
        if not is_taken:
            book.forget(position, identity)

    # ── neither ───────────────────────────────────────────────────────────────────────────────

    def _refuse(self, fact: Observation, reason: str, detail: str, raw: bytes) -> None:
        """Keep what cannot be believed for a person, and tell who reads the stream."""
        topic = fact.topic
        self._tally.refused[reason] += 1
        self._refused.append((self._monotonic(), reason, detail))
        self._unreadable.quarantine(
            reason=reason, origin=f"{self.account}:{topic.name}", detail=detail, raw=raw,
            trace_id=fact.trace_id,
        )  # fmt: skip
        what = "position" if topic.event_class is EventClass.POSITION else "balance"
        self._sink.break_streams(
            [topic], GapReason.SEQUENCE, f"a {what} failed validation: {detail}"
        )

    def _unchanged(self) -> None:
        self._counters.received += 1
        self._counters.suppressed["unchanged"] += 1


def _published(fact: Observation, reading: WalletReading, merged: Merged) -> Observation:
    """Return the fact as consumers are to have it: without what is not valid.

    The stream's own record otherwise stays as it came; of REST's, which names every coin, only
    those that changed are told.
    """
    if fact.source is Source.STREAM and not reading.faults:
        return fact
    coins = [
        raw
        for coin, raw in reading.raw_coins()
        if fact.source is Source.STREAM or coin in merged.changed
    ]
    return msgspec.structs.replace(fact, payload=with_coins(fact.payload, coins))
