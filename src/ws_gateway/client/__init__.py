"""For those who read what the gateway delivers: `consume` first of all."""

from ws_gateway.client.consumer import consume
from ws_gateway.client.event import Envelope, Event, Gap

__all__ = ["Envelope", "Event", "Gap", "consume"]
