"""Balance records as they stand on disk while the database is away."""

from __future__ import annotations

import msgspec

from ws_gateway.domain.balance import BalanceRecord, CoinBalance, MarginBalance
from ws_gateway.runtime.spool_format import Record


class Loss(msgspec.Struct, tag="loss"):
    """Records of one account that had to be dropped.

    Attributes:
        count: how many.
        first, last: exchange time of the oldest and the newest, ms.
    """

    account: str
    count: int
    first: int
    last: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CoinBalance | MarginBalance | Loss).decode


def to_disk(record: BalanceRecord) -> Record:
    """Write a record."""
    return Record(_encode(record), is_observed=True)


def from_disk(record: Record) -> BalanceRecord | Loss:
    """Read one back.

    Raises:
        msgspec.DecodeError: it is none.
    """
    read: BalanceRecord | Loss = _decode(record.data)
    return read


def condense(records: list[Record]) -> list[Record]:
    """Make of dropped records one loss per account."""
    losses: dict[str, Loss] = {}
    for record in records:
        try:
            read = from_disk(record)
        except msgspec.DecodeError:
            continue  # it names no account
        if not isinstance(read, Loss):
            read = Loss(read.account, 1, read.event_timestamp, read.event_timestamp)
        known = losses.get(read.account)
        if known is None:
            losses[read.account] = read
        else:
            known.count += read.count
            known.first, known.last = min(known.first, read.first), max(known.last, read.last)
    return [Record(_encode(loss), is_observed=False, is_loss=True) for loss in losses.values()]
