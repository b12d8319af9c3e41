"""Tells what REST knows and the stream did not, at the pace of delivery."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec

from ws_gateway.account.missed import Found, Reading
from ws_gateway.account.reconcile_plan import Row
from ws_gateway.account.stage import AccountStage
from ws_gateway.domain.event import Observation
from ws_gateway.domain.topic import Channel
from ws_gateway.ports.account import DeliveryRoom, PrivateLists
from ws_gateway.ports.event_path import UnreadableSink

ROOM_SECONDS = 10.0
"""How long to wait for room; then what finds none is told by the next reading."""

_LOOK_SECONDS = 0.005
_BATCH = 200
_NO_ROOM = "there was no room for what was read"
_UNTRUE = "what cannot be true is in quarantine"

Told = tuple[Found, list[tuple[Row, Observation]]]
"""What was found of a topic, and the facts made of it."""


class Teller:
    """Passes on what was read.

    Thousands of rows at once would take the room that the stream's own events need, and REST's can
    be had again while those cannot. So each waits until delivery has room and to spare.

    Attributes:
        is_wallet_told: the whole wallet was published since somebody wants it.
    """

    def __init__(
        self,
        stage: AccountStage,
        lists: PrivateLists,
        unreadable: UnreadableSink,
        delivery: DeliveryRoom,
    ) -> None:
        self._stage = stage
        self._lists = lists
        self._unreadable = unreadable
        self._delivery = delivery
        self.is_wallet_told = False

    async def tell(self, read: Reading, news: Counter[str]) -> list[Told]:
        """Pass on what the stream did not tell, in the order it happened; answers what there was.

        What was found until now is taken out of a reading: one that goes on is told in portions.

        Args:
            read: the reading.
            news: where it is counted, by class.
        """
        told: list[Told] = []
        is_patient = True
        everything, read.found = read.found, []
        for found in everything:
            event_class = found.topic.event_class.value
            facts = [
                (row, fact)
                for row in found.rows
                if (fact := self._fact(read, found, row)) is not None
            ]
            told.append((found, facts))
            for place, (row, fact) in enumerate(facts):
                if is_patient and not self._delivery.has_ease:
                    is_patient = await self._room()
                missing, refused = self._stage.missing, self._stage.refused
                news[event_class] += self._stage.take(fact, row.page.asked_at)
                if self._stage.missing > missing:
                    read.fail("delivery", _NO_ROOM, [(found.topic, str(found.category))])
                if self._stage.refused > refused:
                    line = (found.topic, str(found.category))
                    read.fail(f"{found.category} {found.topic.name}", _UNTRUE, [line])
                if place % _BATCH == _BATCH - 1:
                    await asyncio.sleep(0)  # let it be sent, and the stream be read
        self._tell_wallets(read, news)
        return told

    def _tell_wallets(self, read: Reading, news: Counter[str]) -> None:
        wallets, read.wallets = read.wallets, []
        for wallet in wallets:
            before = {one.coin: one.amounts.wallet_balance for one in self._stage.balances.coins}
            missing, refused = self._stage.missing, self._stage.refused
            reading, _ = self._stage.take_wallet(
                wallet, is_whole=not self.is_wallet_told, asked_at=read.wallets_asked_at
            )
            if reading.coins or reading.empty or reading.margin is not None:  # it was a wallet
                self.is_wallet_told = True  # what found no room then, the stage tells again
            wanted = [(topic, "") for topic in read.topics if topic.channel is Channel.BALANCE]
            if self._stage.missing > missing:
                read.fail("delivery", _NO_ROOM, wanted)
            if self._stage.refused > refused:
                read.fail("wallet", _UNTRUE, wanted)
            news["balance"] += any(
                before.get(one.coin, one.amounts.wallet_balance) != one.amounts.wallet_balance
                for one in self._stage.balances.coins
            )

    async def _room(self) -> bool:
        """Wait for room; answers False if there was none in time, which is waited for once."""
        try:
            async with asyncio.timeout(ROOM_SECONDS):
                while not self._delivery.has_ease:  # noqa: ASYNC110 - confirms have no event
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            return False  # what finds no room is counted, and read again
        return True

    def _fact(self, read: Reading, found: Found, row: Row) -> Observation | None:
        try:
            return self._lists.fact(found.topic, row.raw, row.page, row.category)
        except (msgspec.DecodeError, RecursionError) as exc:
            self._unreadable.quarantine(
                reason="missing_field",
                origin=f"rest:{found.topic.name}",
                detail=str(exc),
                raw=bytes(row.raw),
                trace_id=row.page.trace_id,
            )
            read.fail(
                f"{found.category} {found.topic.name}",
                "rows that cannot be read are in quarantine",
                [(found.topic, str(found.category))],
            )
            return None
