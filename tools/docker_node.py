"""A RabbitMQ container, for machines that have Docker and no installed server."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from pathlib import Path

from amqp_probe import is_answering
from rabbitmq_node import HOST, START_DEADLINE_SECONDS, NodeError, Say

IMAGE = "rabbitmq:3.13-alpine"


def is_engine_running() -> bool:
    """Say whether Docker's engine answers; an installed client alone proves nothing."""
    if shutil.which("docker") is None:
        return False
    try:
        return _docker("info", "--format", "{{.ServerVersion}}", timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False


class DockerNode:
    """One container, named after the folder it serves; its port is bound to loopback only."""

    def __init__(self, folder: Path, say: Say) -> None:
        self._name = f"wsg-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:10]}"
        self._mark = folder / "container"  # spares a question to Docker where it never served
        self._say = say

    @property
    def url(self) -> str:
        """AMQP URL of the container."""
        return f"amqp://guest:guest@{HOST}:{self._port()}/"

    def is_running(self) -> bool:
        """Say whether the container takes AMQP connections."""
        if not self._mark.exists():
            return False
        port = self._port()
        return port is not None and is_answering(HOST, port)

    def start(self) -> None:
        """Start the container and return when it takes connections.

        Raises:
            NodeError: the image cannot be had, or the broker in it does not come up.
        """
        self._say(f"starting RabbitMQ in Docker ({IMAGE}; the first time loads the image) …")
        self._mark.parent.mkdir(parents=True, exist_ok=True)
        self._mark.touch()
        _docker("rm", "--force", self._name)
        started = _docker(
            "run", "--detach", "--rm", "--name", self._name, "--publish", f"{HOST}::5672", IMAGE
        )
        if started.returncode != 0:
            lines = started.stderr.strip().splitlines() or ["no message"]
            raise NodeError(f"Docker does not start {IMAGE} ({lines[-1]})")
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while not self.is_running():
            if time.monotonic() > deadline:
                raise NodeError(f"RabbitMQ in the container {self._name} does not answer")
            time.sleep(0.3)

    def stop(self) -> None:
        """Remove the container."""
        if self._mark.exists():
            _docker("rm", "--force", self._name)
            self._mark.unlink(missing_ok=True)

    def _port(self) -> int | None:
        listing = _docker("port", self._name, "5672/tcp")
        if listing.returncode != 0 or not listing.stdout.strip():
            return None
        return int(listing.stdout.split()[0].rpartition(":")[2])


def _docker(*arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, timeout=timeout
    )
