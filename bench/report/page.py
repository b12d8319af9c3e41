"""The measured part of docs/performance.md, its plot, and the figures as JSON beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from report.machine import sentence
from report.plot import draw
from report.table import Sheet, sheets

BEGIN, END = "<!-- measured: begin (written by `make bench`) -->", "<!-- measured: end -->"


def publish(results: dict[str, Any], folder: Path) -> None:
    """Put a run into the docs."""
    page = folder / "performance.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = results["parts"]
    lines = [sentence(results["machine"]).join("**"), ""]
    for sheet in sheets(parts):
        lines += _markdown(sheet)
    lines += ["![Ratios, latency, growth and memory](performance.svg)", ""]
    text = "\n".join(lines)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")
    (folder / "performance.svg").write_text(draw(parts), encoding="utf-8")
    raw = json.dumps(_rounded(results), indent=1)
    (folder / "performance.json").write_text(f"{raw}\n", encoding="utf-8")


def _markdown(sheet: Sheet) -> list[str]:
    marks = ["---" if place < sheet.words else "---:" for place in range(len(sheet.columns))]
    rows = [sheet.columns, tuple(marks), *sheet.rows]
    return [f"### {sheet.title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _rounded(value: Any) -> Any:
    """Leave digits out that no measurement has."""
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return value
