"""The recording, as the settings want it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from frame_recording import Header
from ws_gateway import __version__
from ws_gateway.config import Settings
from ws_gateway.recording.files import Limits
from ws_gateway.recording.recorder import Recorder
from ws_gateway.recording.room import Neighbour, Volume
from ws_gateway.runtime.clock import clock_us


def build_recorder(settings: Settings, spooled: Callable[[], int]) -> Recorder | None:
    """Make what records the gateway's own connections, None if nothing is to be recorded.

    Args:
        settings: say whether, where, and how much.
        spooled: says how many bytes of private events and balance rows are on disk already.
    """
    if settings.record_dir is None:
        return None
    return recorder_into(
        settings.record_dir, settings, with_private=settings.record_private, spooled=spooled
    )


def recorder_into(
    folder: Path,
    settings: Settings,
    *,
    with_private: bool,
    spooled: Callable[[], int] | None = None,
) -> Recorder:
    """Make what records into a folder, within the bounds of the settings.

    Args:
        folder: where the files go.
        settings: say how much.
        with_private: record private connections too.
        spooled: as above; None in a process that is not the gateway, beside which one may run.
    """
    place = folder.expanduser().resolve()
    neighbours = _spools(settings, spooled)
    header = Header(
        software=f"ws-gateway {__version__}",
        environment=settings.bybit_ws_url or settings.bybit_environment.value,
        begun_at=clock_us(),
        is_private=with_private,
        accounts=settings.account_names if with_private else (),
    )
    limits = Limits(
        file_bytes=settings.record_file_max_bytes,
        file_seconds=settings.record_file_max_minutes * 60,
        total_bytes=settings.record_max_bytes,
    )
    volume = Volume(
        place,
        keep_free=settings.record_keep_free_bytes,
        neighbours=neighbours,
    )
    return Recorder(place, limits, header, clock_us=clock_us, volume=volume)


def _spools(settings: Settings, spooled: Callable[[], int] | None) -> list[Neighbour]:
    """Private facts of an outage find their refuge there, whatever a recording would like."""
    data, most = settings.data_dir.expanduser().resolve(), settings.most_spooled_bytes
    if spooled is not None:
        return [Neighbour(data, lambda: most - spooled())]
    return [Neighbour(data, lambda: most)] if data.exists() else []
