"""The key pairs of further accounts, as `WSG_ACCOUNTS` names them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ws_gateway.errors import ConfigError

UNSHOWN = "a value that cannot be read, and is not shown"
"""What is said of a malformed value in place of the value."""

SETTING = "WSG_ACCOUNTS"
EXAMPLE = '{"hedge": {"api_key": "…", "api_secret": "…"}}'

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_FIELDS = ("api_key", "api_secret")
_ALLOWED = (*_FIELDS, *(f"{name}_file" for name in _FIELDS))


@dataclass(frozen=True, slots=True)
class AccountKeys:
    """One further account; the secret stays out of `repr`, and so does most of the key.

    Attributes:
        name: as in events, rows and filters.
        key_file, secret_file: where each half was read from; None for one that was given itself.
    """

    name: str
    key: str = field(repr=False)
    secret: str = field(repr=False)
    key_file: Path | None = None
    secret_file: Path | None = None


def read_accounts(text: str, first: str) -> tuple[AccountKeys, ...]:
    """Read the setting, in its order.

    Args:
        text: a JSON object of accounts by name.
        first: name of the account that `WSG_BYBIT_API_KEY` is of.

    Raises:
        ConfigError: it is malformed; the text names account and field, and never what they hold.
    """
    try:
        found = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(SETTING, UNSHOWN, f"write a JSON object like {EXAMPLE}")
    accounts = tuple(_account(name, fields, first) for name, fields in found.items())
    keys = [one.key for one in accounts]
    for one in accounts:
        if keys.count(one.key) > 1:
            raise _fault(one.name, "has the same key as another account", "name each pair once")
    return accounts


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that is there twice, of which JSON would keep the last alone."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(SETTING, f"names {name[:40]!r} twice", "name each account once")
    return dict(pairs)


def _account(name: str, fields: object, first: str) -> AccountKeys:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            SETTING, f"names an account {name[:40]!r}", "use 1 to 32 letters, digits, _ and -"
        )
    if name == first:
        raise _fault(
            name,
            "is the name of the first account, whose pair is WSG_BYBIT_API_KEY and _SECRET",
            "choose another name here or in WSG_ACCOUNT_NAME",
        )
    if not isinstance(fields, dict):
        raise _fault(name, "is no JSON object", f"write it as in {EXAMPLE}")
    for one, value in fields.items():
        if one not in _ALLOWED:
            raise _fault(name, f"has an unknown field {one[:40]!r}", f"use {', '.join(_ALLOWED)}")
        if not isinstance(value, str) or not value.strip():
            raise _fault(name, f"has no text in {one}", "give it a value, or leave it out")
    key, key_file = _half(name, "api_key", fields)
    secret, secret_file = _half(name, "api_secret", fields)
    return AccountKeys(name, key, secret, key_file, secret_file)


def _half(account: str, name: str, fields: dict[str, str]) -> tuple[str, Path | None]:
    given, file = fields.get(name), fields.get(f"{name}_file")
    if given is not None and file is not None:
        raise _fault(account, f"has both {name} and {name}_file", "keep one of the two")
    if given is not None:
        return given.strip(), None
    if file is None:
        raise _fault(account, f"has no {name}", f"give {name} or {name}_file")
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        # Not the path itself where no file is: it may be a secret that was put in its place.
        why = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise _fault(
            account, f"has a file in {name}_file that cannot be read ({why})",
            "name a readable text file",
        ) from None  # fmt: skip
    if not text:
        raise _fault(account, f"has an empty file in {name}_file", "write the value into it")
    return text, path


def _fault(account: str, found: str, remedy: str) -> ConfigError:
    return ConfigError(SETTING, f"account {account!r} {found}", remedy)
