"""Recordings of a venue's raw frames: the file format, shared by who writes and who replays.

It knows neither the gateway nor the simulator, so that both may read the same file and still know
nothing of each other.
"""

from frame_recording.block import VERSION, RecordingFault
from frame_recording.reader import FileSummary, RecordedFile, find_files, read_records, summarise
from frame_recording.records import Header, Record, What

__all__ = [
    "VERSION",
    "FileSummary",
    "Header",
    "Record",
    "RecordedFile",
    "RecordingFault",
    "What",
    "find_files",
    "read_records",
    "summarise",
]
