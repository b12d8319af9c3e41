"""Credentials from files: when a rotated pair is taken, and when not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.credentials import CredentialFiles

OLD, NEW = Credentials("key-1", "secret-1"), Credentials("key-2", "secret-2")


class Rotation:
    """Two files and who is told of them."""

    def __init__(self, folder: Path, *, has_key_file: bool = True) -> None:
        self.key, self.secret = folder / "key", folder / "secret"
        self.write(OLD)
        self.renewed: list[Credentials] = []
        self.files = CredentialFiles(
            key_file=self.key if has_key_file else None,
            secret_file=self.secret,
            current=OLD,
            renew=self.renewed.append,
            interval_seconds=0.005,
        )

    def write(self, credentials: Credentials) -> None:
        """Write both halves."""
        self.key.write_text(credentials.key + "\n")
        self.secret.write_text(credentials.secret + "\n")

    def look(self, times: int = 1) -> None:
        """Look so often."""
        for _ in range(times):
            self.files.look()


def test_a_pair_that_stands_still_is_handed_on_once(tmp_path: Path) -> None:
    """Unchanged files say nothing; a new pair is taken at the second look."""
    at = Rotation(tmp_path)
    at.look(3)
    at.write(NEW)
    at.look()
    assert at.renewed == []
    at.look(20)
    assert at.renewed == [NEW]


def test_a_half_written_rotation_is_not_used(tmp_path: Path) -> None:
    """The new key with the old secret waits for its other half."""
    at = Rotation(tmp_path)
    at.key.write_text(NEW.key)
    at.look(10)
    at.secret.write_text(NEW.secret)
    at.look(2)
    assert at.renewed == [NEW]


def test_a_pair_that_keeps_changing_is_waited_for(tmp_path: Path) -> None:
    """Each change begins the wait anew."""
    at = Rotation(tmp_path)
    for turn in range(5):
        at.write(Credentials(f"key-{turn + 5}", f"secret-{turn + 5}"))
        at.look()
    assert at.renewed == []


def test_one_half_alone_is_taken_in_the_end(tmp_path: Path) -> None:
    """A mistyped secret is corrected without a new key; that only takes longer."""
    at = Rotation(tmp_path)
    at.secret.write_text("corrected")
    at.look(40)
    assert at.renewed == [Credentials(OLD.key, "corrected")]


def test_a_secret_alone_in_a_file_is_a_whole_change(tmp_path: Path) -> None:
    """Where the key was given itself, nothing else can change."""
    at = Rotation(tmp_path, has_key_file=False)
    at.write(NEW)
    at.look(2)
    assert at.renewed == [Credentials(OLD.key, NEW.secret)]


@pytest.mark.parametrize("spoil", ["missing", "empty", "blank", "binary", "long", "folder"])
def test_what_cannot_be_used_keeps_the_old_pair_and_is_said_once(
    tmp_path: Path, spoil: str
) -> None:
    """Unreadable files change nothing, and the log never has what they hold."""
    at = Rotation(tmp_path)
    at.secret.unlink()
    if spoil == "folder":
        at.secret.mkdir()
    elif spoil != "missing":
        contents = {"empty": b"", "blank": b" \n", "binary": b"\xff\xfe", "long": b"x" * 70_000}
        at.secret.write_bytes(contents[spoil])
    with capture_logs() as logs:
        at.look(5)
    assert at.renewed == []
    assert [entry["event"] for entry in logs] == ["venue.credentials_unreadable"]
    assert "xxx" not in str(logs)
    if spoil == "folder":
        at.secret.rmdir()
    at.write(NEW)
    at.look(2)
    assert at.renewed == [NEW]


async def test_running_looks_by_itself(tmp_path: Path) -> None:
    """The task finds a rotation, and ends at once where there are no files."""
    at = Rotation(tmp_path)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(at.files.run())
        await asyncio.sleep(0.02)
        at.write(NEW)
        async with asyncio.timeout(30):
            while not at.renewed:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)
        task.cancel()
    none = CredentialFiles(key_file=None, secret_file=None, current=OLD, renew=at.renewed.append)
    assert not none.is_watching
    await asyncio.wait_for(none.run(), 20)
