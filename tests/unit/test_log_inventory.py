"""Every log line has a stable name by the rule, and stands in the list for operators."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = CHECKOUT / "src" / "ws_gateway"  # the simulator is a program of its own
INVENTORY = CHECKOUT / "docs" / "logs.md"

ROOMS = {
    "account",
    "api",
    "client",
    "control",
    "delivery",
    "gateway",
    "pipeline",
    "recording",
    "storage",
    "venue",
}
NAME = re.compile(r"([a-z]+)\.[a-z]+(_[a-z]+)*")
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
CHOSEN = "tell"
"""What a method of a logger is called that was chosen by the case; its level varies."""


@dataclass(frozen=True, slots=True)
class Line:
    """A call that writes a log line."""

    where: str
    level: str
    names: tuple[str, ...]
    fields: frozenset[str]


def _lines() -> Iterator[Line]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or (level := _level(node.func)) is None:
                continue
            fields = {keyword.arg for keyword in node.keywords if keyword.arg}
            where = f"{path.relative_to(SOURCE)}:{node.lineno}"
            yield Line(where, level, tuple(_names(node.args[0])), frozenset(fields - {"exc_info"}))


def _level(called: ast.expr) -> str | None:
    """Say at which level a call logs, None if it does not log."""
    if isinstance(called, ast.Name):
        return CHOSEN if called.id == CHOSEN else None
    if not isinstance(called, ast.Attribute) or called.attr not in LEVELS:
        return None
    owner = called.value
    name = getattr(owner, "id", getattr(owner, "attr", ""))
    return called.attr if name.strip("_") in {"log", "logger"} else None


def _names(argument: ast.expr) -> Iterator[str]:
    """Return the names a call may write: a constant, or one of two."""
    if isinstance(argument, ast.IfExp):
        yield from _names(argument.body)
        yield from _names(argument.orelse)
    elif isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value.partition(" ")[0]  # the kit's lines are of the standard library


def _listed() -> dict[str, tuple[str, str]]:
    rows = re.findall(
        r"^\| `(\S+)` \| ([^|]*) \| ([^|]*) \|", INVENTORY.read_text("utf-8"), re.MULTILINE
    )
    assert len({name for name, _, _ in rows}) == len(rows), "a line stands twice in the list"
    return {name: (level, fields) for name, level, fields in rows}


LINES = list(_lines())
LISTED = _listed()


def test_every_line_is_named_by_the_rule() -> None:
    """`room.noun_verb`, written out: whoever searches for a name has to find it."""
    assert len(LINES) > 50
    for line in LINES:
        assert line.names, f"{line.where}: the name is put together"
        for name in line.names:
            found = NAME.fullmatch(name)
            assert found, f"{line.where}: {name}"
            assert found[1] in ROOMS, f"{line.where}: {name}"


def test_the_list_names_every_line_and_no_other() -> None:
    """Also with its level and its fields."""
    assert {name for line in LINES for name in line.names} == set(LISTED)
    for line in LINES:
        for name in line.names:
            level, fields = LISTED[name]
            if line.level != CHOSEN:
                wanted = "error" if line.level == "exception" else line.level
                assert level.startswith(wanted), f"{line.where}: {name} is of level {line.level}"
            for field in line.fields:
                assert f"`{field}`" in fields, f"{line.where}: {name} has {field}"
