"""`ws-gateway demo`: simulated exchange, gateway and a real consumer, shown live."""

from __future__ import annotations

from ws_gateway.demo.play import DemoOptions, run_demo

__all__ = ["DemoOptions", "run_demo"]
