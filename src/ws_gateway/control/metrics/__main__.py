"""Print the description: `python -m ws_gateway.control.metrics > docs/metrics.md`."""

from __future__ import annotations

import sys

from ws_gateway.control.metrics.document import render

if __name__ == "__main__":
    sys.stdout.write(render())
