"""What is asked of the venue's REST, joined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import SystemRandom

from ws_gateway.config import Settings
from ws_gateway.runtime.clock import clock_us
from ws_gateway.venue.clock import VenueClock
from ws_gateway.venue.instruments import Instruments
from ws_gateway.venue.login import LoginInquiry
from ws_gateway.venue.maintenance import Maintenance
from ws_gateway.venue.protocol import Timing
from ws_gateway.venue.rest import BybitRest


@dataclass(frozen=True, slots=True)
class Desk:
    """What is asked of the venue's REST, joined; none of it is waited for.

    Attributes:
        rest, elsewhere: of this environment, and of the others.
        clock: how far the venue's is ahead of ours.
        inquiry: why a login was refused.
        instruments: what is listed, for the choice of categories.
        maintenance: what the venue announced.
    """

    rest: BybitRest
    elsewhere: Mapping[str, BybitRest]
    clock: VenueClock
    inquiry: LoginInquiry
    instruments: Instruments
    maintenance: Maintenance

    async def close(self) -> None:
        """Close the connections."""
        for each in (self.rest, *self.elsewhere.values()):
            await each.close()


def build_desk(settings: Settings) -> Desk:
    """Join what asks the venue's REST; nothing connects until the parts are run."""
    rng = SystemRandom()
    rest = BybitRest(settings.rest_url)
    elsewhere = {name: BybitRest(url) for name, url in settings.other_rest_urls.items()}
    clock = VenueClock(rest, clock_us=clock_us)
    return Desk(
        rest,
        elsewhere,
        clock,
        LoginInquiry(
            rest,
            clock,
            validity_seconds=Timing().login_validity,
            elsewhere=elsewhere,
        ),
        Instruments(
            rest,
            categories=settings.enabled_categories if settings.serves_public else (),
            option_base_coins=settings.option_base_coins,
            rng=rng,
        ),
        Maintenance(rest, environment=settings.bybit_environment, clock_us=clock_us, rng=rng),
    )
