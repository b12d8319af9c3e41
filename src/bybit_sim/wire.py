"""Acks, pongs and refusals in the words and key order of each socket (v5 reference 4.2, 5.2, 5.3).

Each function returns the frame as an ordered dict; nothing here knows sockets or state.
"""

from __future__ import annotations

import random
from typing import Any

_XID_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_SUFFIX_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_COMMAND_SOCKETS = frozenset({"option", "spread"})
_SPOT_LIKE = frozenset({"spot", "status"})
_SNIPPET = 10  # characters of context in a decode error


def new_conn_id(rng: random.Random) -> str:
    """Draw an id of the current form, `d6ki1eae0cl5msgggj7g-1uoz2`."""
    head = "".join(rng.choices(_XID_DIGITS, k=19))
    tail = "".join(rng.choices(_SUFFIX_DIGITS, k=rng.choice((4, 5))))
    return f"d{head}-{tail}"


def speaks_commands(kind: str) -> bool:
    """Tell whether a socket answers `COMMAND_RESP` without op and req_id."""
    return kind in _COMMAND_SOCKETS


def pong(kind: str, conn_id: str, req_id: str | None, now_ms: int) -> dict[str, Any]:
    """Answer a ping on the socket `kind` (a category, `status` or `private`)."""
    if kind == "private":
        frame: dict[str, Any] = {} if req_id is None else {"req_id": req_id}
        return frame | {"op": "pong", "args": [str(now_ms)], "conn_id": conn_id}
    if speaks_commands(kind):
        return {"args": [str(now_ms)], "op": "pong"}
    return _public(kind, conn_id, req_id, success=True, ret_msg="pong", op="ping")


def command_ack(kind: str, conn_id: str, req_id: str | None, op: str) -> dict[str, Any]:
    """Answer a granted `subscribe` or `unsubscribe`, everywhere but on option and spread."""
    if kind == "private":
        return private_reply(conn_id, req_id, success=True, ret_msg="", op=op)
    # Spot repeats the op as text; documented for subscribe, assumed for unsubscribe and for the
    # status socket, whose answers nobody has recorded.
    ret_msg = op if kind in _SPOT_LIKE else ""
    return _public(kind, conn_id, req_id, success=True, ret_msg=ret_msg, op=op)


def command_response(conn_id: str, good: list[str], bad: list[str]) -> dict[str, Any]:
    """Answer a request on option and spread: no op, no req_id, no ret_msg."""
    return {
        "success": not bad,
        "conn_id": conn_id,
        "data": {"failTopics": bad, "successTopics": good},
        "type": "COMMAND_RESP",
    }


def refusal(kind: str, conn_id: str, req_id: str | None, op: str, ret_msg: str) -> dict[str, Any]:
    """Refuse a whole request."""
    if kind == "private":
        return private_reply(conn_id, req_id, success=False, ret_msg=ret_msg, op=op)
    return _public(kind, conn_id, req_id, success=False, ret_msg=ret_msg, op=op)


def private_reply(
    conn_id: str, req_id: str | None, *, success: bool, ret_msg: str, op: str
) -> dict[str, Any]:
    """Answer on the private socket: a req_id comes first, and is absent if none was sent."""
    frame: dict[str, Any] = {} if req_id is None else {"req_id": req_id}
    return frame | {"success": success, "ret_msg": ret_msg, "op": op, "conn_id": conn_id}


def handler_not_found(topic: str) -> str:
    """Refusal text for a topic that does not exist; only the first bad one is named."""
    return f"error:handler not found,topic:{topic}"


def already_subscribed(topic: str) -> str:
    """Refusal text for a topic this connection has; the running one keeps delivering."""
    return f"error:already subscribed,topic:{topic}"


def decode_failure(raw: str) -> str:
    """Refusal text for what is not a JSON object, in the manner of Bybit's decoder."""
    stripped = raw.lstrip()
    found = stripped[:1] or "\x00"
    around = raw[:_SNIPPET]
    return (
        f"Failed to decode incoming data:readObjectStart: expect {{ or n, but found {found}, "
        f"error found in #1 byte of ...|{around}|..., bigger context ...|{raw[:64]}|..."
    )


def _public(  # one shape, five facts
    kind: str, conn_id: str, req_id: str | None, *, success: bool, ret_msg: str, op: str
) -> dict[str, Any]:
    frame: dict[str, Any] = {"success": success, "ret_msg": ret_msg, "conn_id": conn_id}
    if req_id is not None:
        frame["req_id"] = req_id
    elif kind in {"linear", "inverse"}:
        frame["req_id"] = ""  # these two always have the key
    return frame | {"op": op}
