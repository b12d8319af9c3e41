"""Build `.venv` from the hash-locked requirements, or say in one sentence why it cannot be.

Runs with any Python 3 of the machine, before anything is installed, so it uses the standard
library alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
VENV = CHECKOUT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed-from"
LOCK = CHECKOUT / ".dev" / "venv.lock"
REQUIREMENTS = CHECKOUT / "requirements" / "dev.txt"
OLDEST = (3, 11)


class SetupError(Exception):
    """The environment cannot be built; the text says what a person should do."""


def main() -> int:
    """Build or refresh the environment; return the exit code."""
    try:
        _refuse_old_python()
        LOCK.parent.mkdir(exist_ok=True)
        with LOCK.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once build one environment
            _ensure_installed()
    except SetupError as exc:
        print(f"setup: {exc}", file=sys.stderr)
        return 2
    return 0


def _refuse_old_python() -> None:
    if sys.version_info < OLDEST:
        found = ".".join(str(part) for part in sys.version_info[:3])
        raise SetupError(
            f"Python 3.11 or newer is needed, {sys.executable} is {found}; "
            "name a newer one with `make PYTHON=/path/to/python3.12 …`"
        )


def _ensure_installed() -> None:
    wanted = _fingerprint()
    if STAMP.is_file() and STAMP.read_text() == wanted and VENV_PYTHON.exists():
        STAMP.touch()  # newer than its sources again, so that make does not ask twice
        return
    began = time.monotonic()
    if not _is_usable():
        print("setup: creating .venv …", flush=True)
        _create()
    count = sum("==" in line for line in REQUIREMENTS.read_text().splitlines())
    print(f"setup: installing {count} locked packages into .venv (once) …", flush=True)
    _pip("--require-hashes", "-r", str(REQUIREMENTS))
    _pip("--no-deps", "--no-build-isolation", "-e", str(CHECKOUT))
    _compare_with_lock()
    STAMP.write_text(wanted)
    print(f"setup: ready after {time.monotonic() - began:.0f} s", flush=True)


def _fingerprint() -> str:
    """Name what the environment is built from; the place counts, because .venv cannot be moved."""
    digest = hashlib.sha256(str(CHECKOUT).encode())
    for path in (REQUIREMENTS, CHECKOUT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_usable() -> bool:
    """Say whether the environment's own Python starts, has pip, and is new enough."""
    if not VENV_PYTHON.exists():
        return False
    probe = f"import pip, sys; sys.exit(sys.version_info < {OLDEST!r})"
    return (
        subprocess.run([VENV_PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0
    )


def _create() -> None:
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        text = (result.stdout + result.stderr).strip()
        if "ensurepip" in text:
            raise SetupError(
                "this Python cannot create virtual environments; on Debian and Ubuntu "
                "`apt-get install python3-venv` adds what is missing"
            )
        last = text.splitlines()[-1] if text else "no message"
        raise SetupError(
            f"`{' '.join(command)}` failed ({last}); repair this Python or name another"
        )


def _compare_with_lock() -> None:
    """Warn where pyproject.toml asks for what the lock does not give."""
    command = [str(VENV_PYTHON), "-m", "pip", "check", "--disable-pip-version-check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        print(result.stdout.strip(), file=sys.stderr)
        print("setup: the lock does not fit pyproject.toml; run `make lock`", file=sys.stderr)


def _pip(*arguments: str) -> None:
    command = [str(VENV_PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if subprocess.run([*command, *arguments], env=environ, check=False).returncode != 0:
        raise SetupError(
            "pip could not install the locked packages (its message is above); check the network "
            "and the package index, then run the same command again"
        )


if __name__ == "__main__":
    sys.exit(main())
