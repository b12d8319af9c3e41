"""A RabbitMQ for this checkout, from wherever one can be had.

The ladder, first rung that holds: the broker that `WSG_AMQP_URL` names; an installed
`rabbitmq-server`, run as a private node; a container, where Docker's engine runs; an installation
with apt-get, where that is allowed, and then a private node.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from amqp_probe import address_of, free_ports, is_answering, is_listening
from docker_node import DockerNode, is_engine_running
from rabbitmq_node import NodeError, PrivateNode, Say, find_server
from shared_use import UseCount, exclusively

URL_SETTING = "WSG_AMQP_URL"


class BrokerError(Exception):
    """No RabbitMQ can be had; the text says what was tried and what to do."""


class Broker:
    """The checkout's own broker: started by who needs it first, stopped by who needs it last.

    Args:
        folder: the broker's own folder; what it is found by in other processes.
        say: tells a waiting person what happens.
    """

    def __init__(self, folder: Path, say: Say) -> None:
        self._say = say
        self._node = PrivateNode(folder, say)
        self._container = DockerNode(folder, say)
        self._lock = folder / "lock"
        self._keep = folder / "keep"
        self._users = UseCount(folder / "users")

    @contextmanager
    def borrowed(self) -> Iterator[str]:
        """Have it running inside the block; the value is its AMQP URL.

        Raises:
            BrokerError: no rung of the ladder holds.
        """
        with exclusively(self._lock, self._say):
            url = self._ensure()
            self._users.join()
        try:
            yield url
        finally:
            with exclusively(self._lock, self._say):
                self._users.leave()
                if self._users.is_unused() and not self._keep.exists():
                    self._stop()

    def up(self) -> str:
        """Start it to stay until `down`, and return its AMQP URL.

        Raises:
            BrokerError: no rung of the ladder holds.
        """
        with exclusively(self._lock, self._say):
            url = self._ensure()
            self._keep.touch()
            return url

    def down(self) -> bool:
        """Stop it, whoever uses it; say whether it was running."""
        with exclusively(self._lock, self._say):
            self._keep.unlink(missing_ok=True)
            was_running = self.running_url() is not None
            self._stop()
            return was_running

    def owns(self, url: str) -> bool:
        """Say whether a URL is this broker's, running or not, as `up` and `env` told it."""
        return url.rstrip("/") in {one.url.rstrip("/") for one in (self._node, self._container)}

    def running_url(self) -> str | None:
        """Name the AMQP URL if it runs now."""
        if self._node.is_running():
            return self._node.url
        return self._container.url if self._container.is_running() else None

    def _ensure(self) -> str:
        url = self.running_url()
        if url is not None:
            return url
        try:
            return self._climb()
        except BaseException:  # a Ctrl-C while it starts must not leave half a broker behind
            self._stop()
            raise

    def _climb(self) -> str:
        tried = ["no rabbitmq-server is installed"]
        try:
            if (server := find_server()) is not None:
                return self._start_node(server)
            if is_engine_running():
                self._container.start()
                return self._container.url
            tried.append("no Docker engine runs")
            tried.append(_install(self._say))
            if (server := find_server()) is not None:
                return self._start_node(server)
        except NodeError as exc:
            raise BrokerError(str(exc)) from exc
        raise BrokerError(
            f"no RabbitMQ: {', '.join(tried)}; install the package rabbitmq-server, or start "
            f"Docker, or name a broker: {URL_SETTING}=amqp://user:password@host:5672/"
        )

    def _start_node(self, server: Path) -> str:
        self._say("starting a private RabbitMQ …")
        self._node.start(server)
        return self._node.url

    def _stop(self) -> None:
        self._node.stop()
        self._container.stop()


def named_url(broker: Broker, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the URL of a broker that somebody else runs; None if none, or our own, is named.

    Raises:
        BrokerError: it does not answer.
    """
    named = environ.get(URL_SETTING)
    if not named or broker.owns(named):
        return None
    _check_named(named)
    return named


@contextmanager
def broker_url(broker: Broker, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Have a broker inside the block: the named one if one is named, else the checkout's own.

    Raises:
        BrokerError: the named one does not answer, or no rung of the ladder holds.
    """
    named = named_url(broker, environ)
    if named is not None:
        yield named
        return
    with broker.borrowed() as url:
        yield url


def _check_named(url: str) -> None:
    try:
        scheme, host, port = address_of(url)
    except ValueError as exc:
        raise BrokerError(
            f"{URL_SETTING} is {exc}; write it like amqp://user:password@host:5672/, or unset it "
            "to get a private broker"
        ) from exc
    answers = is_listening(host, port) if scheme == "amqps" else is_answering(host, port)
    if not answers:
        raise BrokerError(
            f"{URL_SETTING} names {host}:{port}, where no broker answers; start it, or unset the "
            "variable to get a private one"
        )


def _install(say: Say) -> str:
    """Install the package where that is possible; say in words how it went."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get here"
    if os.geteuid() != 0:
        return "apt-get needs root, which this user is not"
    say("installing rabbitmq-server with apt-get (once, one to three minutes) …")
    # The package's own scripts start a port mapper that would stay: give it a port to find it by.
    port = str(free_ports(1)[0])
    environ = os.environ | {
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
        "ERL_EPMD_PORT": port,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    with _no_service_starts():
        for arguments in (
            ["update", "-qq"],
            [
                "-o",
                "DPkg::Lock::Timeout=120",
                "install",
                "-y",
                "-qq",
                "--no-install-recommends",
                "rabbitmq-server",
            ],
        ):
            result = subprocess.run(
                ["apt-get", *arguments], env=environ, capture_output=True, text=True, check=False
            )
            if result.returncode != 0 and "install" in arguments:
                lines = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
                return f"apt-get install rabbitmq-server failed ({lines[-1]})"
    subprocess.run(["epmd", "-port", port, "-kill"], capture_output=True, check=False)
    return "apt-get installed rabbitmq-server, yet its start script is not where it belongs"


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep the package from starting a service on the machine's own ports: Debian's policy hook."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists() or not policy.parent.is_dir():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
