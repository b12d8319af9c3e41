"""What this gateway serves, and the one place that says no to the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ws_gateway.config import Settings
from ws_gateway.domain.topic import PRIVATE_CHANNELS, PUBLIC_CHANNELS, Category, Channel
from ws_gateway.errors import Rejected


@dataclass(frozen=True, slots=True)
class Policy:
    """What this gateway serves, as configured."""

    enabled_categories: tuple[Category, ...]
    default_category: Category
    has_credentials: bool
    serves_public: bool = True

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read it from the settings."""
        return cls(
            enabled_categories=settings.enabled_categories,
            default_category=settings.default_category,
            has_credentials=settings.has_credentials,
            serves_public=settings.serves_public,
        )

    def refusal(
        self, channel: Channel, category: Category | None, chosen_by: str | None = None
    ) -> Rejected | None:
        """Answer why a topic is not served, or None if it is.

        The same for a wish that is posted and for one that was stored when the settings were
        others.

        Args:
            channel: kind of data.
            category: its product line, None while it is not known.
            chosen_by: what chose the category, if the caller did not.
        """
        is_private = channel in PRIVATE_CHANNELS
        if is_private and not self.has_credentials:
            return _no_credentials(channel)
        if not is_private and not self.serves_public:
            return Rejected(
                f"channel {channel} is public, and WSG_CONNECTION_STRATEGY=single with a Bybit "
                "key serves private channels only; set it to dual and start the gateway again",
                code="public_not_served",
                field="channel",
                found=channel.value,
                allowed=sorted(channel.value for channel in PRIVATE_CHANNELS),
            )
        if category is not None and category not in self.enabled_categories:
            enabled = [one.value for one in self.enabled_categories]
            because = f" ({chosen_by})" if chosen_by else ""
            return Rejected(
                f"category {category} is not enabled here{because}; "
                f"WSG_ENABLED_CATEGORIES has {', '.join(enabled)}",
                code="category_disabled",
                field="category",
                found=category.value,
                allowed=enabled,
            )
        return None


def _no_credentials(channel: Channel) -> Rejected:
    return Rejected(
        f"channel {channel} is private, and no Bybit credentials are configured; "
        "set WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET and start the gateway again",
        code="credentials_missing",
        field="channel",
        found=channel.value,
        allowed=[channel.value for channel in PUBLIC_CHANNELS],
    )
