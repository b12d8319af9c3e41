"""How endpoints document the problems they answer."""

from __future__ import annotations

from typing import Any

from ws_gateway.control.api.problems import CONTENT_TYPE

_MEANINGS = {
    400: "The body is not JSON, is nested too deep, or the request is no HTTP.",
    401: "The key is missing, wrong, expired or revoked.",
    403: "The key lacks the scope or does not speak for the service, or no key is configured.",
    404: "There is none of that name.",
    408: "The body did not arrive in time.",
    409: "It contradicts what stands, or itself; both sides are named.",
    413: "The body is larger than 64 KiB, or 4 MiB for a service's whole set.",
    414: "Path and query are longer than 8 KiB.",
    415: "The body is not sent as JSON.",
    422: "A field is missing, malformed, unknown, or asks for what does not exist.",
    429: (
        "Too many requests or subscriptions of this service, or too many wrong keys of this "
        "address; wait `Retry-After` seconds."
    ),
    431: "The headers are larger than 16 KiB.",
    500: "A defect of the gateway; `trace_id` finds it in its log.",
    503: (
        "The database is away, so that nothing can be changed or the key not be told, or the "
        "gateway stops; send it again after `Retry-After` seconds."
    ),
}
# By reference and not as `model`, which would promise the same as application/json too; the app
# adds the schema to the document.
_SCHEMA = {"$ref": "#/components/schemas/Problem"}


def problems_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe these, and those that every guarded endpoint may answer."""
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {CONTENT_TYPE: {"schema": _SCHEMA}},
        }
        for status in sorted({401, 403, 422, 429, 500, *statuses})
    }


EVERYWHERE = (400, 408, 413, 414, 431, 500, 503)
"""What the outermost layer may answer to any request, whatever it asks for."""


def document_edge(document: dict[str, Any]) -> None:
    """Add to every operation what it may answer before it is reached."""
    shared = document["components"].setdefault("responses", {})
    for status in EVERYWHERE:
        shared[_name(status)] = {
            "description": _MEANINGS[status],
            "content": {CONTENT_TYPE: {"schema": _SCHEMA}},
        }
    for operations in document["paths"].values():
        for operation in operations.values():
            answers = operation["responses"]
            for status in EVERYWHERE:
                known = answers.setdefault(
                    str(status), {"$ref": f"#/components/responses/{_name(status)}"}
                )
                if "content" in known:
                    known["content"].setdefault(CONTENT_TYPE, {"schema": _SCHEMA})
            operation["responses"] = dict(sorted(answers.items()))


def _name(status: int) -> str:
    return f"Problem{status}"
