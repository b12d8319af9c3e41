"""Print the OpenAPI document: `python -m ws_gateway.control.api.openapi > docs/openapi.json`."""

from __future__ import annotations

import json
import sys

from ws_gateway.control.api.app import describe


def render() -> str:
    """Return the document as it is committed."""
    return json.dumps(describe(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
