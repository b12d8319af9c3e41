"""A real Prometheus for tests: it scrapes one gateway by the configuration that is shipped."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from amqp_probe import free_ports
from support.needs import skip_without
from support.panels import asked_of
from support.programs import until

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
START_SECONDS = 30.0


class Prometheus:
    """One that runs.

    Attributes:
        instance: how it names the gateway.
    """

    def __init__(self, http: httpx.AsyncClient, instance: str) -> None:
        self._http = http
        self.instance = instance

    async def now(self, expression: str) -> list[dict[str, Any]]:
        """Answer a panel's query of this moment: series with `metric` and `value`."""
        return await self._ask("query", {"query": asked_of(expression, self.instance)})

    async def lately(self, expression: str, now: float, seconds: float) -> list[dict[str, Any]]:
        """Answer a panel's query of the last seconds: series with `metric` and `values`."""
        asked = {
            "query": asked_of(expression, self.instance),
            "start": str(now - seconds),
            "end": str(now),
            "step": "2",
        }
        return await self._ask("query_range", asked)

    async def _ask(self, what: str, asked: dict[str, str]) -> list[dict[str, Any]]:
        answer = await self._http.get(f"/api/v1/{what}", params=asked)
        body = answer.json()
        assert body["status"] == "success", (asked, body)
        assert "warnings" not in body, (asked, body)
        found: list[dict[str, Any]] = body["data"]["result"]
        return found


@asynccontextmanager
async def prometheus(folder: Path, instance: str) -> AsyncIterator[Prometheus]:
    """Let it scrape a gateway meanwhile, `host:port`; skips where there is none.

    Scrapes and rules are as often as shipped; rules of longer ago are looked at likewise.
    """
    program = shutil.which("prometheus")
    if program is None:
        skip_without("prometheus", "panels ask it")
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text("utf-8"))
    (scraped,) = config["scrape_configs"]
    scraped["static_configs"] = [{"targets": [instance]}]
    rules = yaml.safe_load((SHIPPED / "rules.yml").read_text("utf-8"))
    for group in rules["groups"]:
        group.pop("interval", None)  # else the test would wait for a minute
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    (folder / "rules.yml").write_text(yaml.safe_dump(rules), "utf-8")
    (port,) = free_ports(1)
    process, words = _start(program, folder, port)
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20
        ) as http:

            async def ready() -> bool:
                assert process.poll() is None, words.read_text()
                try:
                    return (await http.get("/-/ready")).status_code == httpx.codes.OK
                except httpx.TransportError:
                    return False

            await until(ready, seconds=START_SECONDS, what="Prometheus is ready")
            yield Prometheus(http, instance)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)


def _start(program: str, folder: Path, port: int) -> tuple[subprocess.Popen[bytes], Path]:
    words = folder / "prometheus.words"
    with words.open("wb") as out:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, words
