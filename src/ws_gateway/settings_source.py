"""Where settings come from: the only reader of the environment, and its faults in words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ws_gateway.account_keys import UNSHOWN, AccountKeys, read_accounts
from ws_gateway.config import PREFIX, SECRETS, Settings
from ws_gateway.domain.topic import Category
from ws_gateway.errors import ConfigError


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read `WSG_*` from the environment.

    Args:
        environ: read this instead of the process environment.

    Raises:
        ConfigError: an unknown name, a malformed value, or a secret's file that cannot be read;
            the text names the setting, what was found, and what to do.
    """
    source = dict(os.environ if environ is None else environ)
    values: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for name in sorted(source):
        if name.startswith(PREFIX) and source[name] != "":
            field, value = _read(name, source)
            values[field] = value
            if field != name.removeprefix(PREFIX).lower():
                files[field] = Path(source[name])
    try:
        # Only what was read above: init values win over pydantic's own look at the process
        # environment, and the settings sources below are cut off so that nothing else is read.
        settings = _FromMapping(**values)
    except ValidationError as exc:
        # Not `from exc`: its text repeats the input, and the input may be a URL with a password.
        raise _first_fault(exc) from None
    _check_pairs(settings)
    settings._files.update(files)  # noqa: SLF001 - the only builder of what it builds
    settings._further = _further(settings)  # noqa: SLF001 - same
    return settings


def _further(settings: Settings) -> tuple[AccountKeys, ...]:
    if settings.accounts is None:
        return ()
    further = read_accounts(settings.accounts.get_secret_value(), settings.account_name)
    if not further:
        return ()
    if settings.bybit_api_key is None:
        raise ConfigError(
            "WSG_BYBIT_API_KEY",
            "missing while WSG_ACCOUNTS names further accounts",
            "set it and WSG_BYBIT_API_SECRET to the first account's pair",
        )
    first = settings.bybit_api_key.get_secret_value().strip()
    for one in further:
        if one.key == first:
            raise ConfigError(
                "WSG_ACCOUNTS",
                f"account {one.name!r} has the key of WSG_BYBIT_API_KEY",
                "name each pair once",
            )
    return further


class _FromMapping(Settings):
    """Settings that come from arguments alone."""

    @classmethod
    def settings_customise_sources(cls, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        return (kwargs["init_settings"],) if "init_settings" in kwargs else (args[1],)


def _read(name: str, source: Mapping[str, str]) -> tuple[str, str]:
    field = name.removeprefix(PREFIX).lower()
    if field in Settings.model_fields:
        return field, source[name]
    base = field.removesuffix("_file")
    if field.endswith("_file") and base in SECRETS:
        if source.get(PREFIX + base.upper()):
            raise ConfigError(name, f"{PREFIX}{base.upper()} is set too", "keep one of the two")
        path = Path(source[name])
        try:
            return base, path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(
                name, f"the file {str(path)!r} cannot be read ({exc})", "name a readable text file"
            ) from exc
    raise ConfigError(name, "no such setting", _nearest(field))


def _nearest(field: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only needed on the way out

    close = get_close_matches(field, Settings.model_fields, n=1)
    hint = f"did you mean {PREFIX}{close[0].upper()}? " if close else ""
    return f"{hint}run `ws-gateway default-env` for the list, or unset it"


def _first_fault(exc: ValidationError) -> ConfigError:
    fault = exc.errors()[0]
    field = str(fault["loc"][0])
    # An @ means a login in a URL where none belongs; it is a secret all the same.
    may_hold_secret = field in SECRETS or "@" in str(fault["input"])
    found = UNSHOWN if may_hold_secret else f"found {fault['input']!r}"
    if fault["type"] == "enum":
        remedy = f"use one of {fault['ctx']['expected']}"
    elif fault["type"] in _NUMBERS:
        remedy = _number_remedy(field)
    elif fault["type"] == "bool_parsing":
        remedy = "write true or false"
    else:
        remedy = fault["msg"].removeprefix("Value error, ")
        remedy = remedy[0].lower() + remedy[1:]
    return ConfigError(PREFIX + field.upper(), found, remedy)


_BOUND_FAULTS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_NUMBERS = frozenset(
    ("int_parsing", "int_from_float", "float_parsing", "finite_number", *_BOUND_FAULTS)
)
"""Faults of a number; pydantic's words are about parsing, or about one bound alone."""

_BOUNDS = (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below"))


def _number_remedy(field: str) -> str:
    known = Settings.model_fields[field]
    kind = "a whole number" if known.annotation in (int, int | None) else "a number"
    words = [
        f"{word} {value}"
        for name, word in _BOUNDS
        for limit in known.metadata
        if (value := getattr(limit, name, None)) is not None
    ]
    return " ".join([f"write {kind}", *words])


def _check_pairs(settings: Settings) -> None:
    if not settings.enabled_categories:
        raise ConfigError(
            "WSG_ENABLED_CATEGORIES", "names no category", f"name some of {', '.join(Category)}"
        )
    if settings.record_file_max_bytes * 2 > settings.record_max_bytes:
        raise ConfigError(
            "WSG_RECORD_FILE_MAX_BYTES",
            f"found {settings.record_file_max_bytes}, of WSG_RECORD_MAX_BYTES"
            f" {settings.record_max_bytes} in all",
            "let at least two files fit",
        )
    default = settings.default_category
    is_chosen = "default_category" in settings.model_fields_set
    if is_chosen and default not in settings.enabled_categories:
        raise ConfigError(
            "WSG_DEFAULT_CATEGORY",
            f"found {default.value!r}, which WSG_ENABLED_CATEGORIES does not name",
            "name one that is enabled",
        )
    for name in SECRETS:
        secret_value = getattr(settings, name)
        if secret_value is not None and not secret_value.get_secret_value().strip():
            raise ConfigError(PREFIX + name.upper(), "is blank", "give it a value, or unset it")
    key, secret = settings.bybit_api_key, settings.bybit_api_secret
    if (key is None) != (secret is None):
        missing = "WSG_BYBIT_API_SECRET" if secret is None else "WSG_BYBIT_API_KEY"
        raise ConfigError(missing, "missing while its other half is set", "set both or neither")
    if (settings.http_certificate_file is None) != (settings.http_key_file is None):
        is_key = settings.http_key_file is None
        missing = "WSG_HTTP_KEY_FILE" if is_key else "WSG_HTTP_CERTIFICATE_FILE"
        raise ConfigError(missing, "missing while its other half is set", "set both or neither")
