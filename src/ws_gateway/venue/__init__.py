"""Bybit: its words, its conversation, its sockets."""
