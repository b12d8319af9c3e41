"""Fixtures of every test: real services, unique names, and guards against leftovers."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from hypothesis import settings

from amqp_probe import free_ports
from broker import Broker, BrokerError, broker_url
from rabbitmq_node import PrivateNode, find_server
from support import needs
from support.amqp_names import delete_topology
from support.databases import Databases, shared_server
from support.leftovers import GRACE_SECONDS, leftover_tasks, leftovers, own_children, own_threads
from support.proxy import TcpProxy
from ws_gateway.storage.embedded import EmbeddedPostgres

CHECKOUT = Path(__file__).resolve().parent.parent
DEV = CHECKOUT / ".dev"

OpenProxy = Callable[[str, int], Awaitable[TcpProxy]]

# The same cases in every run, and no clock held against them: whoever changes something sees
# what that did. `make test ARGS="--hypothesis-profile=default"` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


def pytest_configure(config: pytest.Config) -> None:
    """Tell at the end what was not run here; write exceptions as the gateway itself does.

    What structlog writes of one where nobody configured it keeps the loop for ten seconds.
    """
    config.pluginmanager.register(needs, "needs")
    *processors, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*processors, plain])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the task guard around every asynchronous test, outside all its other fixtures."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "_no_leaked_tasks")


@pytest.fixture
async def _no_leaked_tasks(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    # Debug mode shows misuse (a call from a wrong thread, a coroutine never awaited), but makes
    # every callback several times dearer: only where no test looks at the clock.
    loop.set_debug("unit" in request.path.parts)
    before = asyncio.all_tasks()
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    while found := leftover_tasks(before):  # those that are ending need a few turns of the loop
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.01)
    else:
        return
    pytest.fail("the test left behind: " + "; ".join(found))


@pytest.fixture(autouse=True)
def _no_leftovers() -> Iterator[None]:
    threads, children = own_threads(), own_children()
    yield
    if found := leftovers(threads, children):
        pytest.fail("the test left behind: " + "; ".join(found))


@pytest.fixture(scope="session")
def amqp_url() -> Iterator[str]:
    """URL of a real RabbitMQ: the one named in the environment, else the checkout's own."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(broker_url(Broker(DEV / "rabbitmq", print)))
        except BrokerError as exc:
            pytest.fail(str(exc), pytrace=False)
        yield url


@pytest.fixture
async def amqp_prefix(amqp_url: str) -> AsyncIterator[str]:
    """First word of exchange and queues, unique to the test; what bears it is deleted after."""
    prefix = f"t-{uuid4().hex[:12]}"
    yield prefix
    await delete_topology(amqp_url, prefix)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[PrivateNode]:
    """A running RabbitMQ of the test's own, to stop and start at will (2 to 4 s each)."""
    server = find_server()
    if server is None:
        needs.skip_without("rabbitmq", "a broker of its own has to be stopped and started")
    node = PrivateNode(tmp_path / "rabbitmq", print)
    node.start(server)
    try:
        yield node
    finally:
        node.stop()


@pytest.fixture(scope="session")
def _databases() -> Iterator[Databases]:
    with shared_server(DEV) as url:
        databases = Databases(url)
        yield databases
        databases.drop_all()


@pytest.fixture
def database_url(_databases: Databases) -> Iterator[str]:
    """URL of a database of the test's own, with today's schema and no rows."""
    url = _databases.create(migrated=True)
    yield url
    _databases.drop(url)


@pytest.fixture
def empty_database_url(_databases: Databases) -> Iterator[str]:
    """URL of a database of the test's own with nothing in it, for tests of the schema itself."""
    url = _databases.create(migrated=False)
    yield url
    _databases.drop(url)


@pytest.fixture
def postgres_folder() -> Iterator[Path]:
    """A folder for `own_postgres`, whose name is short for the socket's sake."""
    with tempfile.TemporaryDirectory(prefix="wsg-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
async def own_postgres(postgres_folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL of the test's own, to be started and stopped; stopped after the test."""
    own = EmbeddedPostgres(postgres_folder)
    yield own
    await own.stop()


@pytest.fixture
def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    return free_ports(1)[0]


@pytest.fixture
async def open_proxy() -> AsyncIterator[OpenProxy]:
    """Opener of proxies, awaited with host and port of the target; all are cut after the test."""
    async with AsyncExitStack() as stack:

        async def opened(host: str, port: int) -> TcpProxy:
            return await stack.enter_async_context(TcpProxy(host, port))

        yield opened
