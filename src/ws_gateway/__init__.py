"""One service that holds the WebSocket connections to Bybit and delivers every event."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("ws-gateway")
