"""The private RabbitMQ: starts, is shared, heals, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amqp_probe import is_answering
from broker import Broker, BrokerError, broker_url, named_url
from processes import find_processes
from rabbitmq_node import PrivateNode, find_server
from support.needs import needing

TOOLS = Path(__file__).resolve().parents[2] / "tools"

pytestmark = [
    pytest.mark.xdist_group("dev_stack"),  # each starts a broker: one at a time is enough load
    needing("rabbitmq", is_here=find_server() is not None, why="nodes of its own are started"),
]


def quiet(_text: str) -> None:
    """Say nothing."""


def processes_of(folder: Path) -> list[int]:
    """List what runs for the node in `folder`: the Erlang machine and its port mapper."""
    return find_processes("beam", str(folder / "home")) + find_processes(
        "epmd", str(folder / "epmd")
    )


def test_a_node_is_reused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A second user finds it running; the last one to leave stops it and its port mapper."""
    folder = tmp_path / "rabbitmq"
    with Broker(folder, quiet).borrowed() as url:
        with Broker(folder, quiet).borrowed() as again:
            assert again == url
        assert len(processes_of(folder)) == 2
        ports = json.loads((folder / "ports.json").read_text())
        assert is_answering("127.0.0.1", ports["amqp"])
        for port in ports.values():  # nothing of it can be reached from another machine
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((_own_address(), port), timeout=1)
    assert processes_of(folder) == []


def test_a_node_that_was_put_up_stays_until_it_is_put_down(tmp_path: Path) -> None:
    """`up` outlives its users, `down` ends it."""
    folder = tmp_path / "rabbitmq"
    broker = Broker(folder, quiet)
    try:
        url = broker.up()
        with broker.borrowed() as borrowed:
            assert borrowed == url
        assert broker.running_url() == url
    finally:
        assert broker.down()
    assert processes_of(folder) == []
    assert not broker.down()


def test_an_exported_url_of_a_dead_own_node_starts_it_again(tmp_path: Path) -> None:
    """`env` exported it before; it is no stranger's, so it is not merely said to run."""
    folder = tmp_path / "rabbitmq"
    broker = Broker(folder, quiet)
    try:
        environ = {"WSG_AMQP_URL": broker.up()}
        broker.down()
        assert named_url(broker, environ) is None
        assert broker.running_url() is None
        with broker_url(broker, environ) as url:
            assert url == environ["WSG_AMQP_URL"]
            assert broker.running_url() == url
    finally:
        broker.down()


def test_two_nodes_stand_side_by_side(tmp_path: Path) -> None:
    """Two checkouts on one machine share neither port nor name nor data."""
    one, two = tmp_path / "one" / "rabbitmq", tmp_path / "two" / "rabbitmq"
    with Broker(one, quiet).borrowed() as first, Broker(two, quiet).borrowed() as second:
        assert first != second
    assert processes_of(one) == processes_of(two) == []


def test_a_killed_node_is_started_again_where_it_was(own_broker: PrivateNode) -> None:
    """After `kill -9` of both processes the same URL works again."""
    url = own_broker.url
    for pid in processes_of(own_broker.folder):
        os.kill(pid, signal.SIGKILL)
    server = find_server()
    assert server is not None
    own_broker.start(server)
    assert own_broker.url == url
    assert own_broker.is_running()


def test_a_port_taken_meanwhile_is_replaced(own_broker: PrivateNode) -> None:
    """A stranger on the stored port does not keep the node from starting."""
    own_broker.stop()
    ports = json.loads((own_broker.folder / "ports.json").read_text())
    with socket.create_server(("127.0.0.1", ports["amqp"])):
        server = find_server()
        assert server is not None
        own_broker.start(server)
        assert f":{ports['amqp']}/" not in own_broker.url


def test_a_node_whose_ports_are_forgotten_is_replaced(own_broker: PrivateNode) -> None:
    """A file cut short by a crash costs a restart, not a person's time."""
    before = processes_of(own_broker.folder)
    (own_broker.folder / "ports.json").write_text('{"amqp": 1')
    server = find_server()
    assert server is not None
    own_broker.start(server)
    assert own_broker.is_running()
    after = processes_of(own_broker.folder)
    assert len(after) == 2
    assert not set(before) & set(after)


def test_a_killed_user_does_not_keep_the_node(tmp_path: Path) -> None:
    """A user that died without leaving is not counted."""
    folder = tmp_path / "rabbitmq"
    script = (
        f"import sys; sys.path.insert(0, {str(TOOLS)!r})\n"
        "from pathlib import Path; from broker import Broker\n"
        f"with Broker(Path({str(folder)!r}), print).borrowed():\n"
        "    print('in', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        while user.stdout.readline().strip() != "in":
            pass
        with Broker(folder, quiet).borrowed():
            user.kill()
            user.wait()
    assert processes_of(folder) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("amqp://user:s3cret@127.0.0.1:1/", "127.0.0.1:1, where no broker answers"),
        ("http://user:s3cret@127.0.0.1/", "write it like amqp://"),
    ],
)
def test_a_named_broker_is_taken_or_refused_but_never_replaced(
    tmp_path: Path, url: str, words: str
) -> None:
    """A wrong `WSG_AMQP_URL` is told in a sentence that does not repeat its password."""
    broker = Broker(tmp_path / "rabbitmq", quiet)
    with pytest.raises(BrokerError) as caught, broker_url(broker, {"WSG_AMQP_URL": url}):
        pass
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_without_any_rung_one_sentence_says_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server, no Docker, no apt-get: the text names each and what to do."""
    monkeypatch.setenv("DEVSTACK_RABBITMQ_SERVER", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    began = time.monotonic()
    with pytest.raises(BrokerError) as caught:
        Broker(tmp_path / "rabbitmq", quiet).up()
    assert time.monotonic() - began < 5
    text = str(caught.value)
    assert "\n" not in text
    for word in ("rabbitmq-server", "Docker", "apt-get", "WSG_AMQP_URL="):
        assert word in text


def _own_address() -> str:
    """Name an address of this machine that is not 127.0.0.1, which the node listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address: nothing is sent
        except OSError:
            return "127.0.0.2"
        address: str = probe.getsockname()[0]
        return address
