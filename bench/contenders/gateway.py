"""The gateway itself: the whole process, HTTP and embedded database included."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import Any
from urllib.request import Request, urlopen

import psutil

from stand import PATIENCE_SECONDS, SYMBOLS, Stage, Venue, free_port

CREDIT = 40_000
"""Frames the venue may be ahead; less than what the gateway holds of books, so nothing is shed."""


class Gateway:
    """A gateway process on a stage, fed by a venue."""

    def __init__(
        self, stack: ExitStack, on: Stage, venue: Venue, settings: dict[str, str] | None = None
    ) -> None:
        port = free_port()
        self._key = secrets.token_hex(8)
        self._url = f"http://127.0.0.1:{port}"
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wsg-bench-"))
        environ = {k: v for k, v in os.environ.items() if not k.startswith("WSG_")} | {
            "WSG_AMQP_URL": on.amqp_url,
            "WSG_AMQP_PREFIX": on.prefix,
            "WSG_QUEUE_TYPE": on.queue_type,
            "WSG_BYBIT_WS_URL": venue.url,
            "WSG_HTTP_PORT": str(port),
            "WSG_DATA_DIR": folder,
            "WSG_API_KEY": self._key,
            "WSG_LOG_LEVEL": "error",
        }
        words = [sys.executable, "-m", "ws_gateway", "serve"]
        self._process = subprocess.Popen(words, env=environ | (settings or {}))
        stack.callback(self._end)
        self.usage = psutil.Process(self._process.pid)
        self._await_ready()

    def subscribe(self, channel: str = "orderbook", symbols: list[str] | None = None) -> None:
        """Ask for a channel of the given symbols, by default of all; private ones have none."""
        wish = {"channel": channel, "requesting_service": "bench"}
        public: list[dict[str, str]] = [{"symbol": each} for each in symbols or SYMBOLS]
        for which in public if channel == "orderbook" else [{}]:
            more = {"category": "linear"} | which if which else {}
            self._call("POST", "/api/v1/subscriptions", wish | more)

    def figures(self) -> dict[str, Any]:
        """Read the delivery counters."""
        delivery: dict[str, Any] = self._call("GET", "/health")["delivery"]
        return {
            "confirmed": delivery["confirmed"],
            "p50_us": delivery["latency_p50_us"] or 0,
            "p99_us": delivery["latency_p99_us"] or 0,
            "shed": sum(delivery["shed"].values()),
        }

    def scrape(self) -> bytes:
        """Read the metrics, as Prometheus does."""
        with urlopen(f"{self._url}/metrics", timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - same
            text: bytes = answer.read()
        return text

    def _await_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self._call("GET", "/readyz")
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.1)
            else:
                return

    def _call(self, method: str, path: str, body: object = None) -> Any:
        request = Request(  # noqa: S310 - our own http address
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": self._key, "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - same
            return json.loads(answer.read() or b"null")

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(30)
