"""The running gateway answers what its OpenAPI document says, whatever is sent."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from support.programs import API_KEY
from support.site import KEYS, Site

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "use_after_free",
    "ensure_resource_availability",
)
EXAMPLES = 15
"""Requests that are made up per operation, beside those of the examples and of every boundary."""

SECONDS = 500
"""How long it may take; on a free machine it takes a tenth of that."""

pytestmark = pytest.mark.timeout(SECONDS + 60)


async def test_schemathesis_finds_no_answer_that_is_not_described(
    site: Site, tmp_path: Path
) -> None:
    """No 5xx, no status, type or shape that the document does not know; with a fixed seed."""
    async with (
        site.venue(api_key="sim-key", api_secret="sim-secret") as venue,
        site.gateway(venue.url, **KEYS) as gateway,
    ):
        await gateway.add("ticker", "BTCUSDT", category="linear")
        code, output = await _schemathesis(str(gateway.http.base_url), tmp_path)
        assert code == 0, output
        served = gateway.logged("api.request_served")
        assert [line for line in served if (line["status"] or 0) >= 500] == []
        # It got through to what is described, and was not merely refused at the door.
        done = {(line["method"], line["route"], line["status"]) for line in served}
        one = "/api/v1/subscriptions/{subscription_id}"
        assert ("POST", "/api/v1/subscriptions", 201) in done
        assert {("GET", one, 200), ("DELETE", one, 204)} <= done
        assert {line["status"] for line in served} >= {200, 201, 204, 401, 404, 405, 422}


async def _schemathesis(url: str, folder: Path) -> tuple[int | None, str]:
    """Run it as a person would; answers exit code and output."""
    words = ["-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
    words += [f"{url}/openapi.json", "--header", f"X-API-Key: {API_KEY}"]
    words += ["--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES), "--seed", "1"]
    words += ["--phases", "examples,coverage,fuzzing,stateful", "--request-timeout", "30"]
    # A stream goes on for a minute; test_api_live.py asks it what this would.
    words += ["--exclude-operation-id", "watch_live"]
    words += ["--generation-database", "none", "--no-color", "--workers", "1"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        cwd=folder,
        env={**os.environ, "NO_PROXY": "*", "COLUMNS": "200"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
        return None, f"not done in {SECONDS} s:\n{output.decode()}"
    return process.returncode, output.decode()
