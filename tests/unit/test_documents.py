"""Whoever follows a link in the documents arrives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *sorted(CHECKOUT.glob("*.md")),
    *sorted((CHECKOUT / "docs").rglob("*.md")),
    *sorted((CHECKOUT / "examples").rglob("*.md")),
]
DECISIONS = CHECKOUT / "docs" / "decisions"

_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^()\s]+)(?: \"[^\"]*\")?\)|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")
_NUMBER = re.compile(r"\bdecisions? (\d+)(?: and (\d+))?")


def _links(text: str) -> Iterator[str]:
    for found in _LINK.finditer(_CODE.sub("", _FENCE.sub("", text))):
        target = found[1] or found[2]
        if not _ELSEWHERE.match(target):
            yield target


@cache
def _anchors(path: Path) -> frozenset[str]:
    """Name the headings as GitHub does: repeats are numbered."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", path.read_text("utf-8"))):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        names = (name if not number else f"{name}-{number}" for number in count())
        found.add(next(each for each in names if each not in found))
    return frozenset(found)


def _fault(document: Path, link: str) -> str | None:
    """Say why a link leads nowhere, None if it does not."""
    file, _, anchor = unquote(link).partition("#")
    target = (document.parent / file).resolve() if file else document
    if not target.is_relative_to(CHECKOUT):
        return f"{link} leads out of the checkout"
    if not target.exists():
        return f"{link} does not exist"
    if anchor and anchor not in _anchors(target):
        return f"{link} names no heading; there are {', '.join(sorted(_anchors(target)))}"
    return None


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=[str(each.relative_to(CHECKOUT)) for each in DOCUMENTS]
)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    """A file that was renamed, or a heading that was, is still linked by its old name."""
    faults = [_fault(document, link) for link in _links(document.read_text("utf-8"))]
    assert [each for each in faults if each is not None] == []


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("docs/http-api.md#keys", True),
        ("docs/decisions/README.md", True),
        ("#in-60-seconds", True),
        ("README.md#no-such-heading", False),
        ("docs/decisions/0016-how-services-share-topics.md", False),
        ("../elsewhere.md", False),
    ],
)
def test_a_link_that_leads_nowhere_is_seen(link: str, leads: bool) -> None:  # noqa: FBT001 - a case
    """The look itself tells one from the other, whatever the documents say today."""
    assert (_fault(CHECKOUT / "README.md", link) is None) is leads


def test_every_document_is_reached_from_the_readme() -> None:
    """One that nobody links to is read by nobody; decisions are reached through their list."""
    reached, todo = set(), [CHECKOUT / "README.md"]
    while todo:
        document = todo.pop()
        if document in reached or document not in DOCUMENTS:
            continue
        reached.add(document)
        if document in (CHECKOUT / "README.md", DECISIONS / "README.md"):
            links = _links(document.read_text("utf-8"))
            todo += [
                (document.parent / unquote(each.partition("#")[0])).resolve() for each in links
            ]
    assert set(DOCUMENTS) - reached == set()


def test_every_decision_is_listed_under_its_own_number() -> None:
    """Numbers are given once, files bear them, and the list names each."""
    files = sorted(path.name for path in DECISIONS.glob("[0-9]*.md"))
    listed = re.findall(
        r"^\| \[(\d+)\]\(([^)]+)\)", (DECISIONS / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(name for _, name in listed) == files
    for number, name in listed:
        title = (DECISIONS / name).read_text("utf-8").partition("\n")[0]
        assert (int(name[:4]), title.partition(".")[0]) == (int(number), f"# {number}"), name


def test_every_decision_that_is_named_exists() -> None:
    """`decision 17` in a document or a comment has to have a file."""
    numbers = {int(path.name[:4]) for path in DECISIONS.glob("[0-9]*.md")}
    sources = sorted((CHECKOUT / "src").rglob("*.py"))
    for path in (*DOCUMENTS, *sources):
        named = {
            int(each) for pair in _NUMBER.findall(path.read_text("utf-8")) for each in pair if each
        }
        assert named <= numbers, path
