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


@contextmanager
def service(answers: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve OSV's batch endpoint; answers its address and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.extend(json.loads(body)["queries"])
            told = answers or [
                {"vulns": [{"id": "GHSA-x"}]} if one["package"]["name"] == BAD else {}
                for one in asked
            ]
            text = json.dumps({"results": told}).encode()
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
    with service([]) as (url, asked):
        assert audit.main(["--source", url]) == audit.FOUND
    assert {one["package"]["ecosystem"] for one in asked} == {"PyPI"}
    out = capsys.readouterr().out
    assert f"{BAD} " in out
    assert "GHSA-x" in out


def test_nothing_known_is_success(capsys: pytest.CaptureFixture[str]) -> None:
    """And it says who was asked."""
    lock = audit.LOCKS[2]
    count = len(list(audit.locked(lock)))
    with service([{}] * count) as (url, _):
        assert audit.main(["--source", url, str(lock)]) == 0
    assert "no weakness is known" in capsys.readouterr().out


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
    with service([{}]) as (url, _):
        assert audit.main(["--source", url]) == audit.NOBODY_ASKED
    assert "questions" in capsys.readouterr().err


def test_records_in_a_folder_do_as_well(tmp_path: Path) -> None:
    """Those that name our version; withdrawn ones and other versions are nothing."""
    name, version = next(one for one in audit.locked(audit.LOCKS[0]) if one[0] == BAD)
    affected = {"package": {"ecosystem": "PyPI", "name": name.upper()}, "versions": [version]}
    other = {**affected, "versions": ["0.0.1"]}
    records = {
        "A": {"id": "A", "affected": [affected]},
        "B": {"id": "B", "affected": [other]},
        "C": {"id": "C", "affected": [affected], "withdrawn": "2026-01-01T00:00:00Z"},
    }
    for key, record in records.items():
        (tmp_path / f"{key}.json").write_text(json.dumps(record), encoding="utf-8")
    packages = list(audit.locked(audit.LOCKS[0]))
    assert audit.ask(str(tmp_path), packages) == {(name, version): {"A"}}
