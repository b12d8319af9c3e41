"""The services a developer needs: start, stop, look, or run one command with them.

    devstack.py run -- CMD …   the broker runs while CMD runs; exit code is CMD's
    devstack.py up | down      start it to stay | stop it
    devstack.py status | env   what runs | shell lines that point programs at it

PostgreSQL needs nothing here: the gateway and the tests embed one where none is named.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from broker import URL_SETTING, Broker, BrokerError, broker_url, named_url
from processes import end_processes, find_processes
from shared_use import UseCount, exclusively

CHECKOUT = Path(__file__).resolve().parent.parent
DEV = CHECKOUT / ".dev"
DATA = DEV / "data"
DATA_SETTING = "WSG_DATA_DIR"
DATABASE_SETTING = "WSG_DATABASE_URL"


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="devstack", description=(__doc__ or "").split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the services to stay")
    commands.add_parser("down", help="stop the services")
    commands.add_parser("status", help="say what runs")
    commands.add_parser("env", help="print export lines for a shell")
    commands.add_parser("wipe", help="stop the services and delete their data")
    run = commands.add_parser("run", help="run a command with the services up")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="-- CMD …")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)  # so that the clean-up below runs for it too
    broker = Broker(DEV / "rabbitmq", _say)
    try:
        match chosen.command:
            case "up":
                print(f"RabbitMQ runs at {_up(broker)}  (`make down` stops it)")
            case "down":
                _down(broker)
            case "status":
                return _status(broker)
            case "env":
                print(f"export {URL_SETTING}={_up(broker)}")
                print(database_line(DATA / "postgres"))
            case "wipe":
                _down(broker)
                shutil.rmtree(DEV, ignore_errors=True)
            case _:
                words = chosen.words[1:] if chosen.words[:1] == ["--"] else chosen.words
                if not words:
                    parser.error("run needs a command after --")
                return _run(broker, words)
    except BrokerError as exc:
        print(f"devstack: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"devstack: {text}", file=sys.stderr, flush=True)


def _up(broker: Broker) -> str:
    return named_url(broker) or broker.up()


def _down(broker: Broker) -> None:
    with exclusively(DEV / "data.lock"):
        is_used = not UseCount(DEV / "data.users").is_unused()
    if is_used:
        _say(
            "what was started here by make still runs, and loses its broker and database now; "
            "Ctrl-C ends it"
        )
    was_running = broker.down()
    for data in _postgres_folders():
        end_processes("postgres", str(data), asked=signal.SIGINT, patience_seconds=10)
    print("RabbitMQ stopped" if was_running else "RabbitMQ was not running")


def _postgres_folders() -> list[Path]:
    """List the data folders of embedded servers below `.dev`, the gateway's and the tests'."""
    return [mark.parent for mark in DEV.glob("**/PG_VERSION") if (mark.parent / "base").is_dir()]


def database_line(folder: Path) -> str:
    """Say in shell how to reach the PostgreSQL that a gateway runs in a folder."""
    mark = folder / "postmaster.pid"
    if not find_processes("postgres", str(folder)) or not mark.exists():
        return "# no database runs: `make run` has one while it runs"
    # The fourth line is the port, the fifth the folder of the socket.
    port, sockets = mark.read_text(encoding="utf-8").splitlines()[3:5]
    url = f"postgresql://postgres@/postgres?host={sockets.strip()}&port={port.strip()}"
    return f"export {DATABASE_SETTING}={shlex.quote(url)}"


def _status(broker: Broker) -> int:
    try:
        url = named_url(broker) or broker.running_url()
    except BrokerError as exc:
        _say(str(exc))
        url = None
    print(f"RabbitMQ    {url_without_secret(url) if url else 'not running'}")
    for data in _postgres_folders():
        state = "running" if find_processes("postgres", str(data)) else "not running"
        print(f"PostgreSQL  {state}, {data.relative_to(CHECKOUT)}")
    return 0 if url else 1


def url_without_secret(url: str) -> str:
    """Leave credentials out of a URL that is shown."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


@contextmanager
def _data_folder() -> Iterator[Path]:
    """Have the gateway's data folder, and end the database that a killed gateway left running."""
    lock, users = DEV / "data.lock", UseCount(DEV / "data.users")
    with exclusively(lock):
        users.join()
    try:
        yield DATA
    finally:
        with exclusively(lock):
            users.leave()
            if users.is_unused():
                mark = str(DATA / "postgres")
                end_processes("postgres", mark, asked=signal.SIGINT, patience_seconds=10)


def _run(broker: Broker, words: list[str]) -> int:
    """Run a command with the services; signals that end it do not end us before the clean-up."""
    with _data_folder() as data, broker_url(broker) as url:
        environ = os.environ | {URL_SETTING: url}
        environ.setdefault(DATA_SETTING, str(data))
        if str(DATA) in environ.get(DATABASE_SETTING, ""):  # of `env`: the gateway starts that one
            del environ[DATABASE_SETTING]
        child: subprocess.Popen[bytes] | None = None

        def pass_on(number: int, _frame: FrameType | None) -> None:
            # The terminal sends Ctrl-C to the child as well; other signals come to us alone.
            if child is not None and number != signal.SIGINT:
                child.send_signal(number)

        # Handlers, not SIG_IGN: an ignored signal would stay ignored in the child.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, pass_on)
        try:
            child = subprocess.Popen(words, env=environ)
        except OSError as exc:
            raise BrokerError(f"cannot run {words[0]}: {exc.strerror}") from exc
        code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
