"""The recording, as the settings want it."""

from __future__ import annotations

from pathlib import Path

from frame_recording import Header
from ws_gateway import __version__
from ws_gateway.config import Settings
from ws_gateway.recording.files import Limits
from ws_gateway.recording.recorder import Recorder
from ws_gateway.runtime.clock import clock_us


def build_recorder(settings: Settings) -> Recorder | None:
    """Make what records the gateway's own connections, None if nothing is to be recorded."""
    if settings.record_dir is None:
        return None
    return recorder_into(settings.record_dir, settings, with_private=settings.record_private)


def recorder_into(folder: Path, settings: Settings, *, with_private: bool) -> Recorder:
    """Make what records into a folder, within the bounds of the settings."""
    header = Header(
        software=f"ws-gateway {__version__}",
        environment=settings.bybit_ws_url or settings.bybit_environment.value,
        begun_at=clock_us(),
        is_private=with_private,
    )
    limits = Limits(
        file_bytes=settings.record_file_max_bytes,
        file_seconds=settings.record_file_max_minutes * 60,
        total_bytes=settings.record_max_bytes,
    )
    return Recorder(folder.expanduser().resolve(), limits, header, clock_us=clock_us)
