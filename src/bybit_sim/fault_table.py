"""The registry of faults for people: on a terminal, and as the table of the manual."""

from __future__ import annotations

from bybit_sim.fault import Fault, Parameter, parameters_of
from bybit_sim.faults import REGISTRY, summary_of

_EXAMPLES = {
    "drop": "path=/v5/public/linear",
    "half_open": "path=/v5/public/linear duration_seconds=60",
    "refuse_handshake": "status=429 retry_after_seconds=5 count=3",
    "slow_handshake": "delay_seconds=8 duration_seconds=60",
    "accept_then_drop": "count=3",
    "connection_limit": "most=5 window_seconds=300",
    "missing_pongs": "path=/v5/private duration_seconds=60",
    "late_acks": "delay_seconds=3 count=10",
    "missing_acks": "duration_seconds=30",
    "refused_acks": "op=subscribe count=1",
    "args_size": "most=5",
    "handler_not_found": "topic=orderbook.50.BTCUSDT",
    "login_refused": "reason=ip_not_allowed duration_seconds=60",
    "clock_skew": "by_seconds=30",
    "stall": "topic=tickers.BTCUSDT path=/v5/public/linear duration_seconds=30",
    "update_gap": "probability=0.001 count=null seed=7",
    "duplicate_frame": "topic=publicTrade.BTCUSDT count=5",
    "reorder_frames": "topic=orderbook.50.BTCUSDT count=1",
    "book_restart": "topic=orderbook.50.BTCUSDT",
    "snapshot": "topic=orderbook.50.BTCUSDT count=3 every_seconds=10",
    "malformed_frame": "path=/v5/public/linear",
    "oversized_frame": "size_bytes=10485760",
    "unknown_topic": "path=/v5/public/spot",
    "maintenance": "announce_seconds=10 duration_seconds=60",
    "duplicate_orders": "probability=0.5 seed=7",
    "cancel_race": "count=1",
    "private_out_of_order": "delay_seconds=0.05 duration_seconds=60",
    "private_loss": "symbol=BTCUSDT qty=0.001",
    "lose_private": "topic=execution probability=0.1 count=null seed=7",
    "cut_before_push": "count=3",
    "rest_failure": "status=429 path=/v5/execution/list count=5",
    "slow_rest": "delay_seconds=3 path=/v5/position/list",
    "rest_lag": "by_seconds=2 duration_seconds=60",
    "unstable_pages": "duration_seconds=60",
}


def example_of(kind: type[Fault]) -> list[str]:
    """Return parameters that make sense for a kind of fault, as `key=value`."""
    return _EXAMPLES[kind.name].split()


def plain_list() -> str:
    """List every fault with its parameters."""
    lines = []
    for kind in REGISTRY.values():
        lines.append(f"{kind.name}\n  {summary_of(kind)}")
        lines += [f"    {_written(each)}: {each.description}" for each in parameters_of(kind)]
    return "\n".join(lines)


def markdown_table() -> str:
    """Write every fault as a table."""
    lines = ["| fault | what it does | parameters | example |", "|---|---|---|---|"]
    for kind in REGISTRY.values():
        shown = [f"`{_written(each)}` {each.description}" for each in parameters_of(kind)]
        example = f"`bybit-sim fault {kind.name} {' '.join(example_of(kind))}`"
        lines.append(f"| `{kind.name}` | {summary_of(kind)} | {'<br>'.join(shown)} | {example} |")
    return "\n".join(lines)


def _written(parameter: Parameter) -> str:
    if parameter.is_required:
        return f"{parameter.name} ({parameter.type})"
    default = parameter.default
    plain = default is None or isinstance(default, bool)
    text = {None: "null", True: "true", False: "false"}[default] if plain else str(default)
    return f"{parameter.name}={text} ({parameter.type})"
