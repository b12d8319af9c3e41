"""Mechanisms without business meaning: backoff, supervision, telemetry."""
