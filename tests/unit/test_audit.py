"""The audit of what is locked: what it finds, and that silence is never taken for safety."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import audit

BAD = "h11"
KNOWN = audit.CANARY[0]


@contextmanager
def service(*bad: str, answer: object = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve OSV's batch endpoint, which knows of some names, or answers always the same.

    Answers its address and what it was asked.
    """
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.extend(json.loads(body)["queries"])
            told = {
                "results": [
                    {"vulns": [{"id": "GHSA-x"}]} if one["package"]["name"] in bad else {}
                    for one in asked
                ]
            }
            text = json.dumps(told if answer is None else answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_everything_that_is_locked_is_asked_about() -> None:
    """Each by its name on the index and the version that would be installed."""
    packages = {one for lock in audit.LOCKS for one in audit.locked(lock)}
    names = {name for name, _ in packages}
    assert {"pydantic", "uvloop", "pytest", "setuptools"} <= names
    assert all(version[0].isdigit() for _, version in packages)
    lines = audit.LOCKS[0].read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if not line.startswith((" ", "#"))]
    assert len(list(audit.locked(audit.LOCKS[0]))) == len(pinned)


def test_a_known_weakness_is_named_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """With its id, so that a person can look it up."""
    with service(BAD, KNOWN) as (url, asked):
        assert audit.main(["--source", url]) == audit.FOUND
    assert {one["package"]["ecosystem"] for one in asked} == {"PyPI"}
    out = capsys.readouterr().out
    assert f"{BAD} " in out
    assert "GHSA-x" in out


def test_nothing_known_is_success(capsys: pytest.CaptureFixture[str]) -> None:
    """And it says who was asked."""
    lock = audit.LOCKS[2]
    with service(KNOWN) as (url, _):
        assert audit.main(["--source", url, str(lock)]) == 0
    assert "no weakness is known" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer", [{}, [], 1, {"results": {}}, {"results": [1]}, {"results": [{"vulns": [1]}]}]
)
def test_an_answer_that_is_none_of_osv_is_no_success(
    answer: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as `{}`, of which no weakness can be read either."""
    with service(answer=answer) as (url, _):
        assert audit.main(["--source", url]) == audit.NOBODY_ASKED
    assert "NOT DONE" in capsys.readouterr().err


def test_a_source_that_knows_of_nothing_at_all_is_not_believed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is asked about a package that has been weak for years, whatever is locked."""
    with service() as (url, asked):
        assert audit.main(["--source", url]) == audit.NOBODY_ASKED
    assert KNOWN in {one["package"]["name"] for one in asked}
    (tmp_path / "A.json").write_text('{"id": "A", "affected": []}', encoding="utf-8")
    assert audit.main(["--source", str(tmp_path)]) == audit.NOBODY_ASKED
    assert "silence says nothing" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "[]", "", "null", '{"id": 1}'])
def test_a_folder_of_what_is_no_record_is_no_success(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was cut off hides what it told."""
    (tmp_path / "A.json").write_text(text, encoding="utf-8")
    assert audit.main(["--source", str(tmp_path)]) == audit.NOBODY_ASKED
    assert "NOT DONE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "{}", "# nothing\n", "    --hash=sha256:00\n", "h11\n", "h11>=0.16\n", None]
)
def test_a_lock_that_pins_nothing_is_no_success(
    tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty, cut off, loose or missing lock has no known weakness either."""
    lock = tmp_path / "lock.txt"
    if text is not None:
        lock.write_text(text, encoding="utf-8")
    with service(KNOWN) as (url, asked):
        assert audit.main(["--source", url, str(audit.LOCKS[0]), str(lock)]) == audit.NO_LOCK
    assert asked == []
    told = capsys.readouterr()
    assert "NOT DONE" in told.err
    assert str(lock) in told.err
    assert told.out == ""


@pytest.mark.parametrize("source", ["http://127.0.0.1:9", "/nonexistent"])
def test_nobody_to_ask_is_said_aloud_and_is_no_success(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without a way out must not look safe."""
    assert audit.main(["--source", source]) == audit.NOBODY_ASKED
    told = capsys.readouterr()
    assert "NOT DONE" in told.err
    assert "no weakness is known" not in told.out


def test_an_answer_that_leaves_some_out_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Else the last packages would pass unseen."""
    with service(answer={"results": [{}]}) as (url, _):
        assert audit.main(["--source", url]) == audit.NOBODY_ASKED
    assert "questions" in capsys.readouterr().err


def test_records_in_a_folder_do_as_well(tmp_path: Path) -> None:
    """Those that name our version; withdrawn ones and other versions are nothing."""
    name, version = next(one for one in audit.locked(audit.LOCKS[0]) if one[0] == BAD)
    affected = {"package": {"ecosystem": "PyPI", "name": name.upper()}, "versions": [version]}
    canary = {
        "package": {"ecosystem": "PyPI", "name": KNOWN},
        "versions": [audit.CANARY[1]],
    }
    other = {**affected, "versions": ["0.0.1"]}
    records = {
        "A": {"id": "A", "affected": [affected]},
        "B": {"id": "B", "affected": [other]},
        "C": {"id": "C", "affected": [affected], "withdrawn": "2026-01-01T00:00:00Z"},
        "D": {"id": "D", "affected": [canary]},
    }
    for key, record in records.items():
        (tmp_path / f"{key}.json").write_text(json.dumps(record), encoding="utf-8")
    packages = list(audit.locked(audit.LOCKS[0]))
    assert audit.ask(str(tmp_path), packages) == {(name, version): {"A"}}
