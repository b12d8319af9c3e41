"""What `doctor --alive` says of a gateway that does not run."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ws_gateway.doctor.examination import tell_alive
from ws_gateway.settings_source import load_settings


def test_a_gateway_that_is_not_there_is_said_and_not_only_an_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In words with the address that was asked, and as an object for machines."""
    settings = load_settings({"WSG_HTTP_PORT": "1"})
    assert not tell_alive(settings, as_json=False)
    assert "not alive: http://127.0.0.1:1/livez answers nothing" in capsys.readouterr().out
    assert not tell_alive(settings, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["is_alive"], told["url"]) == (False, "http://127.0.0.1:1/livez")


class _Well(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer like a process that lives."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
        """Say nothing."""


def test_a_proxy_of_the_environment_does_not_stand_before_this_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Docker names its proxy in every container; the gateway beside is asked itself."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), _Well) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        settings = load_settings({"WSG_HTTP_PORT": str(server.server_port)})
        is_alive = tell_alive(settings, as_json=False)
        answering.join(timeout=10)
    assert is_alive
