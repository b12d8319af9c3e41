"""A local Bybit: the same sockets, shapes and habits, from a seed; knows nothing of the gateway."""
