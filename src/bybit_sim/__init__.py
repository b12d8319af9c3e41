"""A local Bybit: the same sockets, shapes and habits, from a seed; knows nothing of the gateway."""

from __future__ import annotations

from bybit_sim.config import SimulatorConfig, SimulatorError, Texts
from bybit_sim.connection import LiveConnection
from bybit_sim.fault import Fault, FaultError
from bybit_sim.server import ClientRequest, Simulator

__all__ = [
    "ClientRequest",
    "Fault",
    "FaultError",
    "LiveConnection",
    "Simulator",
    "SimulatorConfig",
    "SimulatorError",
    "Texts",
]
