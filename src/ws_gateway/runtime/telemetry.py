"""Log lines: structlog, stable event names, JSON or console; configured once, by the root."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(*, level: str, as_json: bool) -> None:
    """Send all log lines, ours and the libraries', to standard error in one form.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        as_json: one JSON object per line; otherwise for human eyes.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These report every lost connection with a traceback of their own; the rooms that use them
    # say the same in one line.
    for name in ("aiormq", "aio_pika", "asyncpg", "picows"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in ("uvicorn", "httpx", "httpcore"):  # these report every request
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
