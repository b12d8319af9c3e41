"""What `doctor --alive` says of a gateway that does not run."""

from __future__ import annotations

import json

import pytest

from ws_gateway.config import load_settings
from ws_gateway.doctor.examination import tell_alive


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
