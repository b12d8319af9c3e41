"""Let `python -m ws_gateway` do what `ws-gateway` does."""

from __future__ import annotations

from ws_gateway.cli import main

if __name__ == "__main__":
    main()
