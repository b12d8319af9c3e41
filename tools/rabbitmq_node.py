"""A private RabbitMQ node: the installed server, run as the current user in a folder of its own.

Everything it is and knows lies in that folder: ports, cookie, data, log. It listens on the
loopback interface only, has its own port mapper (epmd), and is found again by its folder, so that
two checkouts on one machine never meet and a stale pid file cannot exist.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from amqp_probe import free_ports, is_answering, is_free
from processes import end_processes, find_processes, start_detached

HOST = "127.0.0.1"
START_DEADLINE_SECONDS = 90.0
STOP_PATIENCE_SECONDS = 20.0
STILL_STARTING_SECONDS = 15.0
_APPEAR_SECONDS = 15.0
_CLOSING_SECONDS = 2.0

# The wrapper on Debian's PATH switches to the package's own user; the script behind it does not.
_KNOWN_SERVERS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/opt/homebrew/sbin/rabbitmq-server",
    "/usr/local/sbin/rabbitmq-server",
)

Say = Callable[[str], None]


class NodeError(Exception):
    """The node does not start; the text says where to look."""


@dataclass(frozen=True)
class Ports:
    """The node's three doors, all on the loopback interface."""

    amqp: int
    distribution: int
    epmd: int


def find_server() -> Path | None:
    """Find an installed `rabbitmq-server`; `DEVSTACK_RABBITMQ_SERVER` names another, or none."""
    named = os.environ.get("DEVSTACK_RABBITMQ_SERVER")
    if named is not None:
        return Path(named) if named else None
    on_path = shutil.which("rabbitmq-server")
    candidates = [*_KNOWN_SERVERS, *([on_path] if on_path else [])]
    for candidate in map(Path, candidates):
        if os.access(candidate, os.X_OK) and candidate.resolve().name != "rabbitmq-script-wrapper":
            return candidate
    return None


class PrivateNode:
    """One node in one folder.

    `start` and `stop` may be called in any state, also after a crash. They are not safe against
    each other in two processes: hold a lock around them.
    """

    def __init__(self, folder: Path, say: Say = lambda _: None) -> None:
        self.folder = folder.resolve()
        self._say = say
        self._home = self.folder / "home"
        self._log = self.folder / "log" / "node.log"
        self._ports_file = self.folder / "ports.json"

    @property
    def log(self) -> Path:
        """The node's own log."""
        return self._log

    @property
    def url(self) -> str:
        """AMQP URL of the node; known once it was started for the first time."""
        ports = self._stored_ports()
        return f"amqp://guest:guest@{HOST}:{ports.amqp if ports else 0}/"

    def is_running(self) -> bool:
        """Say whether the node takes AMQP connections."""
        ports = self._stored_ports()
        return ports is not None and bool(self._node_pids()) and is_answering(HOST, ports.amqp)

    def start(self, server: Path) -> None:
        """Bring the node up and return when it takes connections; reuse one that runs.

        Raises:
            NodeError: it does not come up, even with new ports and empty data.
        """
        if self.is_running():
            return
        if self._node_pids() and self._stored_ports():
            self._say("RabbitMQ is still starting …")
            if self._wait_until_ready(STILL_STARTING_SECONDS):
                return
        fault = ""
        for attempt in range(2):
            self.stop()  # clears a half-started node and a port mapper without a node
            if attempt:
                self._say(f"RabbitMQ did not start ({fault}); once more with empty data …")
                shutil.rmtree(self.folder / "data", ignore_errors=True)
            ports = self._choose_ports(fresh=bool(attempt))
            self._launch(server, ports)
            if self._wait_until_ready(START_DEADLINE_SECONDS):
                return
            fault = self._last_words()
        self.stop()
        raise NodeError(f"RabbitMQ does not start ({fault}); its log is {self._log}")

    def stop(self) -> None:
        """End the node and its port mapper; return when both are gone."""
        end_processes(
            "beam", str(self._home), asked=signal.SIGTERM, patience_seconds=STOP_PATIENCE_SECONDS
        )
        end_processes("epmd", self._epmd_mark, asked=signal.SIGTERM, patience_seconds=2.0)

    def _node_pids(self) -> list[int]:
        # The Erlang machine carries its home folder in its arguments: `-home FOLDER`.
        return find_processes("beam", str(self._home))

    @property
    def _epmd_mark(self) -> str:
        return str(self.folder / "epmd")

    def _stored_ports(self) -> Ports | None:
        """Read the ports of last time; None where there are none, or the file was cut short."""
        try:
            return Ports(**json.loads(self._ports_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _choose_ports(self, *, fresh: bool) -> Ports:
        """Keep the ports of last time if they are free, so that a printed URL stays true."""
        stored = self._stored_ports()
        if stored and not fresh and self._are_free_soon(stored):
            return stored
        ports = Ports(*free_ports(3))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ports_file.write_text(json.dumps(asdict(ports)))
        return ports

    def _are_free_soon(self, ports: Ports) -> bool:
        """Wait a moment: a killed process is out of the list before its sockets are closed."""
        deadline = time.monotonic() + _CLOSING_SECONDS
        while not all(is_free(port) for port in asdict(ports).values()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _launch(self, server: Path, ports: Ports) -> None:
        for name in ("home", "data", "log", "config"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._log.write_text("")
        config = self.folder / "config" / "rabbitmq.conf"
        config.write_text(f"listeners.tcp.local = {HOST}:{ports.amqp}\nlog.file.level = info\n")
        (self.folder / "config" / "enabled_plugins").write_text("[].\n")
        environ = self._environment(ports)
        self._start_port_mapper(environ, ports)
        start_detached([str(server)], environ, self.folder / "log" / "console.log")

    def _start_port_mapper(self, environ: dict[str, str], ports: Ports) -> None:
        """Start our own epmd through a link, whose path is then its visible name.

        Where epmd is not on the PATH, the node starts one by itself; it then stays behind.
        """
        program = shutil.which("epmd")
        if program is None:
            return
        link = Path(self._epmd_mark)
        link.unlink(missing_ok=True)
        link.symlink_to(program)
        command = [str(link), "-address", HOST, "-port", str(ports.epmd)]
        start_detached(command, environ, self.folder / "log" / "epmd.log")

    def _environment(self, ports: Ports) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RABBITMQ_", "ERL_", "WSG_")) and name != "NOTIFY_SOCKET"
        }
        data, config = self.folder / "data", self.folder / "config"
        name = hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]
        return inherited | {
            "HOME": str(self._home),  # the cookie lies there, and the process is known by it
            "ERL_EPMD_PORT": str(ports.epmd),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": f"wsg-{name}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(ports.amqp),
            "RABBITMQ_DIST_PORT": str(ports.distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(config / "no-such-file"),
            "RABBITMQ_CONFIG_FILE": str(config / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(config / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(config / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(config / "generated"),
            "RABBITMQ_MNESIA_BASE": str(data),
            "RABBITMQ_MNESIA_DIR": str(data / "node"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(data / "feature_flags"),
            "RABBITMQ_LOG_BASE": str(self._log.parent),
            "RABBITMQ_LOGS": str(self._log),
            "RABBITMQ_PID_FILE": str(self.folder / "node.pid"),
            "detached": "1",  # the start script becomes the node instead of waiting beside it
        }

    def _wait_until_ready(self, deadline_seconds: float) -> bool:
        began = spoke = time.monotonic()
        was_seen = False
        while (now := time.monotonic()) < began + deadline_seconds:
            if self.is_running():
                return True
            is_there = bool(self._node_pids())
            if not is_there and (was_seen or now > began + _APPEAR_SECONDS):
                return False
            was_seen = was_seen or is_there
            if now - spoke > 5:  # noqa: PLR2004 - seconds a person waits without a word
                self._say(f"waiting for RabbitMQ, {now - began:.0f} s …")
                spoke = now
            time.sleep(0.1)
        return False

    def _last_words(self) -> str:
        """Find the most telling line of what the node wrote."""
        for log in (self.folder / "log" / "console.log", self._log):
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            telling = [line.strip() for line in lines if "rror" in line]
            if telling:
                return telling[-1][:200]
        return "it wrote no error"
