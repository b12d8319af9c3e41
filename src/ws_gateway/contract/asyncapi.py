"""The AsyncAPI 3.0 document: where messages go at the broker, and what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ws_gateway import __version__
from ws_gateway.config import QueueType
from ws_gateway.contract.schemas import DRAFT, QUARANTINE
from ws_gateway.delivery.envelope import RESENT
from ws_gateway.delivery.topology import Names, queue_arguments
from ws_gateway.domain.topic import LANE_OF, EventClass, Lane

_BINDING_VERSION = "0.3.0"
_VHOST = "/"

_PROMISE = {
    Lane.PRIVATE: "At least once, never given up.",
    Lane.LEDGER: "In order; complete, or a gap marker stands where something is missing.",
    Lane.BOOK: "In order; every break in update ids is marked and mended by a fresh snapshot.",
    Lane.LATEST: "Newest wins: under pressure older values may be replaced, counted.",
}

_DESCRIPTION = """
Every event of Bybit, in order, numbered, and nothing is lost without a message that says so.

All events go to one topic exchange. Each event class has a durable queue, made for one consumer or
one group that shares the work; any other binds a queue of its own to the exchange.

`sequence` rises by exactly 1 per stream and `epoch`; a stream is (category, topic), or (account,
topic) on private topics. A step other than +1 that neither a marker of kind `gap` nor `conflated`
explains is a defect, or a queue that dropped its oldest. The same event may come again
(`event_id` is the same); only a snapshot with another `sequence` is no repeat, for a quiet book is
told again as it was when a hole is mended.
"""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the document is true.

    Attributes:
        prefix: first word of exchange and queues.
        host: of the broker, with the port; never with a password.
        protocol: `amqp` or `amqps`.
    """

    prefix: str = "ws-gateway"
    queue_type: QueueType = QueueType.QUORUM
    host: str = "localhost:5672"
    protocol: str = "amqp"


def asyncapi(site: Site) -> dict[str, Any]:
    """Return the document; its schemas are files beside it, in `schemas/`."""
    names = Names(site.prefix)
    classes = [each.value for each in EventClass]
    carried = [*classes, QUARANTINE]
    return {
        "asyncapi": "3.0.0",
        "id": f"urn:{site.prefix}",
        "info": {
            "title": "ws-gateway",
            "version": __version__,
            "description": _DESCRIPTION.strip(),
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": site.host,
                "protocol": site.protocol,
                "protocolVersion": "0-9-1",
                "description": "RabbitMQ.",
            }
        },
        "channels": {
            "events": _exchange(names, carried),
            **{name: _queue(names, name, site.queue_type) for name in carried},
        },
        "operations": {
            "publish": {
                "action": "send",
                "channel": {"$ref": "#/channels/events"},
                "summary": "Publish persistent, mandatory and confirmed.",
                "bindings": {
                    "amqp": {
                        "deliveryMode": 2,
                        "mandatory": True,
                        "timestamp": True,
                        "bindingVersion": _BINDING_VERSION,
                    }
                },
            },
            **{f"fill_{name}": _fill(name) for name in carried},
        },
        "components": {"messages": {name: _message(name) for name in carried}},
    }


def _exchange(names: Names, carried: list[str]) -> dict[str, Any]:
    return {
        "address": "{event_class}.{category}.{symbol}",
        "title": "The topic exchange of all events",
        "description": (
            "A dot inside a word is written %2E, a percent sign %25; a word that is not there is "
            "a hyphen. What could not be read is routed quarantine.{reason}."
        ),
        "servers": [{"$ref": "#/servers/broker"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in carried},
        "parameters": {
            "event_class": {"enum": [each.value for each in EventClass]},
            "category": {
                "description": "spot, linear, inverse, option, spread, or - where there is none."
            },
            "symbol": {"description": "Instrument, or - where there is none."},
        },
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {
                    "name": names.exchange,
                    "type": "topic",
                    "durable": True,
                    "autoDelete": False,
                    "vhost": _VHOST,
                },
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _queue(names: Names, name: str, queue_type: QueueType) -> dict[str, Any]:
    queue = names.queue(name)
    return {
        "address": queue,
        "title": f"The queue of {name}",
        "description": f"Bound to {names.exchange} with {name}.#",
        "servers": [{"$ref": "#/servers/broker"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": {
                    "name": queue,
                    "durable": True,
                    "exclusive": False,
                    "autoDelete": False,
                    "vhost": _VHOST,
                },
                "bindingVersion": _BINDING_VERSION,
            }
        },
        "x-queue-arguments": dict(queue_arguments(queue_type)),
    }


def _fill(name: str) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": f"Fill the queue of {name}, through the exchange.",
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
    }


def _message(name: str) -> dict[str, Any]:
    if name == QUARANTINE:
        summary = "A frame of Bybit that could not be read, with the reason and its bytes."
    else:
        summary = _PROMISE[LANE_OF[EventClass(name)]]
    return {
        "name": name,
        "title": name,
        "summary": summary,
        "contentType": "application/json",
        "headers": _properties(name),
        "correlationId": {
            "description": "The trace id: one per frame received of Bybit.",
            "location": "$message.header#/correlation_id",
        },
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-07",
            "schema": {"$ref": f"./schemas/{name}.json"},
        },
        "bindings": {"amqp": {"messageType": name, "bindingVersion": _BINDING_VERSION}},
    }


def _properties(name: str) -> dict[str, Any]:
    """Describe the AMQP properties, which are what AMQP has as headers of every message."""
    return {
        "$schema": DRAFT,
        "type": "object",
        "description": "AMQP properties of the message.",
        "properties": {
            "message_id": {
                "type": "string",
                "maxLength": 255,
                "description": "The event_id of the envelope.",
            },
            "correlation_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "type": {"type": "string", "const": name, "description": "Event class."},
            "app_id": {"type": "string", "const": "ws-gateway"},
            "timestamp": {"type": "integer", "description": "Bybit's time, in seconds."},
            "content_type": {"type": "string", "const": "application/json"},
            "delivery_mode": {"type": "integer", "const": 2, "description": "Persistent."},
            "headers": {
                "type": "object",
                "properties": {
                    RESENT: {
                        "type": "boolean",
                        "const": True,
                        "description": "Sent once more, with the event_id it had: it may have "
                        "arrived before. Not there on a first sending.",
                    }
                },
            },
        },
        "required": ["message_id", "correlation_id", "type", "app_id", "timestamp", "content_type"],
    }
