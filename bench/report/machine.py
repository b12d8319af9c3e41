"""On what it was measured."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import aiormq
import psutil


def describe_machine(amqp_url: str) -> dict[str, Any]:
    """Name processor, cores, memory, kernel, versions and what was measured."""
    broker = asyncio.run(_broker(amqp_url))
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "broker": broker,
        "commit": _commit(),
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def sentence(machine: dict[str, Any]) -> str:
    """Say it in one line."""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"Linux {machine['kernel']}; Python {machine['python']}; {machine['broker']}; "
        f"commit {machine['commit']}, {machine['at']} UTC"
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


async def _broker(amqp_url: str) -> str:
    connection = await aiormq.connect(amqp_url)
    told = connection.server_properties
    await connection.close()
    version, platform_of = (str(told.get(name, "?")) for name in ("version", "platform"))
    return f"RabbitMQ {version} ({platform_of})"


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return os.environ.get("BENCH_COMMIT") or found.stdout.strip() or "unknown"
