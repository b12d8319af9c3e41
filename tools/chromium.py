"""Has a Chromium on this machine, for the tests that look at the console.

    chromium.py           say where it is, or install it with apt-get where that is allowed

Without one these tests skip, and say so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")


def find_browser() -> str | None:
    """Return the path of a Chromium, None if this machine has none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def main() -> int:
    """Find one, or try to install it; return the exit code."""
    path = find_browser()
    why = None if path else _install()
    path = path or find_browser()
    if path is None:
        print(f"chromium: there is no Chromium ({why}); its tests will skip", file=sys.stderr)
        return 1
    print(path)
    return 0


def _install() -> str:
    """Install the packages where that is possible; say in words how it went."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get here"
    if os.geteuid() != 0:
        return "apt-get needs root, which this user is not"
    print("chromium: installing chromium with apt-get (once, one to three minutes) …", flush=True)
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    install = ["-o", "DPkg::Lock::Timeout=120", "install", "-y", "-qq", "--no-install-recommends"]
    for arguments in (["update", "-qq"], [*install, *PACKAGES]):
        done = subprocess.run(
            ["apt-get", *arguments], env=environ, capture_output=True, text=True, check=False
        )
    lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
    return "apt-get installed it" if done.returncode == 0 else f"apt-get failed: {lines[-1]}"


if __name__ == "__main__":
    sys.exit(main())
