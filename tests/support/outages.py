"""The outages that are survived by promise, one at a time and two at once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from rabbitmq_node import find_server
from support.node_control import rabbitmqctl
from support.outage_stage import Outage, OutageStage
from support.programs import until

_DRAIN_SECONDS = 60.0
_SMALL_DISK = "400k"


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Put a tiny file system at a folder meanwhile.

    Raises:
        PermissionError: this user may not mount.
    """
    folder.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK}", "tmpfs", str(folder)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        raise PermissionError("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _signal_node(stage: OutageStage, number: signal.Signals) -> None:
    pids = stage.node._node_pids()
    assert pids
    for pid in pids:
        os.kill(pid, number)


async def kill_broker(stage: OutageStage) -> None:
    """End the broker by `kill -9`."""
    _signal_node(stage, signal.SIGKILL)


async def start_broker(stage: OutageStage) -> None:
    """Start it again, with what it had on disk."""
    server, url = find_server(), stage.node.url
    assert server is not None
    await asyncio.to_thread(stage.node.start, server)
    assert stage.node.url == url


async def freeze_broker(stage: OutageStage) -> None:
    """Stop the process where it stands: its sockets stay open and answer nothing."""
    _signal_node(stage, signal.SIGSTOP)


async def thaw_broker(stage: OutageStage) -> None:
    """Let it run on."""
    _signal_node(stage, signal.SIGCONT)


async def cut(stage: OutageStage) -> None:
    """Reset the connections and refuse new ones."""
    await stage.proxy.cut()


async def swallow(stage: OutageStage) -> None:
    """Swallow every byte."""
    await stage.proxy.stall()


async def restore(stage: OutageStage) -> None:
    """Let bytes flow."""
    await stage.proxy.restore()


async def raise_alarm(stage: OutageStage) -> None:
    """Make the broker short of memory: it reads no more from who publishes."""
    await rabbitmqctl(stage.node, "set_vm_memory_high_watermark", "0.000001")


async def clear_alarm(stage: OutageStage) -> None:
    """End that."""
    await rabbitmqctl(stage.node, "set_vm_memory_high_watermark", "0.6")


async def stop_and_wipe_broker(stage: OutageStage) -> None:
    """Take it away with all its queues, once what it had confirmed was read."""
    await stage.proxy.cut()

    async def drained() -> bool:
        listed = await rabbitmqctl(
            stage.node, "-q", "list_queues", "messages", "--no-table-headers"
        )
        return all(line.strip() == "0" for line in listed.splitlines())

    await until(drained, seconds=_DRAIN_SECONDS, what="the queues are empty")
    await asyncio.to_thread(stage.node.stop)
    shutil.rmtree(stage.node.folder / "data")


async def start_wiped_broker(stage: OutageStage) -> None:
    """Start it without any queue."""
    await start_broker(stage)
    await stage.proxy.restore()


def postmaster(folder: Path) -> psutil.Process:
    """Find the server of a database folder."""
    lines = (folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    return psutil.Process(int(lines[0]))


async def kill_broker_and_database(stage: OutageStage) -> None:
    """End both by `kill -9` at once."""
    assert stage.postgres is not None
    server = postmaster(stage.postgres._folder)
    for process in (*server.children(recursive=True), server):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    await kill_broker(stage)


async def start_broker_and_database(stage: OutageStage) -> None:
    """Start both again."""
    assert stage.postgres is not None
    await asyncio.gather(start_broker(stage), stage.postgres.start())


async def kill_gateway(stage: OutageStage) -> None:
    """End the gateway by `kill -9`."""
    await stage.kill_gateway()


async def thaw_and_succeed(stage: OutageStage) -> None:
    """Let the broker run on, and start a gateway in place of the killed one."""
    await thaw_broker(stage)
    await stage.open_gateway()


async def start_and_succeed(stage: OutageStage) -> None:
    """Start the broker, and a gateway in place of the killed one."""
    await start_broker(stage)
    await stage.open_gateway()


OUTAGES = {
    one.name: one
    for one in (
        Outage("broker killed", kill_broker, start_broker),
        Outage("broker frozen", freeze_broker, thaw_broker),
        Outage("connection reset", cut, restore),
        Outage("black hole", swallow, restore),
        Outage("memory alarm", raise_alarm, clear_alarm),
        Outage("queues deleted", stop_and_wipe_broker, start_wiped_broker),
        Outage(
            "broker and database killed",
            kill_broker_and_database,
            start_broker_and_database,
            has_own_database=True,
        ),
        Outage("gateway killed, broker killed", kill_broker, start_and_succeed, kill_gateway),
        Outage("gateway killed, broker frozen", freeze_broker, thaw_and_succeed, kill_gateway),
        Outage("disk full, black hole", swallow, restore, is_lossy=True, is_on_small_disk=True),
        Outage(
            "spool at its limit, broker killed",
            kill_broker,
            start_broker,
            settings={"WSG_SPOOL_MAX_BYTES": "1000000"},
            is_lossy=True,
        ),
    )
}
"""By name. The lossy ones have less room than they need: what is lost is counted and marked."""
