"""How endpoints document the problems they answer."""

from __future__ import annotations

from typing import Any

from ws_gateway.control.api.problems import CONTENT_TYPE

_MEANINGS = {
    400: "The body is not JSON.",
    401: "The key is missing, wrong, expired or revoked.",
    403: "The key lacks the scope or does not speak for the service, or no key is configured.",
    404: "There is none of that name.",
    413: "The body is larger than 64 KiB.",
    415: "The body is not sent as JSON.",
    422: "A field is missing, malformed, or asks for what does not exist.",
    429: "Too many requests of this service, or too many wrong keys; wait `Retry-After` seconds.",
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
        for status in sorted({401, 403, 429, 500, *statuses})
    }
