"""Each account's credentials, out of the settings, and out of files again when these change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ws_gateway.config import Settings
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.credentials import CredentialFiles


def credentials_of(settings: Settings) -> tuple[Credentials, ...]:
    """Return a pair per account, the first one first."""
    if settings.bybit_api_key is None or settings.bybit_api_secret is None:
        return ()
    first = Credentials(
        settings.bybit_api_key.get_secret_value(), settings.bybit_api_secret.get_secret_value()
    )
    further = (Credentials(one.key, one.secret, one.name) for one in settings.further_accounts)
    return (first, *further)


def credential_files(
    settings: Settings, credentials: Sequence[Credentials], renew: Callable[[Credentials], None]
) -> tuple[CredentialFiles, ...]:
    """Return what looks at the files of each account's pair, and hands a new one to `renew`."""
    files: dict[str | None, tuple[Path | None, Path | None]] = {
        None: (settings.file_of("bybit_api_key"), settings.file_of("bybit_api_secret")),
        **{one.name: (one.key_file, one.secret_file) for one in settings.further_accounts},
    }
    return tuple(
        CredentialFiles(
            key_file=files[each.account][0],
            secret_file=files[each.account][1],
            current=each,
            renew=renew,
        )
        for each in credentials
    )
