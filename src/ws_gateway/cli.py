"""The command `ws-gateway`: settings in, exit codes out; every refusal is one sentence."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from typing import Annotated, Any, NoReturn

import structlog
import typer
import uvloop
from pydantic import SecretStr

from ws_gateway import __version__
from ws_gateway.bootstrap import serve as serve_gateway
from ws_gateway.composition.outside import database_url
from ws_gateway.config import PREFIX, SECRETS, LogFormat, Settings
from ws_gateway.delivery.topology import QUARANTINE
from ws_gateway.demo import DemoOptions, run_demo
from ws_gateway.domain.caller import Scope
from ws_gateway.domain.topic import Category, EventClass
from ws_gateway.errors import Fatal, GatewayError
from ws_gateway.frame_commands import add_frame_commands
from ws_gateway.key_commands import KeyWishes, create_key, list_keys, revoke_key
from ws_gateway.runtime.redaction import Secrets
from ws_gateway.runtime.telemetry import LogLevels, Telemetry
from ws_gateway.settings_source import load_settings
from ws_gateway.storage.database import migrate as migrate_database
from ws_gateway.tail import TailOptions, run_tail

EXIT_OK, EXIT_DEFECT, EXIT_REFUSED = 0, 1, 2

DEBUG_SECONDS = 600.0
"""How long SIGUSR1 lets everything be written: a level that is forgotten would fill a disk."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

app = typer.Typer(
    name="ws-gateway",
    help="Hold the WebSocket connections to Bybit and deliver every event to RabbitMQ.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def serve() -> None:
    """Run the gateway until SIGTERM or Ctrl-C; then drain and exit 0."""
    settings, telemetry = _configured()
    # What was imported stays; the hot path makes no cycles, so looking for some often costs only.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)

    async def run(stop: asyncio.Event) -> None:
        with _level_by_signal(telemetry.levels):
            await serve_gateway(settings, stop, telemetry)

    _run(run)


@app.command()
def demo(
    seconds: Annotated[
        float | None, typer.Option(min=5, help="End after so long; without it, at Ctrl-C.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Market of the simulator: same seed, same market.")] = 7,
    rate: Annotated[float, typer.Option(help="Market ticks per second and symbol.", min=0.1)] = 20,
) -> None:
    """Show the main job: simulated exchange, gateway and a real consumer, live."""
    settings = _settings(LogFormat.CONSOLE)
    options = DemoOptions(seconds=seconds, seed=seed, rate=rate)
    _run(lambda stop: run_demo(settings, options, stop), insist=3)


@app.command()
def migrate() -> None:
    """Bring the database's schema to this version."""
    settings = _settings(LogFormat.CONSOLE)

    async def bring(_stop: asyncio.Event) -> None:
        async with database_url(settings) as url:
            await migrate_database(url)
        typer.echo("the schema is what this version needs")

    _run(bring)


@app.command(
    add_help_option=False,  # the simulator's own help tells its options
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def simulate(context: typer.Context) -> None:
    """Run the local Bybit; takes the options of `bybit-sim`."""
    from bybit_sim.cli import main as simulator_main  # noqa: PLC0415 - the only door to it

    words = ["--help" if word == "-h" else word for word in context.args]
    sys.argv = ["ws-gateway simulate", *words]
    simulator_main()


@app.command("check-config")
def check_config() -> None:
    """Read the settings as `serve` would; print them with secrets masked, or say what is wrong."""
    settings = _settings()
    for name in Settings.model_fields:
        typer.echo(f"{PREFIX}{name.upper()}={_shown(getattr(settings, name))}")
    if settings.api_key is None:
        typer.echo(
            "note: WSG_API_KEY is unset, so the HTTP API takes keys of `keys create` alone",
            err=True,
        )
    if not settings.has_credentials:
        typer.echo("note: no Bybit key is set, so only public data is served", err=True)
    if settings.further_accounts:
        typer.echo(f"note: accounts {', '.join(settings.account_names)}", err=True)


@app.command("default-env")
def default_env() -> None:
    """Print every setting with its default and meaning, in the form of an env file."""
    for name, info in Settings.model_fields.items():
        typer.echo(f"# {info.description}")
        if name in SECRETS:
            typer.echo(f"# (a secret: {PREFIX}{name.upper()}_FILE may name a file instead)")
        default = info.default
        shown = default.get_secret_value() if isinstance(default, SecretStr) else _shown(default)
        typer.echo(f"#{PREFIX}{name.upper()}={shown}\n")


@app.command()
def tail(  # noqa: PLR0917 - typer reads options from parameters
    event_class: Annotated[str, typer.Argument(metavar="CLASS", help="e.g. orderbook, trade")],
    as_json: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--json", help="Whole envelopes, one a line.")
    ] = False,
    category: Annotated[str, typer.Option(help="Only this category.")] = "*",
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    account: Annotated[str | None, typer.Option(help="Only this account's, of private.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
) -> None:
    """Print events as they are delivered, from a queue of its own: nobody else misses any."""
    classes = [*(one.value for one in EventClass), QUARANTINE]
    if event_class not in classes:
        _refuse(f"CLASS: found {event_class!r}; use one of {', '.join(classes)}")
    if category not in ("*", *Category):
        _refuse(f"--category: found {category!r}; use one of {', '.join(Category)}")
    settings = _settings(LogFormat.CONSOLE)
    options = TailOptions(event_class, as_json, category, symbol, count, account)
    _run(lambda stop: run_tail(settings, options, stop))


keys_app = typer.Typer(
    help="Make, list and revoke keys of the HTTP API.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(keys_app, name="keys")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@keys_app.command("create")
def create_key_command(
    *,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    service: Annotated[
        list[str] | None, typer.Option(help="A service it speaks for; repeat it. Without: any.")
    ] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may do; repeat it. Without: read and write subscriptions."),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="D", help="How long it is of use: 90d, 12h, 30m.")
    ] = None,
    rotates: Annotated[
        str | None, typer.Option(metavar="KEY_ID", help="Make a successor of this key.")
    ] = None,
    overlap: Annotated[
        str | None, typer.Option(metavar="D", help="How long both are of use; 24h.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and print it once."""
    settings = _settings(LogFormat.CONSOLE)
    wishes = KeyWishes(name, service or (), scope or (), expires_in, rotates, overlap)
    _run(lambda _stop: create_key(settings, wishes, as_json=as_json))


@keys_app.command("list")
def list_keys_command(as_json: AsJson = False) -> None:  # noqa: FBT002 - same
    """Print every key without its secret."""
    settings = _settings(LogFormat.CONSOLE)
    _run(lambda _stop: list_keys(settings, as_json=as_json))


@keys_app.command("revoke")
def revoke_key_command(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The readable part of the key.")],
    as_json: AsJson = False,  # noqa: FBT002 - same
) -> None:
    """Make a key worthless; running gateways notice within seconds."""
    settings = _settings(LogFormat.CONSOLE)
    _run(lambda _stop: revoke_key(settings, key_id, as_json=as_json))


@app.command()
def doctor(
    as_json: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--json", help="One object for machines.")
    ] = False,
    alive: Annotated[  # noqa: FBT002 - same
        bool, typer.Option("--alive", help="Only ask the running gateway's /livez; for containers.")
    ] = False,
) -> None:
    """Look at all the gateway stands on; one line each, with what to do. Exit code 1: not well."""
    from ws_gateway.doctor.examination import (  # noqa: PLC0415 - only needed here
        examine,
        tell_alive,
    )

    settings = _settings(LogFormat.CONSOLE)
    if alive:
        is_alive = tell_alive(settings, as_json=as_json)
        raise typer.Exit(EXIT_OK if is_alive else EXIT_DEFECT)
    _run(lambda _stop: examine(settings, as_json=as_json))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"ws-gateway {__version__}")


# ── how commands run and end ──────────────────────────────────────────────────────────────────


def _settings(log_format: LogFormat | None = None) -> Settings:
    return _configured(log_format)[0]


def _configured(log_format: LogFormat | None = None) -> tuple[Settings, Telemetry]:
    try:
        settings = load_settings()
    except Fatal as exc:
        _refuse(str(exc))
    # A command a person types speaks to a person, unless the format was asked for.
    chosen = settings.log_format
    if log_format is not None and "log_format" not in settings.model_fields_set:
        chosen = log_format
    telemetry = Telemetry.begin(
        level=settings.log_level.value,
        as_json=chosen is LogFormat.JSON,
        one_in=settings.log_frames_one_in,
        secrets=_secrets_of(settings),
    )
    return settings, telemetry


def _secrets_of(settings: Settings) -> Secrets:
    """Collect what no line may hold: keys as they are, of URLs the passwords alone."""
    secrets = Secrets()
    for name in SECRETS:
        secret: SecretStr | None = getattr(settings, name)
        if secret is not None and name.endswith("_url"):
            secrets.add_logins([secret.get_secret_value()])
        elif secret is not None:
            secrets.add(secret.get_secret_value())
    for account in settings.further_accounts:
        secrets.add(account.key, account.secret)
    return secrets


@contextlib.contextmanager
def _level_by_signal(levels: LogLevels) -> Iterator[None]:
    """Let SIGUSR1 write everything for a while, and SIGUSR2 what the settings say."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(
        signal.SIGUSR1, lambda: levels.change("debug", DEBUG_SECONDS, "SIGUSR1")
    )
    loop.add_signal_handler(signal.SIGUSR2, lambda: levels.reset("SIGUSR2"))
    try:
        yield
    finally:
        levels.close()


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return str(value)


def _refuse(sentence: str) -> NoReturn:
    typer.echo(f"ws-gateway: {sentence}", err=True)
    raise typer.Exit(EXIT_REFUSED)


def _run(job: Callable[[asyncio.Event], Coroutine[Any, Any, int | None]], insist: int = 2) -> None:
    """Run a job that ends when its event is set.

    The first signal sets the event, the one numbered `insist` ends the process at once: the demo
    has other processes and queues to remove, and an impatient second Ctrl-C must not keep it.
    """
    try:
        code = uvloop.run(_until_signalled(job, insist))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except Exception as exc:  # the edge of the process: every exception ends as an exit code
        cause = _first(exc)
        if isinstance(cause, GatewayError):
            _refuse(str(cause))
        log.critical("gateway.defect", exc_info=cause)
        raise typer.Exit(EXIT_DEFECT) from None
    raise typer.Exit(code or EXIT_OK)


async def _until_signalled(
    job: Callable[[asyncio.Event], Coroutine[Any, Any, int | None]], insist: int
) -> int | None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = count(1)

    def on_signal() -> None:
        if next(signals) >= insist:
            os._exit(EXIT_DEFECT)  # the person insists: no more waiting, not even for a drain
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    # A closed terminal: the shell and the kernel may both say so, and neither is in a hurry. Not
    # under `nohup`, which asks for just that to be ignored.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, stop.set)
    return await job(stop)


add_frame_commands(app, lambda: _settings(LogFormat.CONSOLE), _run)


def _first(exc: BaseException) -> BaseException:
    """Find the exception at the bottom of nested groups that came first."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
