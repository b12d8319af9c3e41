"""No fault of the simulator is without a test of what the gateway makes of it."""

from __future__ import annotations

import ast
from pathlib import Path

from bybit_sim.faults import REGISTRY

HERE = Path(__file__).parent


def begun_in_tests() -> dict[str, set[str]]:
    """Return which faults each test of this folder begins by their literal name."""
    found: dict[str, set[str]] = {}
    for file in sorted(HERE.glob("test_venue_faults_*.py")):
        for part in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(part, ast.AsyncFunctionDef) and part.name.startswith("test_"):
                found[part.name] = {
                    call.args[0].value
                    for call in ast.walk(part)
                    if isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Attribute)
                    and call.func.attr == "begin"
                    and isinstance(call.args[0], ast.Constant)
                    and isinstance(call.args[0].value, str)
                }
    return found


def test_every_fault_has_its_test() -> None:
    """Each registered fault has a test of its name that begins it."""
    begun = begun_in_tests()
    missing = [
        name
        for name in REGISTRY
        if not any(
            name in faults and (test == f"test_{name}" or test.startswith(f"test_{name}_"))
            for test, faults in begun.items()
        )
    ]
    assert missing == []
