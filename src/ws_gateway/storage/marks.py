"""How far private facts were delivered, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from ws_gateway.domain.mark import DIGEST_BYTES, Mark
from ws_gateway.storage.statements import Statements

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_READ = """
    SELECT topic, category, through, seen, living FROM reconciliation_marks WHERE account = $1
"""
_WRITE = """
    INSERT INTO reconciliation_marks AS old (account, topic, category, through, seen, living)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (account, topic, category) DO UPDATE
        SET through = EXCLUDED.through, seen = EXCLUDED.seen, living = EXCLUDED.living,
            written_at = now()
        WHERE old.through <= EXCLUDED.through
"""
_SET_BACK = """
    UPDATE reconciliation_marks
    SET through = LEAST(through, $3), seen = '', written_at = now()
    WHERE account = $1 AND topic = $2
"""
_DROP = "DELETE FROM reconciliation_marks WHERE account = $1 AND topic = ANY($2::text[])"


class PostgresMarks:
    """The `MarkStore` of the running service, on the ledgers' pool."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def read(self, account: str) -> list[Mark]:
        """Return every mark of an account."""
        return [
            Mark(
                row["topic"],
                row["category"],
                (row["through"] - _EPOCH) // timedelta(milliseconds=1),
                frozenset(
                    row["seen"][place : place + DIGEST_BYTES]
                    for place in range(0, len(row["seen"]), DIGEST_BYTES)
                ),
                frozenset(row["living"]),
            )
            for row in await self._statements.fetch(_READ, account)
        ]

    async def write(self, account: str, marks: Sequence[Mark]) -> None:
        """Set marks; none goes back."""
        for mark in marks:
            await self._statements.fetch(
                _WRITE,
                account,
                mark.topic,
                mark.category,
                _EPOCH + timedelta(milliseconds=mark.through),
                b"".join(sorted(mark.seen)),
                sorted(mark.living),
            )

    async def set_back(self, account: str, back: Mapping[str, int]) -> None:
        """Let all marks of these topics go back; what was seen behind is to be told again."""
        for topic, at in back.items():
            through = _EPOCH + timedelta(milliseconds=at)
            await self._statements.fetch(_SET_BACK, account, topic, through)

    async def drop(self, account: str, topics: Iterable[str]) -> None:
        """Forget the marks of topics nobody wants: who wants them again begins anew."""
        await self._statements.fetch(_DROP, account, list(topics))
