"""The commands `record` and `replay`: raw frames to files, and from them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from ws_gateway.config import Settings
from ws_gateway.errors import ConfigError
from ws_gateway.record import RecordOptions, run_record
from ws_gateway.replay.command import STDOUT, ReplayOptions, run_replay
from ws_gateway.replay.listing import listed

_Job = Callable[[asyncio.Event], Coroutine[Any, Any, int | None]]


class _Run(Protocol):
    def __call__(self, job: _Job) -> None: ...


def add_frame_commands(app: typer.Typer, settings: Callable[[], Settings], run: _Run) -> None:
    """Give the program these commands.

    Args:
        app: the program.
        settings: reads them, or ends the process with a sentence.
        run: runs a job that ends when its event is set.
    """

    @app.command()
    def record(
        topic: Annotated[
            list[str] | None,
            typer.Option(help="CATEGORY:TOPIC, like linear:orderbook.50.BTCUSDT; repeat it."),
        ] = None,
        into: Annotated[
            Path | None, typer.Option(metavar="DIR", help="Folder; WSG_RECORD_DIR without.")
        ] = None,
        seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so long.")] = None,
        account: Annotated[
            list[str] | None,
            typer.Option(help="With --private: this account alone; repeat it. All without."),
        ] = None,
        *,
        private: Annotated[
            bool, typer.Option("--private", help="The accounts' topics too; needs their keys.")
        ] = False,
    ) -> None:
        """Record raw frames straight from Bybit, without broker and database."""
        chosen = settings()

        async def job(stop: asyncio.Event) -> None:
            folder = into or chosen.record_dir
            if folder is None:
                raise ConfigError("--into", "names no folder", "name one, or set WSG_RECORD_DIR")
            options = RecordOptions(topic or [], folder, private, seconds, account or ())
            await run_record(chosen, options, stop)

        run(job)

    @app.command()
    def replay(
        places: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files or folders.")],
        since: Annotated[
            str | None, typer.Option("--from", metavar="TIME", help="ISO 8601, UTC without a zone.")
        ] = None,
        until: Annotated[
            str | None, typer.Option("--until", metavar="TIME", help="The same.")
        ] = None,
        speed: Annotated[
            float, typer.Option(min=0, help="1 is as it was, 10 ten times faster, 0 at once.")
        ] = 1.0,
        to: Annotated[
            str,
            typer.Option(metavar="PREFIX", help="Publish under this prefix; - prints events."),
        ] = STDOUT,
        *,
        into_live: Annotated[
            bool, typer.Option("--into-live", help="Let PREFIX be that of the settings.")
        ] = False,
        is_list: Annotated[
            bool, typer.Option("--list", help="Only say what the files hold.")
        ] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="With --list: one object a line.")
        ] = False,
    ) -> None:
        """Send recorded frames through decoder, pipeline and delivery once more."""

        async def job(stop: asyncio.Event) -> None:
            begin, end = moment("--from", since), moment("--until", until)
            if is_list:
                for line in listed(places, begin, end, as_json=as_json):
                    typer.echo(line)
                return
            options = ReplayOptions(places, begin, end, speed, to, into_live)
            await run_replay(chosen, options, stop)

        chosen = settings()
        run(job)


def moment(option: str, text: str | None) -> int | None:
    """Read a time as Unix µs."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(option, f"found {text!r}", "write it like 2026-01-31T12:00:00Z") from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return round(at.timestamp() * 1e6)
