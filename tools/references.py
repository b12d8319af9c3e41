"""Write the references that are made of the code: docs/configuration.md and docs/events.md.

    python tools/references.py docs

A test compares what is committed with what this prints, so neither can say what is not so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from ws_gateway.config import PREFIX, SECRETS, Settings
from ws_gateway.contract.schemas import ENVELOPE, QUARANTINE, schema_of
from ws_gateway.domain.topic import EVENT_CLASS_OF, LANE_OF, PRIVATE_CHANNELS, EventClass, Lane

# ── configuration ─────────────────────────────────────────────────────────────────────────────

SECTIONS: Mapping[str, Sequence[str]] = {
    "Bybit": (
        "bybit_environment",
        "bybit_ws_url",
        "bybit_rest_url",
        "bybit_api_key",
        "bybit_api_secret",
        "account_name",
        "accounts",
        "connection_strategy",
        "redundancy",
        "connection_max_age_hours",
        "enabled_categories",
        "default_category",
        "option_base_coins",
    ),
    "Broker": (
        "amqp_url",
        "amqp_prefix",
        "queue_type",
        "rabbitmq_management_url",
        "publish_deadline_seconds",
        "publish_window",
    ),
    "While the broker is away": (
        "buffer_max_events",
        "buffer_max_bytes",
        "spool_max_bytes",
        "spool_max_age_hours",
        "data_dir",
    ),
    "Public facts": ("backfill",),
    "Database": ("database_url",),
    "Private facts": (
        "reconcile_seconds",
        "balance_retention_months",
        "balance_spool_max_bytes",
    ),
    "Recording": (
        "record_dir",
        "record_private",
        "record_file_max_bytes",
        "record_file_max_minutes",
        "record_max_bytes",
        "record_keep_free_bytes",
    ),
    "HTTP API": (
        "http_host",
        "http_port",
        "http_certificate_file",
        "http_key_file",
        "api_key",
        "requests_per_second",
        "requests_burst",
        "wrong_keys_per_minute",
        "http_trusted_proxies",
        "quota_subscriptions",
    ),
    "Log": ("log_level", "log_format", "log_frames_one_in"),
}
"""Where each setting stands; one that is new stands among others until it has a place here."""

_CONFIGURATION = """\
# Configuration

Every setting is an environment variable. Made by `make contract` from the settings' model
(`src/ws_gateway/config.py`); do not edit.

- A wrong value, or a name that begins with `WSG_` and is none of these, ends the start with one
  sentence that names it, what was found and what to do; exit code 2. An empty value is none.
- A **secret** may instead be given as a file: `WSG_AMQP_URL_FILE=/run/secrets/amqp_url`. Not both.
- `ws-gateway check-config` prints the settings as read, secrets masked; `ws-gateway default-env`
  prints an env file with all of them; `ws-gateway doctor` tries what they name.
- Everything is read once, at the start, but for Bybit's key and secret given as files: these are
  read again when they change.
"""


def configuration() -> str:
    """Return docs/configuration.md."""
    placed = {name for names in SECTIONS.values() for name in names}
    others = [name for name in Settings.model_fields if name not in placed]
    lines = [_CONFIGURATION]
    for title, names in {**SECTIONS, **({"Others": others} if others else {})}.items():
        lines += [f"## {title}", "", "| setting | default | values | says |", "|---|---|---|---|"]
        lines += [_setting(name, Settings.model_fields[name]) for name in names]
        lines.append("")
    return "\n".join(lines)


def _setting(name: str, info: FieldInfo) -> str:
    shown = "secret" if name in SECRETS else _values(info)
    words = str(info.description).replace("|", "\\|")
    return f"| `{PREFIX}{name.upper()}` | {_default(info.default)} | {shown} | {words} |"


def _default(value: object) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = ",".join(_word(part) for part in value)
    return "" if value is None or value == "" else f"`{_word(value)}`"


def _word(value: object) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def _values(info: FieldInfo) -> str:
    kind = info.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " ".join(f"`{member.value}`" for member in kind)
    if (parts := get_args(kind)) and isinstance(parts[0], type) and issubclass(parts[0], Enum):
        return "some of " + " ".join(f"`{member.value}`" for member in parts[0])
    if kind in (int, float):
        return f"{'whole number' if kind is int else 'number'}{_bounds(info.metadata)}"
    if kind is bool:
        return "`true` `false`"
    return {"tuple": "list", "PosixPath": "path", "Path": "path"}.get(
        getattr(kind, "__name__", ""), "list" if parts and parts[-1] is ... else "text"
    )


def _bounds(metadata: Sequence[Any]) -> str:
    words = []
    for one in metadata:
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤")):
            if (limit := getattr(one, name, None)) is not None:
                words.append(f"{sign} {limit:,}")
    return "".join(f" {word}" for word in words)


# ── events ────────────────────────────────────────────────────────────────────────────────────

_EVENTS = """\
# Events

What arrives, class by class. Made by `make contract` from the models of the messages
(`src/ws_gateway/contract`); do not edit. The same for machines: [`docs/contract`](contract), one
JSON Schema per class and an AsyncAPI document, which a gateway also serves
(`GET /asyncapi.json`, `GET /schemas/{event_class}.json`).

Every class has a durable queue `{prefix}.{event_class}` (prefix: `ws-gateway` unless
`WSG_AMQP_PREFIX` says otherwise), bound to the topic exchange `{prefix}.events`. Routing keys are
`{event_class}.{category}.{symbol}` with `-` where there is none. How to read them well:
[consumers](consumers.md); what is promised: [guarantees](guarantees.md).
"""

_LANES = {
    Lane.PRIVATE: "Private: at least once, through an outage on disk, never given up for others",
    Lane.LEDGER: "Ledger: complete, or a `gap` marker stands where something is missing",
    Lane.BOOK: "Book: every hole is found, marked, and mended by a fresh snapshot",
    Lane.LATEST: "Latest: under pressure a newer value may stand for older ones (`conflated`)",
}
_MARKERS = ("gap", "resumed")


def events() -> str:
    """Return docs/events.md."""
    schema = schema_of(ENVELOPE)
    lines = [_EVENTS, "## The envelope", "", *_table(schema["definitions"]["AnyEvent"], schema)]
    lines += [
        "",
        "AMQP: `message_id` is `event_id`, `correlation_id` is `trace_id`, `type` the class.",
        "What is sent once more has the header `resent: true`.",
    ]
    lines += ["", "## Markers", "", "They come in every class, in their stream's order.", ""]
    any_class = schema_of(EventClass.TRADE)
    trade = any_class["definitions"]
    lines += ["**gap**: something is missing here.", "", *_table(trade["Gap"], any_class)]
    lines += ["", "[What each reason means](architecture.md#the-life-of-a-stream)."]
    lines += ["", "**resumed**: the stream goes on.", "", *_table(trade["Resumed"], any_class), ""]
    for event_class in EventClass:
        lines += _class(event_class)
    lines += ["## quarantine", "", "Frames that nobody could read; no events.", ""]
    unreadable = schema_of(QUARANTINE)
    lines += [*_table(unreadable["definitions"]["Quarantined"], unreadable), ""]
    return "\n".join(lines)


def _class(event_class: EventClass) -> Iterator[str]:
    schema = schema_of(event_class)
    definitions = schema["definitions"]
    facts = [
        one
        for one in definitions.values()
        if "payload" in one.get("properties", {})
        and one["properties"]["kind"]["enum"][0] not in _MARKERS
    ]
    kinds = ", ".join(f"`{one['properties']['kind']['enum'][0]}`" for one in facts)
    channels = [channel for channel, one in EVENT_CLASS_OF.items() if one is event_class]
    named = ", ".join(f"`{channel}`" for channel in channels)
    needs_key = " (needs Bybit's key)" if channels[0] in PRIVATE_CHANNELS else ""
    yield f"## {event_class}"
    yield ""
    yield f"Channels {named}{needs_key}. Kinds {kinds}. {_LANES[LANE_OF[event_class]]}."
    yield ""
    payload = facts[0]["properties"]["payload"]
    is_list = payload.get("type") == "array"
    record = _resolved(payload["items"] if is_list else payload, schema)
    words = " ".join(str(record.get("description", "")).split())
    yield f"Payload: {'a list; of each: ' if is_list else ''}{words or 'a record of Bybit.'}"
    yield ""
    if record.get("properties"):
        yield from _table(record, schema)
        yield ""


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(node.get("$ref", "")).rpartition("/")[2]
    found: Mapping[str, Any] = schema["definitions"][name] if name else node
    return found


def _table(record: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    required = set(record.get("required", ()))
    yield "| field | type | always there | says |"
    yield "|---|---|---|---|"
    for name, node in record["properties"].items():
        is_there = "yes" if name in required else ""
        words = " ".join(str(node.get("description", "")).split()).replace("|", "\\|")
        yield f"| `{name}` | {_type(node, schema)} | {is_there} | {words} |"


def _type(node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    node = _resolved(node, schema)
    if "anyOf" in node:
        return " or ".join(_type(one, schema) for one in node["anyOf"])
    if "enum" in node:
        return " ".join(f"`{one}`" for one in node["enum"])
    if node.get("type") == "array":
        return f"list of {_type(node.get('items', {}), schema)}"
    if node.get("type") == "object" and "title" in node:
        return f"{node['title']} ({', '.join(f'`{name}`' for name in node['properties'])})"
    if str(node.get("pattern", "")).startswith(("^-?[0-9]+(", "^(-?[0-9]+(")):
        return "decimal as string" + (" or empty" if node["pattern"].startswith("^(") else "")
    return str(node.get("type", "any"))


REFERENCES = {"configuration.md": configuration, "events.md": events}


def main() -> None:
    """Write both into the folder that is named."""
    for name, make in REFERENCES.items():
        (Path(sys.argv[1]) / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
