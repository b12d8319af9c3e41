"""Log lines: structlog, stable event names, JSON or console; configured once, by the root."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import structlog

from ws_gateway.runtime.recent import RecentTroubles
from ws_gateway.runtime.redaction import Secrets
from ws_gateway.runtime.sampling import Sampling

LEVELS = ("debug", "info", "warning", "error")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# These report every lost connection with a traceback of their own; the rooms that use them say the
# same in one line.
_SILENT = ("aiormq", "aio_pika", "asyncpg", "picows")
_QUIET = ("uvicorn", "httpx", "httpcore")  # these report every request


def configure_logging(
    *,
    level: str,
    as_json: bool,
    secrets: Secrets | None = None,
    troubles: RecentTroubles | None = None,
) -> None:
    """Send all log lines, ours and the libraries', to standard error in one form.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        as_json: one JSON object per line; otherwise for human eyes.
        secrets: what no line may hold; without it, only what looks like a secret is taken out.
        troubles: keeps the newest warnings and errors that are written.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,  # before secrets are looked for: it has some
                secrets or Secrets(),
                troubles or RecentTroubles(),
                last,
            ],
        )
    )
    logging.getLogger().handlers[:] = [handler]
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _set_level(level)


def _set_level(level: str) -> None:
    root = logging.getLogger()
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


@dataclass(frozen=True, slots=True)
class LogLevelStatus:
    """What is written now.

    Attributes:
        level: lowest level that is written.
        configured: the one of the settings, which it falls back to.
        seconds_left: until it falls back, None if it stays.
    """

    level: str
    configured: str
    seconds_left: float | None


class LogLevels:
    """The log level of a running process, and what changes it.

    Args:
        configured: level of the settings, which is in force.
        sampling: told whether anybody debugs.
        monotonic: clock in seconds.
    """

    def __init__(
        self,
        configured: str,
        sampling: Sampling,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured = self._level = configured
        self._sampling = sampling
        self._monotonic = monotonic
        self._falls_back_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        sampling.is_on = configured == LEVELS[0]

    @property
    def status(self) -> LogLevelStatus:
        """Return what is written now."""
        left = None
        if self._falls_back_at is not None:
            left = max(0.0, round(self._falls_back_at - self._monotonic(), 1))
        return LogLevelStatus(self._level, self._configured, left)

    def change(self, level: str, seconds: float | None, why: str) -> LogLevelStatus:
        """Write from this level on; with `seconds` only for so long.

        Needs a running loop if `seconds` is given.
        """
        self._cancel()
        before, is_wider = self._level, LEVELS.index(level) < LEVELS.index(self._level)
        if is_wider:  # so that the line about it is written if either level lets it
            self._apply(level)
        log.info("gateway.log_level_changed", to=level, before=before, seconds=seconds, why=why)
        self._apply(level)
        if seconds is not None and level != self._configured:
            self._falls_back_at = self._monotonic() + seconds
            # In a context of its own: what falls back later is no part of the request.
            self._timer = asyncio.get_running_loop().call_later(
                seconds, self._fall_back, context=contextvars.Context()
            )
        return self.status

    def reset(self, why: str) -> LogLevelStatus:
        """Write what the settings say again."""
        return self.change(self._configured, None, why)

    def close(self) -> None:
        """Let no timer outlive the loop."""
        self._cancel()

    def _fall_back(self) -> None:
        self.reset("the time is over")

    def _cancel(self) -> None:
        self._falls_back_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _apply(self, level: str) -> None:
        self._level = level
        self._sampling.is_on = level == LEVELS[0]
        _set_level(level)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a running process changes about its log lines.

    Attributes:
        levels: which lines are written.
        sampling: which frames get one.
        secrets: what none may hold.
        troubles: the newest warnings and errors.
    """

    levels: LogLevels
    sampling: Sampling
    secrets: Secrets
    troubles: RecentTroubles = field(default_factory=RecentTroubles)

    @classmethod
    def begin(cls, *, level: str, as_json: bool, one_in: int, secrets: Secrets) -> Self:
        """Configure logging; `one_in` is how many frames share one line at debug."""
        troubles = RecentTroubles()
        configure_logging(level=level, as_json=as_json, secrets=secrets, troubles=troubles)
        sampling = Sampling(one_in)
        return cls(LogLevels(level, sampling), sampling, secrets, troubles)
