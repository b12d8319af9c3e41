"""How the commands on keys read their options, without a database."""

from __future__ import annotations

import pytest

from ws_gateway.errors import Fatal
from ws_gateway.key_commands import KeyWishes, create_key, parse_duration
from ws_gateway.settings_source import load_settings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("30m", 1800), ("24h", 86_400), ("90d", 7_776_000), ("2w", 1_209_600)],
)
def test_durations_are_a_number_and_a_unit(text: str, seconds: int) -> None:
    """Seconds, minutes, hours, days, weeks."""
    assert parse_duration("--expires-in", text) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1.5h", "1 h", "1y", "1h30m", "9999999999s"])
def test_anything_else_is_refused_in_one_sentence(text: str) -> None:
    """It names the option, what was found, and how to write it."""
    with pytest.raises(Fatal) as caught:
        parse_duration("--overlap", text)
    assert str(caught.value).startswith(f"--overlap: found {text!r}; write a duration like")


@pytest.mark.parametrize(
    ("wishes", "option"),
    [
        (KeyWishes("n", (), (), "soon", None, None), "--expires-in"),
        (KeyWishes(None, (), (), None, "3k9f2m7q1xzd", "soon"), "--overlap"),
        (KeyWishes("n", (), (), None, None, "1h"), "--overlap"),
        (KeyWishes(None, (), (), None, None, None), "--name"),
        (KeyWishes("n", (), (), None, "3k9f2m7q1xzd", None), "--rotates"),
        (KeyWishes(None, ("s",), (), None, "3k9f2m7q1xzd", None), "--rotates"),
    ],
)
async def test_options_that_cannot_be_are_told_before_anything_is_opened(
    wishes: KeyWishes, option: str
) -> None:
    """Neither a database is started nor a key made."""
    settings = load_settings({"WSG_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    with pytest.raises(Fatal) as caught:
        await create_key(settings, wishes, as_json=False)
    assert str(caught.value).startswith(option + ": ")
