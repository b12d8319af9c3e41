"""What an administrator would do on a node of the test's own: policies, plugins."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from amqp_probe import free_ports
from rabbitmq_node import PrivateNode

_TOOLS = Path("/usr/lib/rabbitmq/bin")  # beside the server that `own_broker` starts on Debian


async def rabbitmqctl(node: PrivateNode, *words: str, tool: str = "rabbitmqctl") -> str:
    """Run one command of the broker's own tools against the node; answers what it printed."""
    ports = node._stored_ports()
    assert ports is not None
    environ = node._environment(ports)
    program = _TOOLS / tool if (_TOOLS / tool).exists() else Path(tool)
    process = await asyncio.create_subprocess_exec(
        program,
        *words,
        env={**environ, "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def enable_management(node: PrivateNode) -> str:
    """Start the management API on a free port; answers its URL."""
    (port,) = free_ports(1)
    setting = f"[{{port, {port}}}, {{ip, {{127,0,0,1}}}}]"
    await rabbitmqctl(
        node,
        "eval",
        "application:load(rabbitmq_management),"
        f" application:set_env(rabbitmq_management, tcp_config, {setting}),"
        " application:load(rabbitmq_management_agent),"
        " application:set_env(rabbit, collect_statistics_interval, 200).",
    )
    await rabbitmqctl(node, "enable", "rabbitmq_management", tool="rabbitmq-plugins")
    return f"http://guest:guest@127.0.0.1:{port}"
