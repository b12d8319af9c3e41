"""Which state each position was told in last, so that what is told again is recognised."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from ws_gateway.domain.event import Source
from ws_gateway.domain.position import Position, position_identity

_REMEMBERED = 64
"""States kept of each position, to tell one that returns from one that is told again."""

_MOST_ROWS = 20_000


class Verdict(Enum):
    """What a reading of a position is to those before it."""

    NEWS = auto()
    UNCHANGED = auto()
    """The same state again."""
    OUTDATED = auto()
    """REST told a state that the stream has already told a later one of."""


@dataclass(slots=True)
class _Row:
    identity: str
    seq: int | None
    timestamp: int
    is_flat: bool
    heard_at: int
    told: dict[str, None] = field(default_factory=dict)

    def remember(self, identity: str) -> None:
        """Take note that a state was told."""
        self.told[identity] = None
        if len(self.told) > _REMEMBERED:
            del self.told[next(iter(self.told))]


class PositionBook:
    """The newest state of each position of one account."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, int], _Row] = {}

    def judge(
        self, position: Position, source: Source, received_at: int, asked_at: int | None = None
    ) -> tuple[Verdict, str]:
        """Take note of a reading; answers what it is, and its identity.

        Args:
            position: the reading.
            source: where it was read.
            received_at: our clock, µs.
            asked_at: when REST was asked, likewise: what it tells may be as old, whatever time
                the answer bears. A push that came since is not older, unless `seq` says so.
        """
        identity = position_identity(position)
        row = self._rows.get(position.row)
        heard_at = received_at if source is Source.STREAM else 0
        if row is None:
            if len(self._rows) >= _MOST_ROWS:  # expired options stay, one row each
                del self._rows[next(iter(self._rows))]
            self._rows[position.row] = _Row(
                identity,
                position.seq,
                position.timestamp,
                position.side is None,
                heard_at,
                {identity: None},
            )
            return Verdict.NEWS, identity
        is_overtaken = asked_at is not None and row.heard_at >= asked_at
        row.heard_at = max(heard_at, row.heard_at)
        if identity == row.identity:
            return Verdict.UNCHANGED, identity
        if _is_older(position, row) or (is_overtaken and (position.seq or 0) <= (row.seq or 0)):
            return self._judge_older(row, identity, source), identity
        row.is_flat = position.side is None
        row.identity, row.seq, row.timestamp = identity, position.seq, position.timestamp
        if identity in row.told:
            # A setting was changed and changed back without a trade: news, and not the old fact.
            return Verdict.NEWS, f"{identity}:{position.timestamp}"
        row.remember(identity)
        return Verdict.NEWS, identity

    def forget(self, position: Position, identity: str) -> None:
        """Take back a state that found no room, so that it is news when it is told again.

        Args:
            position: the reading.
            identity: what `judge` answered.
        """
        row, state = self._rows[position.row], position_identity(position)
        if row.identity == state:
            row.identity = ""
        row.told.pop(identity, None)

    def forget_all(self) -> None:
        """Let every position be told again; one that was told flat may not be known as such."""
        for row in self._rows.values():
            row.identity, row.is_flat = "", False
            row.told.clear()

    @staticmethod
    def _judge_older(row: _Row, identity: str, source: Source) -> Verdict:
        """Judge a state that a later one was told of; what is newer stays the newest."""
        if source is not Source.STREAM:
            return Verdict.OUTDATED
        if identity in row.told:
            return Verdict.UNCHANGED
        row.remember(identity)
        return Verdict.NEWS

    def living(self) -> set[tuple[str, str, int]]:
        """Name the positions that are not flat: category, symbol, index."""
        return {place for place, row in self._rows.items() if not row.is_flat}

    def newest(self, category: str, symbol: str, index: int) -> tuple[int, int]:
        """Return sequence (-1 without one) and exchange time, ms, of what was told last of it.

        Raises:
            KeyError: nothing was.
        """
        row = self._rows[category, symbol, index]
        return -1 if row.seq is None else row.seq, row.timestamp


def _is_older(position: Position, row: _Row) -> bool:
    return (position.seq or 0, position.timestamp) < (row.seq or 0, row.timestamp)
