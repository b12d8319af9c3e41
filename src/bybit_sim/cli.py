"""The command `bybit-sim`."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Annotated

import typer

from bybit_sim.config import SimulatorConfig, SimulatorError
from bybit_sim.instruments import PUBLIC_CATEGORIES
from bybit_sim.server import Simulator

_REFUSED = 2


def _show(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def serve_until_signalled(config: SimulatorConfig, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then close everything.

    Raises:
        SimulatorError: the address cannot be listened on.
    """
    simulator = Simulator(config)
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


def run(
    *,
    host: str = "127.0.0.1",
    port: int = 8899,
    seed: int = 1,
    rate: float = 20.0,
    api_key: str | None = None,
    api_secret: str | None = None,
    symbols: int = 0,
    trade_every_seconds: float | None = None,
) -> int:
    """Run a simulator in the foreground; for this command and for another program's.

    Args:
        host: address to listen on.
        port: 0 takes any free one.
        seed: as in `SimulatorConfig`, like all that follow.
        rate: ticks per second of each watched symbol.
        api_key: the one valid key.
        api_secret: its secret.
        symbols: extra synthetic linear symbols.
        trade_every_seconds: pace of the background trader, None for none.

    Returns:
        0 after SIGTERM or SIGINT; 2, with one sentence on stderr, if it could not start.
    """
    try:
        config = SimulatorConfig(
            seed=seed,
            rate=rate,
            api_key=api_key,
            api_secret=api_secret,
            symbols=symbols,
            trade_every_seconds=trade_every_seconds,
        )
        asyncio.run(serve_until_signalled(config, host=host, port=port))
    except SimulatorError as exc:
        sys.stderr.write(f"bybit-sim: {exc}\n")
        return _REFUSED
    return 0


def command(  # noqa: PLR0917 - typer reads options from parameters
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
    api_key: Annotated[str | None, typer.Option(help="The one valid key of /v5/private.")] = None,
    api_secret: Annotated[str | None, typer.Option(help="Its secret.")] = None,
    symbols: Annotated[
        int, typer.Option(help="Extra linear symbols SIM0001USDT … for load tests.")
    ] = 0,
    trade_every: Annotated[
        float | None, typer.Option(help="Seconds between orders of a background trader.")
    ] = None,
) -> None:
    """Serve a local Bybit: sockets and REST on one port."""
    code = run(
        host=host,
        port=port,
        seed=seed,
        rate=rate,
        api_key=api_key,
        api_secret=api_secret,
        symbols=symbols,
        trade_every_seconds=trade_every,
    )
    raise typer.Exit(code)


def main() -> None:
    """Entry point of the console script."""
    typer.run(command)
