"""The sender without what is measured of each event, to know what that costs.

Taken out of the source before it is compiled, so that nothing of it is left, not even the asking
whether it is wanted: the times of the hops, the newest latencies, the messages routed by topic.
What is counted to keep the promise (received, confirmed, shed, …) stays, for it is no metric alone.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import CodeType

from ws_gateway.delivery.sender import Sender

TAKEN_OUT = (
    "self._times.sent(",
    "self._times.confirmed(",
    "counters.latencies_us.append(",
    "counters.routed[",
)
"""How the statements begin; each has to be there, else this measures nothing."""


def unmetered_sender() -> type[Sender]:
    """Compile the sender anew, without its metrics.

    Raises:
        SystemExit: one of them is not there (any more).
    """
    spec = importlib.util.find_spec(Sender.__module__)
    assert spec is not None
    assert spec.origin is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"{Sender.__module__} without metrics"] = module
    code = without_metrics(Path(spec.origin).read_text(encoding="utf-8"), spec.origin)
    exec(code, module.__dict__)  # noqa: S102 - our own source
    found: type[Sender] = module.Sender
    return found


def without_metrics(source: str, name: str) -> CodeType:
    """Compile a module without its metrics."""
    remover = _Remover()
    tree = ast.fix_missing_locations(remover.visit(ast.parse(source)))
    if missing := set(TAKEN_OUT) - remover.found:
        raise SystemExit(f"{name} has no {', '.join(sorted(missing))}: mend this script")
    return compile(tree, name, "exec")


class _Remover(ast.NodeTransformer):
    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Take out a call."""
        return self._kept(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST | None:
        """Take out a count."""
        return self._kept(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """Take out a question of which nothing is left."""
        self.generic_visit(node)
        return node if node.body else None

    def _kept(self, node: ast.stmt) -> ast.stmt | None:
        words = ast.unparse(node)
        for begin in TAKEN_OUT:
            if words.startswith(begin):
                self.found.add(begin)
                return None
        return node
