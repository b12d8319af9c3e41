"""What this gateway serves, and the one place that says no to the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ws_gateway.config import Settings
from ws_gateway.domain.topic import PRIVATE_CHANNELS, PUBLIC_CHANNELS, Category, Channel, Topic
from ws_gateway.errors import Rejected


@dataclass(frozen=True, slots=True)
class Policy:
    """What this gateway serves, as configured.

    Attributes:
        accounts: names of all that are configured, the first one first.
    """

    enabled_categories: tuple[Category, ...]
    default_category: Category
    has_credentials: bool
    serves_public: bool = True
    accounts: tuple[str, ...] = ("main",)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read it from the settings."""
        return cls(
            enabled_categories=settings.enabled_categories,
            default_category=settings.default_category,
            has_credentials=settings.has_credentials,
            serves_public=settings.serves_public,
            accounts=settings.account_names,
        )

    def key_of_account(self, name: str) -> str | None:
        """Return an account as topics name it: None for the first.

        Raises:
            Rejected: no account has this name.
        """
        if name not in self.accounts:
            raise _no_account(name, self.accounts)
        return None if name == self.accounts[0] else name

    def account_of(self, topic: Topic) -> str | None:
        """Name the account that a topic is of; None for a public one."""
        return (topic.account or self.accounts[0]) if topic.is_private else None

    def refusal(
        self,
        channel: Channel,
        category: Category | None,
        chosen_by: str | None = None,
        account: str | None = None,
    ) -> Rejected | None:
        """Answer why a topic is not served, or None if it is.

        The same for a wish that is posted and for one that was stored when the settings were
        others.

        Args:
            channel: kind of data.
            category: its product line, None while it is not known.
            chosen_by: what chose the category, if the caller did not.
            account: the further account it is of.
        """
        is_private = channel in PRIVATE_CHANNELS
        if is_private and not self.has_credentials:
            return _no_credentials(channel)
        if account is not None and account not in self.accounts:
            return _no_account(account, self.accounts)
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


def _no_account(name: str, accounts: tuple[str, ...]) -> Rejected:
    return Rejected(
        f"no account is called {name!r} here; WSG_ACCOUNT_NAME and WSG_ACCOUNTS name "
        f"{', '.join(accounts)}",
        code="account_unknown",
        field="account",
        found=name,
        allowed=list(accounts),
    )


def _no_credentials(channel: Channel) -> Rejected:
    return Rejected(
        f"channel {channel} is private, and no Bybit credentials are configured; "
        "set WSG_BYBIT_API_KEY and WSG_BYBIT_API_SECRET and start the gateway again",
        code="credentials_missing",
        field="channel",
        found=channel.value,
        allowed=[channel.value for channel in PUBLIC_CHANNELS],
    )
