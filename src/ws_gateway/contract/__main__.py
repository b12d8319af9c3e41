"""Write the contract files: `python -m ws_gateway.contract docs/contract`."""

from __future__ import annotations

import sys
from pathlib import Path

from ws_gateway.contract.files import write

if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its one argument
        sys.exit("usage: python -m ws_gateway.contract FOLDER")
    write(Path(sys.argv[1]))
