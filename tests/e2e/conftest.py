"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from support.amqp_names import delete_topology
from support.site import Site


@pytest.fixture
def site(tmp_path: Path, amqp_url: str, amqp_prefix: str, database_url: str) -> Site:
    """The shared broker and a database of the test's own."""
    return Site(tmp_path, amqp_url, database_url, amqp_prefix)


@pytest.fixture
async def second_prefix(amqp_url: str) -> AsyncIterator[str]:
    """First word of another gateway's exchange and queues."""
    prefix = f"t-{uuid4().hex[:12]}"
    yield prefix
    await delete_topology(amqp_url, prefix)
