"""The references that are made of the code are what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

import references
from ws_gateway.config import PREFIX, Settings
from ws_gateway.domain.topic import EventClass

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", references.REFERENCES)
def test_the_committed_reference_is_current(name: str) -> None:
    """After a change of settings or messages it is made anew and committed with it."""
    command = "make contract"
    made = references.REFERENCES[name]()
    assert (DOCS / name).read_text(encoding="utf-8") == made, f"run: {command}"


def test_every_setting_and_every_class_has_its_place() -> None:
    """None is left out, and none is told twice."""
    configuration, events = references.configuration(), references.events()
    for field in Settings.model_fields:
        assert configuration.count(f"| `{PREFIX}{field.upper()}` |") == 1, field
    for event_class in EventClass:
        assert events.count(f"\n## {event_class}\n") == 1


def test_no_type_of_a_field_is_left_unsaid() -> None:
    """`any` is said of the payload alone, which each class describes."""
    rows = [row for row in references.events().splitlines() if "| any |" in row]
    assert rows == ["| `payload` | any | yes |  |"]
    assert "text" in references.configuration()
