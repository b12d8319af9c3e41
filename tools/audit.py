"""Ask whether anything that is locked has a known weakness.

    audit.py [--source URL|FOLDER] [LOCK …]

The source is a service that speaks OSV's API (https://osv.dev), or a folder of OSV records, one
JSON file each (an unpacked copy of its PyPI data, for machines without a way out). Exit code 0:
asked, and nothing is known. 1: something is known. 2: a lock says not what would be installed. 3:
there was nobody to ask, so nothing is known either way.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
LOCKS = [CHECKOUT / "requirements" / f"{name}.txt" for name in ("runtime", "dev", "build")]
SERVICE = "https://api.osv.dev"
FOUND, NO_LOCK, NOBODY_ASKED = 1, 2, 3
_SECONDS = 30.0
_BATCH = 500
_PINNED = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)")

Package = tuple[str, str]

CANARY: Package = ("jinja2", "2.4.1")
"""Has had known weaknesses for years: who knows of none here knows of nothing."""


class NoLockError(Exception):
    """A lock does not say what would be installed; the text says why."""


class NoSourceError(Exception):
    """Nobody could be asked; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, tell, and return the exit code."""
    parser = argparse.ArgumentParser(prog="audit", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--source", default=SERVICE, help="service or folder of records")
    parser.add_argument("locks", nargs="*", type=Path, default=LOCKS)
    chosen = parser.parse_args(arguments)
    try:
        packages = sorted({one for lock in chosen.locks for one in locked(lock)})
    except NoLockError as exc:
        print(f"audit: NOT DONE: {exc}; `make lock` writes the locks anew.", file=sys.stderr)
        return NO_LOCK
    try:
        known = ask(chosen.source, packages)
    except NoSourceError as exc:
        print(
            f"audit: NOT DONE: no source of advisories could be asked ({exc}); whether any of the"
            f" {len(packages)} locked packages has a known weakness is not known.\n"
            "audit: run it where the service can be reached, or give a folder of OSV records:"
            " make audit ARGS='--source FOLDER'",
            file=sys.stderr,
        )
        return NOBODY_ASKED
    for (name, version), ids in known.items():
        print(f"{name} {version}: {', '.join(sorted(ids))}")
    said = f"{len(known)} with a known weakness" if known else "no weakness is known"
    print(f"audit: {len(packages)} locked packages, {said}; asked {chosen.source}")
    return FOUND if known else 0


def locked(lock: Path) -> Iterator[Package]:
    """Read what a lock pins, names as PyPI writes them.

    Raises:
        NoLockError: it cannot be read, pins nothing, or names something without its version.
    """
    try:
        text = lock.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise NoLockError(f"{lock} cannot be read ({exc})") from exc
    # Options, comments, and what belongs to the line before begin otherwise.
    lines = [line for line in text.splitlines() if line and line[0] not in " \t#-"]
    if not lines:
        raise NoLockError(f"{lock} pins nothing")
    for line in lines:
        if (pinned := _PINNED.match(line)) is None:
            raise NoLockError(f"{lock} pins no version in the line {line[:80]!r}")
        yield _plain(pinned[1]), pinned[2]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def ask(source: str, packages: Sequence[Package]) -> dict[Package, set[str]]:
    """Return the ids of what is known of each package that has any.

    Raises:
        NoSourceError: nobody answered, or not like one who knows.
    """
    wanted = sorted({*packages, CANARY})
    if source.startswith(("http://", "https://")):
        known = _ask_service(source, wanted)
    else:
        known = _read_folder(Path(source), wanted)
    if CANARY not in known:
        words = " ".join(CANARY)
        raise NoSourceError(f"{source} knows nothing of {words}, so its silence says nothing")
    return {package: ids for package, ids in known.items() if package in packages}


def _ask_service(url: str, packages: Sequence[Package]) -> dict[Package, set[str]]:
    known: dict[Package, set[str]] = {}
    for begin in range(0, len(packages), _BATCH):
        batch = packages[begin : begin + _BATCH]
        queries = [
            {"package": {"name": name, "ecosystem": "PyPI"}, "version": version}
            for name, version in batch
        ]
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
            f"{url.rstrip('/')}/v1/querybatch",
            data=json.dumps({"queries": queries}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - same
                told = json.load(answer)
        except (OSError, urllib.error.URLError, ValueError) as exc:
            raise NoSourceError(f"{url}: {exc}") from exc
        answers = zip(batch, _results(url, told, len(batch)), strict=True)
        known.update({package: ids for package, ids in answers if ids})
    return known


def _results(url: str, told: object, count: int) -> list[set[str]]:
    """Read an answer of the service: a set of ids per question."""
    try:
        results = told["results"]  # type: ignore[index]
        found = [{str(one["id"]) for one in result.get("vulns") or ()} for result in results]
    except (KeyError, TypeError, AttributeError) as exc:
        raise NoSourceError(f"{url} does not answer as OSV does ({exc!r})") from exc
    if len(found) != count:
        raise NoSourceError(f"{url}: {len(found)} answers to {count} questions")
    return found


def _read_folder(folder: Path, packages: Sequence[Package]) -> dict[Package, set[str]]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise NoSourceError(f"{folder}: no records")
    wanted: dict[str, set[str]] = {}
    for name, version in packages:
        wanted.setdefault(name, set()).add(version)
    known: dict[Package, set[str]] = {}
    for file in files:
        record = _record(file)
        for affected in record.get("affected", ()) if "withdrawn" not in record else ():
            package = affected.get("package", {})
            name = _plain(str(package.get("name", "")))
            if package.get("ecosystem") == "PyPI":
                for version in wanted.get(name, ()):
                    if _concerns(affected, version):
                        known.setdefault((name, version), set()).add(record["id"])
    return known


def _record(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise NoSourceError(f"{file} cannot be read ({exc})") from exc
    if not isinstance(record, dict) or not isinstance(record.get("id"), str):
        raise NoSourceError(f"{file} is no OSV record, for it has no id")
    return record


def _concerns(affected: Mapping[str, Any], version: str) -> bool:
    """Say whether a record names a version; PyPI's list every one that is affected."""
    if version in affected.get("versions", ()):
        return True
    # Without a list there are only ranges; whoever cannot tell has to look.
    return not affected.get("versions") and bool(affected.get("ranges"))


if __name__ == "__main__":
    sys.exit(main())
