"""`python -m position_manager`: read, store, commit, acknowledge; until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from contextlib import aclosing

import asyncpg

from position_manager.table import REFUSED, PositionTable, log
from ws_gateway.client import Event, Gap, consume
from ws_gateway.errors import BrokerLost, Rejected


async def keep_positions(
    *, amqp_url: str, database_url: str, prefix: str, is_shared: bool = False
) -> None:
    """Keep the tables true until cancelled.

    Args:
        amqp_url: the broker.
        database_url: where the gateway keeps the platform's schema.
        prefix: the gateway's `WSG_AMQP_PREFIX`.
        is_shared: other instances read the queue too, so steps in the numbers say nothing.

    Raises:
        BrokerLost: the broker was away at the start; later losses are waited for.
        Rejected: the queue is not there, or the envelope is of a later version.
    """
    # One connection: events are stored one by one. It is opened when needed, and anew when lost.
    async with asyncpg.create_pool(
        database_url, min_size=0, max_size=1, command_timeout=10
    ) as pool:
        table = PositionTable(pool)

        async def on_gap(gap: Gap) -> None:
            await note_gap(table, gap)

        events = consume(
            "position",
            queue=f"{prefix}.position",
            amqp_url=amqp_url,
            on_gap=on_gap,
            is_shared=is_shared,
            # What was done is known by the table. A memory would be empty after a crash.
            remembered_ids=0,
        )
        async with aclosing(events):  # at the end what is not acknowledged goes back at once
            async for event in events:
                await take(table, event)  # committed when it returns; acknowledged after that


async def take(table: PositionTable, event: Event) -> None:
    """Put one event into the tables."""
    if event.kind == "gap":
        return  # `on_gap` was told
    if event.kind == "resumed":
        reason, detail = str(event.payload["reason"]), str(event.payload["detail"])
        # Data flow again, which is not yet that nothing is missing: only the gateway knows.
        is_complete = event.payload.get("complete") is True
        await table.mark(
            event, is_complete=is_complete, reason=reason, detail=detail, sequence=event.sequence
        )
        say = log.info if is_complete else log.warning
        word = "complete" if is_complete else "still_stale"
        say("stream.%s account=%s topic=%s detail=%s", word, event.account, event.topic, detail)
        return
    try:
        is_news = await table.store(event.body)
    except REFUSED as exc:
        await refuse(table, event, str(exc))
        return
    say = log.info if is_news else log.debug
    say(
        "position.%s account=%s %s %s idx=%s %s %s seq=%s source=%s",
        "stored" if is_news else "older_ignored", event.account, event.category, event.symbol,
        event.payload["position_idx"], event.payload["side"] or "flat", event.payload["size"],
        event.payload["seq"], event.source,
    )  # fmt: skip


async def note_gap(table: PositionTable, gap: Gap) -> None:
    """Mark a stream as stale: the gateway says so, or its numbers do (`unexplained`)."""
    event = gap.envelope
    if event is None:  # only of a queue of the consumer's own
        return
    # What comes behind the hole may itself say that the stream is complete, and is later.
    sequence = event.sequence if event.is_marker else event.sequence - 1
    await table.mark(
        event, is_complete=False, reason=gap.reason, detail=gap.detail, sequence=sequence
    )
    log.warning("stream.stale account=%s topic=%s reason=%s detail=%s",
                gap.account, gap.topic, gap.reason, gap.detail)  # fmt: skip


async def refuse(table: PositionTable, event: Event, why: str) -> None:
    """Give up a state that the table cannot hold, so that it keeps no other back; and say so."""
    log.error("position.refused event_id=%s trace_id=%s error=%s",
              event.event_id, event.trace_id, why)  # fmt: skip
    if event.account:
        await table.mark(
            event, is_complete=False, reason="refused", detail=why, sequence=event.sequence
        )
    await event.reject()  # to the dead letters, if a policy gives the queue some


async def main() -> int:
    """Run until SIGTERM or Ctrl-C; answers the exit code."""
    parser = argparse.ArgumentParser(prog="position_manager", description=__doc__)
    parser.add_argument("--shared", action="store_true", help="several instances read one queue")
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    missing = [name for name in ("WSG_AMQP_URL", "WSG_DATABASE_URL") if not os.getenv(name)]
    if missing:
        log.error("%s: not set; name the gateway's own", ", ".join(missing))
        return 2
    work = asyncio.create_task(
        keep_positions(
            amqp_url=os.environ["WSG_AMQP_URL"],
            database_url=os.environ["WSG_DATABASE_URL"],
            prefix=os.getenv("WSG_AMQP_PREFIX", "ws-gateway"),
            is_shared=options.shared,
        )
    )
    # Wherever that stops it: what was committed and not acknowledged comes again, to no effect.
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        log.info("stopped")
    except (BrokerLost, Rejected, asyncpg.UndefinedTableError) as exc:
        log.error("%s", exc)  # one sentence says it; a supervisor starts it again
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
