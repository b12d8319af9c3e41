"""`WSG_ACCOUNTS`: key pairs of further accounts, and what is wrong with them in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ws_gateway.cli import _secrets_of
from ws_gateway.errors import ConfigError
from ws_gateway.settings_source import load_settings

FIRST = {"WSG_BYBIT_API_KEY": "first-key", "WSG_BYBIT_API_SECRET": "first-secret"}
PAIR = {"api_key": "hedge-key", "api_secret": "hush-hush"}


def environ(accounts: object) -> dict[str, str]:
    """Return settings with these accounts beside the first."""
    return {**FIRST, "WSG_ACCOUNTS": json.dumps(accounts)}


def test_accounts_are_read_in_their_order_behind_the_first() -> None:
    """The first one keeps its name and its pair."""
    settings = load_settings(environ({"hedge": PAIR, "arb": {"api_key": "b", "api_secret": "c"}}))
    assert settings.account_names == ("main", "hedge", "arb")
    assert [(one.key, one.secret) for one in settings.further_accounts] == [
        ("hedge-key", "hush-hush"),
        ("b", "c"),
    ]


def test_each_half_may_come_from_a_file_that_is_named_for_later(tmp_path: Path) -> None:
    """The newline at its end is no part of it."""
    key, secret = tmp_path / "key", tmp_path / "secret"
    key.write_text("k\n")
    secret.write_text("s\n")
    fields = {"api_key_file": str(key), "api_secret_file": str(secret)}
    (one,) = load_settings(environ({"hedge": fields})).further_accounts
    assert (one.key, one.secret, one.key_file, one.secret_file) == ("k", "s", key, secret)


def test_no_secret_is_shown_or_logged() -> None:
    """Not by `repr`, and each is known to who cleans log lines."""
    settings = load_settings(environ({"hedge": PAIR}))
    shown = repr(settings) + repr(settings.further_accounts)
    assert "hush-hush" not in shown
    assert "hedge-key" not in shown
    assert "hush-hush" not in _secrets_of(settings).redact("it is hush-hush and hedge-key")


@pytest.mark.parametrize(
    ("accounts", "words"),
    [
        (
            "[]",
            "WSG_ACCOUNTS: a value that cannot be read, and is not shown; write a JSON object",
        ),
        (
            "{",
            "WSG_ACCOUNTS: a value that cannot be read, and is not shown; write a JSON object",
        ),
        ('{"a b": {}}', "names an account 'a b'; use 1 to 32 letters"),
        ('{"main": {}}', "account 'main' is the name of the first account"),
        ('{"x": {}, "x": {}}', "names 'x' twice"),
        ('{"x": "hush-hush"}', "account 'x' is no JSON object"),
        ('{"x": {"api_key": "k"}}', "account 'x' has no api_secret"),
        ('{"x": {"api_secret": "hush-hush"}}', "account 'x' has no api_key"),
        ('{"x": {"api_key": 5, "api_secret": "s"}}', "account 'x' has no text in api_key"),
        ('{"x": {"api_key": " ", "api_secret": "s"}}', "account 'x' has no text in api_key"),
        ('{"x": {"apikey": "k"}}', "account 'x' has an unknown field 'apikey'; use api_key"),
        ('{"x": {"api_key": "k", "api_key_file": "f"}}', "has both api_key and api_key_file"),
        ('{"x": {"api_key": "k", "api_secret_file": "/hush-hush"}}', "that cannot be read"),
        ('{"x": {"api_key": "first-key", "api_secret": "s"}}', "has the key of WSG_BYBIT_API_KEY"),
        (
            '{"x": {"api_key": "k", "api_secret": "s"}, "y": {"api_key": "k", "api_secret": "s"}}',
            "has the same key as another account",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_without_secrets(accounts: str, words: str) -> None:
    """It names the account and the field."""
    with pytest.raises(ConfigError) as refused:
        load_settings({**FIRST, "WSG_ACCOUNTS": accounts})
    assert words in str(refused.value)
    assert "hush-hush" not in str(refused.value)


def test_further_accounts_need_the_first() -> None:
    """Else nobody could say which account a wish without a name means."""
    with pytest.raises(ConfigError, match="names further accounts"):
        load_settings({"WSG_ACCOUNTS": json.dumps({"hedge": PAIR})})
