"""Cryptofeed in an environment of its own, because it is no dependency of the gateway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stand import say

VENV = Path(__file__).resolve().parent.parent / ".dev" / "cryptofeed-venv"
PACKAGES = ("cryptofeed==2.4.1", "aio-pika", "uvloop")


def find_cryptofeed(*, may_install: bool) -> Path | None:
    """Return an interpreter that can import it, None if there is none.

    Raises:
        SystemExit: it was asked for and cannot be installed.
    """
    python = VENV / "bin" / "python"
    if not _has_it(python) and may_install:
        say("installing cryptofeed into .dev (once)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        words = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*words, *PACKAGES], check=False).returncode != 0:
            raise SystemExit("cryptofeed cannot be installed; leave --with-cryptofeed away")
    return python if _has_it(python) else None


def _has_it(python: Path) -> bool:
    if not python.exists():
        return False
    probe = "import cryptofeed.backends.rabbitmq, cryptofeed.exchanges"
    return subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode == 0
