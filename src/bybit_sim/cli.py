"""The command `bybit-sim`: serve, and speak to one that serves."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bybit_sim.config import SimulatorConfig, SimulatorError, read_account
from bybit_sim.control_client import begin_fault, call, clear_faults
from bybit_sim.fault_table import markdown_table, plain_list
from bybit_sim.instruments import PUBLIC_CATEGORIES
from bybit_sim.server import Simulator

DEFAULT_URL = "http://127.0.0.1:8899"
_REFUSED = 2


def _show(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def serve_until_signalled(config: SimulatorConfig, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then close everything.

    Raises:
        SimulatorError: the address cannot be listened on.
    """
    simulator = Simulator(config)  # reads the recording, if there is one
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await simulator.start(host, port)
        _show(f"bybit-sim is ready (seed {config.seed}, rate {config.rate:g}/s per symbol)")
        for category in PUBLIC_CATEGORIES:
            _show(f"  public   {simulator.ws_url}/v5/public/{category}")
        secured = "" if config.api_key else "  (every login is refused: no --api-key)"
        _show(f"  private  {simulator.ws_url}/v5/private{secured}")
        _show(f"  REST     {simulator.rest_url}/v5/market/time")
        _show(f"  status   {simulator.ws_url}/v5/public/misc/status")
        await stopped.wait()
    finally:
        await simulator.stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Url = Annotated[str, typer.Option("--url", help="Where the simulator listens.")]


@app.callback(invoke_without_command=True)
def command(  # noqa: PLR0917 - typer reads options from parameters
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes any free one.", min=0, max=65535)] = 8899,
    seed: Annotated[int, typer.Option(help="Same seed, same market.")] = 1,
    rate: Annotated[
        float,
        typer.Option(
            help="Ticks per second of each watched symbol; a topic sends at most "
            "min(rate, 1000 / its push interval in ms) frames per second."
        ),
    ] = 20.0,
    linger: Annotated[
        float, typer.Option(help="Seconds a symbol goes on after its last subscriber.", min=0)
    ] = 0.0,
    api_key: Annotated[str | None, typer.Option(help="The one valid key of /v5/private.")] = None,
    api_secret: Annotated[str | None, typer.Option(help="Its secret.")] = None,
    account: Annotated[
        list[str] | None,
        typer.Option(help="A further account, NAME:KEY:SECRET; may be given several times."),
    ] = None,
    symbols: Annotated[
        int, typer.Option(help="Extra linear symbols SIM0001USDT … for load tests.")
    ] = 0,
    trade_every: Annotated[
        float | None, typer.Option(help="Seconds between orders of a background trader.")
    ] = None,
    orders: Annotated[
        int, typer.Option(help="A busy trader places so many orders of every kind.", min=0)
    ] = 0,
    order_rate: Annotated[float, typer.Option(help="How many of those a second.", min=0)] = 100.0,
    funding_every: Annotated[
        float | None, typer.Option(help="Seconds between fundings of open positions.")
    ] = None,
    recording: Annotated[
        list[Path] | None,
        typer.Option(help="Play this file or folder instead of a market; repeat it."),
    ] = None,
    speed: Annotated[
        float, typer.Option(help="Of the recording: 1 as it was, 0 as fast as it is read.", min=0)
    ] = 1.0,
    patience: Annotated[
        float, typer.Option(help="Seconds a recording waits for the client to subscribe.", min=0)
    ] = 10.0,
) -> None:
    """Serve a local Bybit: sockets, REST and the control endpoint on one port."""
    if context.invoked_subcommand is not None:
        return
    with _refusing():
        config = SimulatorConfig(
            seed=seed,
            rate=rate,
            linger_seconds=linger,
            api_key=api_key,
            api_secret=api_secret,
            accounts=tuple(read_account(each) for each in account or ()),
            symbols=symbols,
            trade_every_seconds=trade_every,
            orders=orders,
            order_rate=order_rate,
            funding_every_seconds=funding_every,
            recording=tuple(recording or ()),
            recording_speed=speed,
            recording_patience_seconds=patience,
        )
        asyncio.run(serve_until_signalled(config, host=host, port=port))


@app.command("fault")
def begin(
    name: Annotated[str, typer.Argument(help="As `faults` lists them.")],
    parameters: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    url: _Url = DEFAULT_URL,
) -> None:
    """Begin a fault at a running simulator."""
    with _refusing():
        row = begin_fault(url, name, parameters or [])
        goes_on = "goes on" if row["active"] else "is done"
        _show(f"{row['name']} #{row['id']} {goes_on} (hits: {row['hits']})")


@app.command("clear")
def clear(
    name: Annotated[str | None, typer.Argument(help="Which fault; all without.")] = None,
    url: _Url = DEFAULT_URL,
) -> None:
    """End the faults of a running simulator."""
    with _refusing():
        _show(f"{clear_faults(url, name)} ended")


@app.command("faults")
def list_faults(
    url: Annotated[
        str | None, typer.Option("--url", help="Show what is active at a running simulator.")
    ] = None,
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="As the table of the docs.")] = False,
) -> None:
    """List the faults with their parameters, or those active at a running simulator."""
    if markdown:
        _show(markdown_table())
    elif url is None:
        _show(plain_list())
    else:
        with _refusing():
            for row in call(url, "GET", "/sim/faults")["active"]:
                given = " ".join(f"{key}={value}" for key, value in row["parameters"].items())
                _show(f"{row['name']} #{row['id']} (hits: {row['hits']}) {given}")


@contextmanager
def _refusing() -> Iterator[None]:
    """End with one sentence on stderr instead of a traceback."""
    try:
        yield
    except SimulatorError as exc:
        sys.stderr.write(f"bybit-sim: {exc}\n")
        raise typer.Exit(_REFUSED) from None


def main() -> None:
    """Entry point of the console script."""
    app()
