"""Typed, frozen settings; `settings_source.py` reads them from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, PrivateAttr, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ws_gateway.account_keys import AccountKeys
from ws_gateway.domain.topic import Category
from ws_gateway.settings_values import (
    check_certificates,
    check_database_key,
    check_query_hosts,
    checked_url,
    checked_venue_url,
    is_host,
    is_network,
)
from ws_gateway.venue_hosts import PRIVATE_WS, PUBLIC_WS, REST, BybitEnvironment, rest_beside

PREFIX = "WSG_"


class ConnectionStrategy(StrEnum):
    """Whether private and public data are both wanted."""

    DUAL = "dual"
    SINGLE = "single"


class QueueType(StrEnum):
    """RabbitMQ queue type of every queue the gateway declares."""

    QUORUM = "quorum"
    CLASSIC = "classic"
    STREAM = "stream"


class LogLevel(StrEnum):
    """Lowest level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    CONSOLE = "console"


class Settings(BaseSettings):
    """Everything that can be configured, with its default and meaning.

    Each field is the environment variable `WSG_<FIELD IN CAPITALS>`; each secret may instead be
    given as a file in `WSG_<FIELD>_FILE`. Build it with `load_settings`, which turns every fault
    into one `ConfigError`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True
    )

    bybit_environment: BybitEnvironment = Field(
        BybitEnvironment.MAINNET, description="Bybit environment the hosts are taken from."
    )
    bybit_ws_url: str | None = Field(
        None, description="WebSocket host to use instead, e.g. ws://127.0.0.1:9001 for bybit-sim."
    )
    bybit_rest_url: str | None = Field(
        None,
        description="REST host to use instead; if only the WebSocket host is given, REST is asked"
        " there too, with api in place of stream.",
    )
    bybit_api_key: SecretStr | None = Field(
        None, description="Key for private data; without it only public data is served."
    )
    bybit_api_secret: SecretStr | None = Field(None, description="Secret of that key.")
    account_name: str = Field(
        "main",
        description="Name of that key's account, the first one, in events and rows (`account`).",
    )
    accounts: SecretStr | None = Field(
        None,
        description='Further accounts: {"hedge": {"api_key": "…", "api_secret": "…"}}; api_key_file'
        " and api_secret_file name files instead, which are read again when they change.",
    )
    connection_strategy: ConnectionStrategy = Field(
        ConnectionStrategy.DUAL,
        description="dual: public and private; single: one kind, private with a key, else public.",
    )
    redundancy: int = Field(
        1,
        ge=1,
        le=2,
        description="Sockets per topic (one for system status); 2 lets either die without a gap.",
    )
    connection_max_age_hours: float = Field(
        12.0,
        ge=0,
        le=8760,
        allow_inf_nan=False,
        description="A socket older than this, with jitter, is replaced before it is closed;"
        " 0 is never.",
    )
    enabled_categories: Annotated[tuple[Category, ...], NoDecode] = Field(
        tuple(Category), description="Comma-separated categories that may be subscribed."
    )
    default_category: Category = Field(
        Category.LINEAR, description="Category of symbols that several enabled categories list."
    )
    option_base_coins: Annotated[tuple[str, ...], NoDecode] = Field(
        ("BTC", "ETH", "SOL", "XRP", "DOGE", "MNT"),
        description="Comma-separated coins whose options are listed; Bybit names no such list.",
    )
    database_url: SecretStr | None = Field(
        None, description="PostgreSQL; without it an embedded one runs in WSG_DATA_DIR."
    )
    amqp_url: SecretStr = Field(
        SecretStr("amqp://guest:guest@127.0.0.1:5672/"), description="RabbitMQ."
    )
    amqp_prefix: str = Field(
        "ws-gateway", description="First word of the exchange's and every queue's name."
    )
    queue_type: QueueType = Field(QueueType.QUORUM, description="Type of the declared queues.")
    rabbitmq_management_url: SecretStr | None = Field(
        None,
        description="RabbitMQ's management API, like http://user:password@host:15672; it adds"
        " names of consumers and limits of policies to what is known of the queues.",
    )
    publish_deadline_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="A publish unconfirmed for so long means the broker is lost.",
    )
    publish_window: int = Field(
        5_000,
        ge=1,
        description="Most events sent to the broker and not yet confirmed, private and public ones"
        " counted apart.",
    )
    buffer_max_events: int = Field(
        200_000,
        ge=100,
        description="Most events held for the broker; beyond it public data gives way.",
    )
    buffer_max_bytes: int = Field(
        256 * 1024 * 1024, ge=1_000_000, description="Most bytes held for the broker."
    )
    spool_max_bytes: int = Field(
        512 * 1024 * 1024,
        ge=1_000_000,
        description="Most bytes of private events on disk; beyond it the oldest are lost, marked.",
    )
    spool_max_age_hours: float = Field(
        72.0,
        gt=0,
        le=8760,
        allow_inf_nan=False,
        description="Private events that waited on disk for longer are dropped, marked.",
    )
    balance_retention_months: int = Field(
        24,
        ge=0,
        le=1200,
        description="Whole months the history of balances goes back; 0 keeps everything.",
    )
    balance_spool_max_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1_000_000,
        description="Most bytes of balance rows on disk while PostgreSQL is away; beyond it the"
        " oldest are lost, announced.",
    )
    reconcile_seconds: float = Field(
        60.0,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="Orders, executions, positions and balances are compared with Bybit's REST"
        " this often, besides after every reconnect.",
    )
    backfill: bool = Field(
        True,
        description="After a gap, trades and candles are fetched over Bybit's REST as far as it"
        " reaches, and told before `resumed`.",
    )
    api_key: SecretStr | None = Field(
        None,
        description="First administrator key of the HTTP API; without it and without a key of"
        " `ws-gateway keys create` all is refused.",
    )
    requests_per_second: float = Field(
        50.0,
        gt=0,
        le=100_000,
        allow_inf_nan=False,
        description="Requests per second that one service's keys may make together, in the long"
        " run; administrators are not counted.",
    )
    requests_burst: int = Field(
        100, ge=1, le=1_000_000, description="Requests that one service may make at once."
    )
    wrong_keys_per_minute: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Wrong API keys per minute and address; beyond it the address has to wait.",
    )
    http_trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Comma-separated addresses of reverse proxies whose X-Forwarded-For is"
        " believed; * believes anybody.",
    )
    quota_subscriptions: int = Field(
        10_000, ge=1, description="Most subscriptions of one service; more is answered with 429."
    )
    http_host: str = Field("127.0.0.1", description="Address the HTTP API listens on.")
    http_port: int = Field(
        8080, ge=0, le=65535, description="Port of the HTTP API; 0 takes a free one."
    )
    http_certificate_file: Path | None = Field(
        None,
        description="Certificate chain (PEM) of the HTTP API; with it and its key, only TLS is"
        " spoken. Read again when it is renewed.",
    )
    http_key_file: Path | None = Field(None, description="Private key (PEM) of that certificate.")
    data_dir: Path = Field(
        Path(".ws-gateway"), description="Folder for the embedded database and what waits on disk."
    )
    record_dir: Path | None = Field(
        None, description="Folder raw frames are recorded into, for `ws-gateway replay`."
    )
    record_private: bool = Field(
        False,
        description="Record private connections too; their frames tell of orders and balances.",
    )
    record_file_max_bytes: int = Field(
        64 * 1024 * 1024,
        ge=100_000,
        description="A file of the recording that reaches it is closed, and another one begun.",
    )
    record_file_max_minutes: float = Field(
        60.0, gt=0, le=525_600, allow_inf_nan=False, description="The same, by its age."
    )
    record_max_bytes: int = Field(
        4 * 1024 * 1024 * 1024,
        ge=1_000_000,
        description="Most bytes of all files in that folder; beyond it the oldest are removed.",
    )
    record_keep_free_bytes: int = Field(
        512 * 1024 * 1024,
        ge=0,
        description="Bytes a recording leaves free on its volume, beside what the spools may still"
        " take if WSG_DATA_DIR is on it; the oldest files give way, then recording pauses.",
    )
    log_level: LogLevel = Field(LogLevel.INFO, description="Lowest level that is written.")
    log_format: LogFormat = Field(LogFormat.JSON, description="json or console.")
    log_frames_one_in: int = Field(
        1000,
        ge=1,
        description="At debug, one received frame in so many is logged, per class of data.",
    )

    _files: dict[str, Path] = PrivateAttr(default_factory=dict)
    _further: tuple[AccountKeys, ...] = PrivateAttr(default=())

    @field_validator(
        "enabled_categories", "option_base_coins", "http_trusted_proxies", mode="before"
    )
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("option_base_coins")
    @classmethod
    def _check_coins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"[A-Z0-9]{1,20}", coin) for coin in value):
            raise ValueError("write coins in capitals, like BTC,ETH")
        return value

    @field_validator("http_trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            if proxy != "*" and not is_network(proxy):
                raise ValueError("write addresses or networks, like 10.0.0.7,192.168.0.0/16")
        return value

    @field_validator("bybit_ws_url")
    @classmethod
    def _check_ws_url(cls, value: str | None) -> str | None:
        return value and checked_venue_url(value, ("ws", "wss"), "ws://127.0.0.1:9001")

    @field_validator("bybit_rest_url")
    @classmethod
    def _check_rest_url(cls, value: str | None) -> str | None:
        return value and checked_venue_url(value, ("http", "https"), "http://127.0.0.1:9001")

    @field_validator("amqp_url")
    @classmethod
    def _check_amqp_url(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        checked_url(url, ("amqp", "amqps"), "amqp://user:password@host:5672/")
        check_certificates(url)
        return value

    @field_validator("rabbitmq_management_url")
    @classmethod
    def _check_management_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            example = "http://user:password@host:15672"
            checked_url(value.get_secret_value(), ("http", "https"), example)
        return value

    @field_validator("amqp_prefix")
    @classmethod
    def _check_amqp_prefix(cls, value: str) -> str:
        # The driver refuses other names, and AMQP has 255 bytes for the whole name.
        if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,100}", value):
            raise ValueError("use 1 to 100 letters, digits and _ . : -")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            url = value.get_secret_value()
            example = "postgresql://user:password@host:5432/database"
            checked_url(url, ("postgresql", "postgres"), example, needs_host="host=" not in url)
            check_query_hosts(url, example)
            check_database_key(url)
        return value

    @field_validator("http_host")
    @classmethod
    def _check_http_host(cls, value: str) -> str:
        if not is_host(value):
            raise ValueError("write a host name or address of this machine, like 127.0.0.1")
        return value

    @property
    def public_ws_url(self) -> str:
        """Host of the public sockets; `/v5/public/{category}` is appended."""
        return self.bybit_ws_url or PUBLIC_WS[self.bybit_environment]

    @property
    def private_ws_url(self) -> str:
        """Host of the private socket; `/v5/private` is appended."""
        return self.bybit_ws_url or PRIVATE_WS[self.bybit_environment]

    @property
    def rest_url(self) -> str:
        """Host of the REST API; it goes with the sockets' host if that was given alone."""
        if self.bybit_rest_url is not None:
            return self.bybit_rest_url
        if self.bybit_ws_url is not None:
            return rest_beside(self.bybit_ws_url)
        return REST[self.bybit_environment]

    @property
    def other_rest_urls(self) -> Mapping[str, str]:
        """REST hosts of the other environments by name; none beside a host that was given."""
        if self.rest_url != REST[self.bybit_environment]:
            return {}
        return {name.value: url for name, url in REST.items() if name is not self.bybit_environment}

    @property
    def has_credentials(self) -> bool:
        """Say whether private data can be had."""
        return self.bybit_api_key is not None and self.bybit_api_secret is not None

    @property
    def http_scheme(self) -> str:
        """Say how the HTTP API is spoken to."""
        return "http" if self.http_certificate_file is None else "https"

    @property
    def serves_public(self) -> bool:
        """Say whether public topics are served."""
        return self.connection_strategy is ConnectionStrategy.DUAL or not self.has_credentials

    @property
    def further_accounts(self) -> tuple[AccountKeys, ...]:
        """The pairs of the accounts beside the first."""
        return self._further

    @property
    def most_spooled_bytes(self) -> int:
        """Most bytes that private events and balance rows take in the data folder, all together."""
        return self.spool_max_bytes + self.balance_spool_max_bytes * len(self.account_names)

    @property
    def account_names(self) -> tuple[str, ...]:
        """Names of all accounts, the first one first."""
        return (self.account_name, *(one.name for one in self._further))

    def file_of(self, name: str) -> Path | None:
        """Return the file a secret was read from, None if it was given itself or not at all."""
        return self._files.get(name)


SECRETS = frozenset(
    name for name, info in Settings.model_fields.items() if "SecretStr" in str(info.annotation)
)
