"""A real browser for tests: headless Chromium, driven over its own protocol (CDP)."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from chromium import BROWSERS, find_browser
from support.needs import skip_without
from support.programs import until

START_SECONDS = 60.0
ANSWER_SECONDS = 60.0

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # a container's root may not build one; the page is our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


class Page:
    """One tab.

    Attributes:
        errors: what the page said on its console as an error, and exceptions nobody caught.
        requests: every URL it asked for.
    """

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self._socket = socket
        self._session = session
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.errors: list[str] = []
        self.requests: list[str] = []

    async def read(self) -> None:
        """Take in what the browser says, until it is gone."""
        async for message in self._socket:
            told = json.loads(message)
            if (waiting := self._answers.pop(told.get("id", 0), None)) is not None:
                if not waiting.done():
                    waiting.set_result(told)
                continue
            match told.get("method"):
                case "Runtime.exceptionThrown":
                    self.errors.append(json.dumps(told["params"]["exceptionDetails"])[:600])
                case "Log.entryAdded" if told["params"]["entry"]["level"] == "error":
                    entry = told["params"]["entry"]
                    self.errors.append(f"{entry['text']} {entry.get('url', '')}")
                case "Network.requestWillBeSent":
                    self.requests.append(told["params"]["request"]["url"])

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        number = next(self._numbers)
        waiting = self._answers[number] = asyncio.get_running_loop().create_future()
        order = {"id": number, "method": method, "params": parameters, "sessionId": self._session}
        await self._socket.send(json.dumps(order))
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await waiting
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    async def value(self, script: str) -> Any:
        """Evaluate an expression in the page; a promise is awaited."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, f"{script}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    async def text(self, selector: str) -> str:
        """Return the text a person reads in an element; empty if it is hidden or not there."""
        found = await self.value(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return str(found)

    async def until(self, script: str, *, seconds: float = 60, what: str = "") -> float:
        """Wait until an expression is true; answers how long that took, in seconds."""
        began = time.monotonic()

        async def holds() -> bool:
            return bool(await self.value(f"Boolean({script})"))

        shown = ""

        async def now() -> None:
            nonlocal shown
            shown = str(await self.value("document.body.innerText"))[:1500]

        try:
            await until(holds, seconds=seconds, what=what or script)
        except AssertionError as exc:
            await now()
            raise AssertionError(f"{exc}; the page shows:\n{shown}\n{self.errors}") from None
        return time.monotonic() - began

    async def until_text(self, selector: str, words: str, *, seconds: float = 60) -> float:
        """Wait until an element shows some words."""
        script = (
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            f".some((one) => one.innerText.includes({json.dumps(words)}))"
        )
        return await self.until(script, seconds=seconds, what=f"{selector} shows {words!r}")

    async def picture(self, path: Path, *, whole: bool = False) -> None:
        """Take a screenshot, of what is seen or of the whole page."""
        answer = await self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole
        )
        path.write_bytes(base64.b64decode(answer["data"]))  # noqa: ASYNC240 - moments

    # ── acting ────────────────────────────────────────────────────────────────────────────────

    async def go(self, url: str) -> None:
        """Open an address."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'", seconds=START_SECONDS)

    async def before_scripts(self, script: str) -> None:
        """Run a script in every page that is opened from now on, before its own."""
        await self.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    async def screen(self, width: int, height: int, *, is_phone: bool = False) -> None:
        """Have a screen of this size."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=is_phone,
        )

    async def colours(self, scheme: str) -> None:
        """Prefer `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def press(self, key: str, *, shift: bool = False) -> None:
        """Press one key."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowDown": 40}
        about = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": codes[key],
            "modifiers": 8 if shift else 0,
        }
        text = {"Enter": "\r", " ": " "}.get(key)
        kind = "keyDown" if text else "rawKeyDown"
        await self.call(
            "Input.dispatchKeyEvent", type=kind, **({"text": text} if text else {}), **about
        )
        await self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    async def write(self, words: str) -> None:
        """Type into what has the focus."""
        await self.call("Input.insertText", text=words)

    async def tab_to(self, holds: str, *, most: int = 60) -> None:
        """Press Tab until an expression about `document.activeElement`, `it`, is true."""
        script = f"((it) => Boolean({holds}))(document.activeElement)"
        for _ in range(most):
            if await self.value(script):
                return
            await self.press("Tab")
        where = await self.value("document.activeElement.outerHTML.slice(0, 200)")
        raise AssertionError(f"no Tab leads to {holds}; the focus is at {where}")


CONTRAST = """(() => {
  const channels = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = channels(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  let looked = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    const style = getComputedStyle(node);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const [a, b] = [luminance(channels(style.color)), luminance(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    looked += 1;
    if (ratio < (isLarge ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${walker.currentNode.data}`);
  }
  return { looked, poor };
})()"""
"""Finds text that stands out too little from what is behind it (WCAG 2.2, level AA)."""


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Page]:
    """Run a browser meanwhile; answers its one page. Skips where there is no browser."""
    path = find_browser()
    if path is None:
        skip_without("browser", f"none of {', '.join(BROWSERS)} is on the PATH")
    profile = folder / "browser"
    process = _start(path, profile)
    try:

        async def listening() -> list[str] | None:
            assert process.poll() is None, "the browser ended at its start"
            with suppress(FileNotFoundError):
                lines = (profile / "DevToolsActivePort").read_text().split()
                return lines if len(lines) == 2 else None
            return None

        port, way = await until(listening, seconds=START_SECONDS, what="the browser listens")
        url = f"ws://127.0.0.1:{port}{way}"
        async with (
            asyncio.TaskGroup() as group,
            connect(url, max_size=None, ping_interval=None) as socket,
        ):
            page = await _first_page(socket)
            reading = group.create_task(_read(page))
            for room in ("Page", "Runtime", "Log", "Network"):
                await page.call(f"{room}.enable")
            yield page
            reading.cancel()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)


async def _read(page: Page) -> None:
    with suppress(ConnectionClosed):  # then whoever waits for an answer says which
        await page.read()


def _start(path: str, profile: Path) -> subprocess.Popen[bytes]:
    profile.mkdir()
    return subprocess.Popen(
        [path, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
        env={**os.environ, "HOME": str(profile)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


async def _first_page(socket: ClientConnection) -> Page:
    async def asked(number: int, method: str, **parameters: Any) -> dict[str, Any]:
        await socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async for message in socket:
            told = json.loads(message)
            if told.get("id") == number:
                result: dict[str, Any] = told["result"]
                return result
        raise AssertionError("the browser hung up")

    target = await asked(1, "Target.createTarget", url="about:blank")
    session = await asked(2, "Target.attachToTarget", targetId=target["targetId"], flatten=True)
    return Page(socket, session["sessionId"])
