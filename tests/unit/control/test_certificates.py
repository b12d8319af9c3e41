"""Looking at certificates now and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from ws_gateway.control.certificates import (
    RETRY_SECONDS,
    SERVER_SECONDS,
    Certificates,
    CertificateWatch,
)

END = datetime(2027, 1, 1, tzinfo=UTC)


class Surroundings:
    """Files and a server whose certificates the test renews."""

    def __init__(self) -> None:
        self.now = 0.0
        self.held = self.file = self.server = END
        self.fault: Exception | None = None
        self.asked = 0
        self.watch = CertificateWatch(
            Certificates(
                {"http": lambda: self.held},
                {"broker_authority": self._file},
                {"broker": self._server},
            ),
            monotonic=lambda: self.now,
        )

    def _file(self) -> datetime:
        if self.fault is not None:
            raise self.fault
        return self.file

    async def _server(self) -> datetime:
        self.asked += 1
        self._file()
        return self.server


async def test_what_is_renewed_is_seen_soon_where_a_look_costs_nothing() -> None:
    """A server is asked once an hour, because it has to see to each connection."""
    around = Surroundings()
    assert around.watch.ends() == {"http": END}
    await around.watch.look()
    assert around.watch.ends() == {"http": END, "broker_authority": END, "broker": END}
    later = END + timedelta(days=90)
    around.held = around.file = around.server = later
    around.now = 60.0
    await around.watch.look()
    assert around.watch.ends() == {"http": later, "broker_authority": later, "broker": END}
    around.now = SERVER_SECONDS + 1
    await around.watch.look()
    assert around.watch.ends()["broker"] == later
    assert around.asked == 2


async def test_what_cannot_be_looked_at_keeps_its_end_and_is_told_once() -> None:
    """A broker that is away has the certificate it had; it is asked again sooner."""
    around = Surroundings()
    await around.watch.look()
    around.fault = OSError("gone")
    with structlog.testing.capture_logs() as logged:
        for around.now in (SERVER_SECONDS, SERVER_SECONDS + 60, SERVER_SECONDS + RETRY_SECONDS):
            await around.watch.look()
    assert around.watch.ends()["broker"] == END
    assert around.asked == 3
    told = [one["certificate"] for one in logged]
    assert sorted(told) == ["broker", "broker_authority"]
    around.fault = None
    around.now += RETRY_SECONDS
    await around.watch.look()
    assert around.asked == 4
