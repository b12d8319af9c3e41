"""Every link of the documents leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [
        *CHECKOUT.glob("*.md"),
        *(CHECKOUT / "docs").glob("*.md"),
        *CHECKOUT.glob("docs/decisions/*.md"),
    ]
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """Name the headings as links do."""
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(document: Path) -> None:
    """Nothing leads out of the checkout but to the web."""
    text = _CODE.sub("", document.read_text("utf-8"))
    for target in _LINK.findall(text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = unquote(target).partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.is_relative_to(CHECKOUT), target
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_document_is_reached_from_the_readme() -> None:
    """One that nobody links to is read by nobody."""
    text = (CHECKOUT / "README.md").read_text("utf-8")
    linked = {(CHECKOUT / one.partition("#")[0]).resolve() for one in _LINK.findall(text)}
    lonely = [path.name for path in (CHECKOUT / "docs").glob("*.md") if path not in linked]
    assert lonely == []
