"""Where Bybit is: the hosts of each environment, and which REST goes with a host of sockets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum


class BybitEnvironment(StrEnum):
    """Which of the venue's environments to talk to."""

    MAINNET = "mainnet"
    TESTNET = "testnet"
    DEMO = "demo"


# Bybit v5 docs, Connect. Demo has private data only; its public data is mainnet's.
PUBLIC_WS: Mapping[BybitEnvironment, str] = {
    BybitEnvironment.MAINNET: "wss://stream.bybit.com",
    BybitEnvironment.TESTNET: "wss://stream-testnet.bybit.com",
    BybitEnvironment.DEMO: "wss://stream.bybit.com",
}
PRIVATE_WS: Mapping[BybitEnvironment, str] = {
    BybitEnvironment.MAINNET: "wss://stream.bybit.com",
    BybitEnvironment.TESTNET: "wss://stream-testnet.bybit.com",
    BybitEnvironment.DEMO: "wss://stream-demo.bybit.com",
}
REST: Mapping[BybitEnvironment, str] = {
    BybitEnvironment.MAINNET: "https://api.bybit.com",
    BybitEnvironment.TESTNET: "https://api-testnet.bybit.com",
    BybitEnvironment.DEMO: "https://api-demo.bybit.com",
}


def rest_beside(ws_url: str) -> str:
    """Return the REST host that goes with a host of sockets.

    A simulator serves both on one port, and Bybit's regional hosts are pairs like `stream.bybit.tr`
    and `api.bybit.tr`.
    """
    scheme, _, rest = ws_url.partition("://")
    return f"http{scheme[2:]}://{re.sub(r'^stream(?=[.-])', 'api', rest)}"
