"""Let `python -m bybit_sim` do what `bybit-sim` does."""

from __future__ import annotations

from bybit_sim.cli import main

if __name__ == "__main__":
    main()
