"""RabbitMQ's management API, where it is there: it tells what AMQP does not. Never needed."""

from __future__ import annotations

import ssl
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

import httpx
import structlog

from ws_gateway.delivery.backlog import ManagedQueue
from ws_gateway.delivery.news import News

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 3.0
_COLUMNS = "name,policy,effective_policy_definition,head_message_timestamp,messages_unacknowledged"


class ManagementApi:
    """Asks for all queues of one virtual host at once.

    Args:
        url: of the API, with user and password.
        amqp_url: names the virtual host, user and password where `url` has none, and with `cafile`
            whom to believe over TLS; without it, the system's authorities.
        prefix: of the queues that matter.
    """

    def __init__(self, url: str, amqp_url: str, prefix: str) -> None:
        parts, amqp = urlsplit(url), urlsplit(amqp_url)
        login = parts if parts.username else amqp
        host = parts.netloc.rpartition("@")[2]
        self._client = httpx.AsyncClient(
            base_url=urlunsplit((parts.scheme, host, parts.path.rstrip("/") + "/api/", "", "")),
            auth=(unquote(login.username or "guest"), unquote(login.password or "guest")),
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            verify=ssl.create_default_context(cafile=dict(parse_qsl(amqp.query)).get("cafile")),
        )
        self._vhost = quote(unquote(amqp.path[1:]) or "/", safe="")
        self._prefix = f"{prefix}."
        self._news = News()

    async def queues(self) -> Mapping[str, ManagedQueue]:
        """Return by name what it tells of each queue; nothing while it is away."""
        try:
            rows = await self._get(f"queues/{self._vhost}", columns=_COLUMNS)
            readers = await self._get(f"consumers/{self._vhost}")
            return self._read(rows, readers)
        except (
            httpx.HTTPError,
            ValueError,  # also what is no JSON
            KeyError,
            TypeError,
            AttributeError,
            OSError,  # a time that no clock shows
            OverflowError,
        ) as exc:
            if self._news.is_due("away"):
                log.warning("delivery.management_unread", why=f"{type(exc).__name__}: {exc}")
            return {}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _get(self, path: str, **query: str) -> Any:
        answer = await self._client.get(path, params=query)
        answer.raise_for_status()
        return answer.json()

    def _read(self, rows: Any, readers: Any) -> dict[str, ManagedQueue]:
        consumers: defaultdict[str, list[str]] = defaultdict(list)
        for one in readers:
            origin = one.get("channel_details") or {}
            consumers[one["queue"]["name"]].append(
                f"{one['consumer_tag']} of {origin.get('user') or '?'} "
                f"at {origin.get('peer_host') or '?'}"
            )
        return {
            row["name"]: _queue(row, consumers.get(row["name"], []))
            for row in rows
            if row["name"].startswith(self._prefix)
        }


def _queue(row: Mapping[str, Any], consumers: list[str]) -> ManagedQueue:
    limits = row.get("effective_policy_definition") or {}
    head = _number(row.get("head_message_timestamp"))
    return ManagedQueue(
        unacknowledged=_number(row.get("messages_unacknowledged")),
        oldest_at=None if head is None else datetime.fromtimestamp(head, UTC),
        max_length=_number(limits.get("max-length")),
        overflow=limits.get("overflow"),
        policy=row.get("policy") or None,
        consumers=tuple(sorted(consumers)),
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
