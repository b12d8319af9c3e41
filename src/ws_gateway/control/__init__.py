"""The side door: use cases, HTTP, and the loop that makes actual what is desired."""
