"""The contract as files: rendered, named, and written where they are committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ws_gateway.contract.asyncapi import Site, asyncapi
from ws_gateway.contract.schemas import schema_names, schema_of

ASYNCAPI = "asyncapi.json"


def render(site: Site) -> dict[str, bytes]:
    """Return every file by its path below the folder, as it is committed and served."""
    files = {ASYNCAPI: _text(asyncapi(site))}
    return files | {f"schemas/{name}.json": _text(schema_of(name)) for name in schema_names()}


def write(folder: Path) -> None:
    """Write the files of the default site, and remove schemas of classes that are no more."""
    files = render(Site())
    (folder / "schemas").mkdir(parents=True, exist_ok=True)
    for stale in set((folder / "schemas").glob("*.json")) - {folder / name for name in files}:
        stale.unlink()
    for name, text in files.items():
        (folder / name).write_bytes(text)


def _text(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
