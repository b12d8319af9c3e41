"""The example consumer of the README is a program that works, and a short one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

from support.delivery_rig import delivering
from support.programs import clean_environ
from ws_gateway.domain.event import Kind
from ws_gateway.domain.topic import Category, parse_topic

README = Path(__file__).resolve().parents[2] / "README.md"
BOOK = parse_topic("orderbook.50.BTCUSDT", Category.LINEAR)
MOST_LINES = 15


def example() -> str:
    """Take the one Python block out of the README."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return str(code)


def test_example_is_short() -> None:
    """What a consumer needs fits on a card."""
    assert len([line for line in example().splitlines() if line.strip()]) <= MOST_LINES


async def test_example_prints_what_is_delivered(
    amqp_url: str, amqp_prefix: str, tmp_path: Path
) -> None:
    """Run as it stands in the README, it prints the gap of the beginning and then every book."""
    script = tmp_path / "example.py"
    script.write_text(example(), encoding="utf-8")
    async with delivering(amqp_url, amqp_prefix) as rig:
        await rig.until_ready()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-u",
            script,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=clean_environ({"WSG_AMQP_URL": amqp_url, "WSG_AMQP_PREFIX": amqp_prefix}),
            cwd=tmp_path,
        )
        trickle = asyncio.create_task(_trickle(rig.feed))
        try:
            assert process.stdout is not None
            lines: list[list[str]] = []
            async with asyncio.timeout(60):
                while len(lines) < 5:
                    lines.append((await process.stdout.readline()).decode().split())
        finally:
            trickle.cancel()
            os.kill(process.pid, signal.SIGINT)
            _, err = await process.communicate()
            assert b"Traceback" not in err, err
        books = [words for words in lines if words[0] == "BTCUSDT"]
        assert books
        assert books[0][2:] == ["snapshot", "[['1.0',", "'2']]"]
        numbers = [int(words[1]) for words in books]
        assert numbers == list(range(numbers[0], numbers[0] + len(books)))
        await rig.until_delivered()


async def _trickle(feed: object) -> None:
    assert callable(feed)
    update_id = 0
    while True:
        update_id += 1
        payload = b'{"s":"BTCUSDT","b":[["1.0","2"]],"a":[],"u":%d}' % update_id
        feed(1, BOOK, payload=payload, kind=Kind.SNAPSHOT, update_id=update_id)
        await asyncio.sleep(0.02)
