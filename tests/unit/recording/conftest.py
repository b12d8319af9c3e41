"""What the tests of recordings share."""

from __future__ import annotations

import pytest

from ws_gateway.recording import recorder


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the recorder write what waits at once, not every second."""
    monkeypatch.setattr(recorder, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(recorder, "_BLOCK_SECONDS", 0.0)
