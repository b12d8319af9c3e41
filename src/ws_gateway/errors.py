"""Errors by remedy: what the caller can do is the type, the facts are fields.

GatewayError
├── Retryable         try again later; the other side was away or slow
│   ├── VenueLost         the socket to the venue is gone or unusable
│   ├── BrokerLost        RabbitMQ is away
│   ├── DatabaseLost      PostgreSQL is away
│   └── Throttled         the caller asked too often, or has too much
├── Rejected          somebody said no, and will say no again
│   ├── Unauthorized      nobody known asks
│   ├── Forbidden         who asks is known, and may not
│   └── Contradiction     two wishes that cannot both be true; both are named
├── Quarantine        bytes that could not be understood; keep them, go on
└── Fatal             a person must act before the process can run
    └── ConfigError       a setting is missing, malformed or unknown
"""

from __future__ import annotations


class GatewayError(Exception):
    """Root of everything the gateway raises on purpose."""


class Retryable(GatewayError):
    """Something outside is away or slow; the same call may work later."""


class VenueLost(Retryable):
    """The socket to the venue is gone, or one of its deadlines passed.

    Attributes:
        reason: stable word for metrics (`connect`, `handshake`, `refused`, `closed`, `pong`, `ack`,
            `login`, `login_deadline`).
        detail: what was seen, for people.
        retry_after_seconds: how long the venue asked to be left alone, None if it did not.
        is_mended: what was wrong has been put right, so that the next attempt need not wait.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        retry_after_seconds: float | None = None,
        is_mended: bool = False,
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
        self.is_mended = is_mended


class BrokerLost(Retryable):
    """RabbitMQ refused, vanished, or let a deadline pass."""


class DatabaseLost(Retryable):
    """PostgreSQL refused, vanished, or let a deadline pass."""


class Throttled(Retryable):
    """The caller asked too often, or holds as much as it may.

    Attributes:
        code: stable snake_case word, part of the HTTP contract.
        retry_after_seconds: when the same may be tried again.
    """

    def __init__(self, message: str, *, code: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class Rejected(GatewayError):
    """The request cannot be served as it stands.

    Attributes:
        code: stable snake_case word, part of the HTTP contract.
        field: the offending input field, or None.
        found: the value that was found, or None.
        allowed: what would have been accepted, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        field: str | None = None,
        found: object = None,
        allowed: list[str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.found = found
        self.allowed = allowed


class Unauthorized(Rejected):
    """The caller did not prove who it is."""


class Forbidden(Rejected):
    """The caller is known, and may not do this."""


class Contradiction(Rejected):
    """Two wishes cannot both be true; the text names both."""


class Quarantine(GatewayError):
    """Bytes from the venue that could not be understood; the connection lives on.

    Attributes:
        reason: stable word for metrics (`malformed`, `unknown_topic`, `missing_field`,
            `too_large`).
        detail: what exactly was wrong.
        is_lost: the bytes may have carried a fact that nobody will tell again.
        topic: the topic they name, as far as that could be read.
    """

    def __init__(
        self, reason: str, detail: str, *, is_lost: bool = False, topic: str | None = None
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.is_lost = is_lost
        self.topic = topic


class Fatal(GatewayError):
    """A person must act; the process ends with exit code 2."""


class ConfigError(Fatal):
    """A setting is missing, malformed or unknown.

    Attributes:
        setting: the environment variable's name.
        found: what it held (secrets are never repeated).
        remedy: what to do, as an imperative clause.
    """

    def __init__(self, setting: str, found: str, remedy: str) -> None:
        super().__init__(f"{setting}: {found}; {remedy}")
        self.setting = setting
        self.found = found
        self.remedy = remedy
