"""Keeps the table `positions` true to what `ws-gateway.position` tells; see README.md."""
