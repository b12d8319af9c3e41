"""One open socket, as the server holds it and as a test sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from bybit_sim.broadcaster import Stream
from bybit_sim.party import Party
from bybit_sim.venue_socket import VenueSocket


@dataclass(slots=True, eq=False)
class LiveConnection:
    """One open socket.

    Attributes:
        id: the `conn_id` its replies carry.
        path: without query, such as `/v5/public/linear`.
        kind: category of a public socket, `status` or `private`.
        socket: the server's end.
        max_idle_seconds: after this long without ping and data it is cut.
        last_ping_ms: last client ping, at first the time of opening, on the agenda's clock.
        topics: what it is subscribed to, in order; on option sockets also topics that were
            acknowledged and do not exist.
        is_authenticated: whether a login succeeded.
        party: whose login it was.
    """

    id: str
    path: str
    kind: str
    socket: VenueSocket
    max_idle_seconds: float
    last_ping_ms: float
    topics: dict[str, Stream | None] = field(default_factory=dict)
    is_authenticated: bool = False
    party: Party | None = None
