"""What every open connection carries, as a file has to say that begins in mid-stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from frame_recording.records import Record, What, read_request


@dataclass(slots=True)
class _Connection:
    path: str
    account: str
    topics: dict[str, None] = field(default_factory=dict)


class Standing:
    """Follows the records; at any time it tells what stood before the next one."""

    def __init__(self) -> None:
        self._open: dict[str, _Connection] = {}

    def note(self, record: Record) -> None:
        """Take note of what a record changes."""
        what = record.what
        if what is What.OPENED:
            self._open[record.connection] = _Connection(record.path or "", record.account)
        elif what is What.CLOSED:
            self._open.pop(record.connection, None)
        elif what is What.SENT:
            self._note_request(record)

    def _note_request(self, record: Record) -> None:
        known, request = self._open.get(record.connection), read_request(record.raw)
        if known is None or request is None:
            return
        if request.op == "subscribe":
            known.topics.update(dict.fromkeys(request.args))
        elif request.op == "unsubscribe":
            for name in request.args:
                known.topics.pop(name, None)

    def carried(self, at: int) -> list[Record]:
        """Say it in records of this time."""
        return [
            Record(
                at,
                What.CARRIED,
                name,
                path=one.path,
                account=one.account,
                topics=tuple(one.topics),
            )
            for name, one in self._open.items()
        ]
