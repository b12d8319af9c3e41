"""Signatures, against the vectors of the reference."""

from __future__ import annotations

from typing import Any

import pytest

from bybit_sim.signing import check_rest, is_signed_by, read_login, sign, websocket_text

KEY, SECRET = "bybit_test_key", "bybit_test_secret"
EXPIRES = 1662350400000
SIGNATURE = "45e9dff2c95bef2550b506cc8ea9f007229d3d1d51b01d81e04b70f779797cb6"
GET_TS = 1658384314791
GET_QUERY = "category=linear&symbol=BTCUSDT"
GET_SIGNATURE = "bb0844e393636eec7bd9fecd19f61a1b380ee10929477b86a01bc01f28eec4e4"


def rest_headers(**changes: str) -> dict[str, str]:
    """Return the headers of the reference's GET vector, with changes."""
    headers = {
        "X-BAPI-API-KEY": KEY,
        "X-BAPI-TIMESTAMP": str(GET_TS),
        "X-BAPI-RECV-WINDOW": "5000",
        "X-BAPI-SIGN": GET_SIGNATURE,
    }
    return headers | {f"X-BAPI-{name.replace('_', '-')}": text for name, text in changes.items()}


def test_websocket_vector() -> None:
    """The signed text is GET/realtime and expires, the digest lower-case hex."""
    assert sign(SECRET, websocket_text(EXPIRES)) == SIGNATURE


@pytest.mark.parametrize("expires", [EXPIRES, str(EXPIRES)])
def test_expires_may_be_number_or_text(expires: int | str) -> None:
    """Both spellings of expires are accepted and verified."""
    login = read_login([KEY, expires, SIGNATURE], EXPIRES - 1)
    assert login is not None
    assert is_signed_by(SECRET, login)
    assert not is_signed_by("another secret", login)


@pytest.mark.parametrize(
    "args",
    [
        None,
        [],
        [KEY, EXPIRES],
        [KEY, EXPIRES - 1, SIGNATURE],
        [KEY, EXPIRES, 5],
        [KEY, "soon", SIGNATURE],
        [KEY, True, SIGNATURE],
        [KEY, float(EXPIRES), SIGNATURE],
        [None, EXPIRES, SIGNATURE],
    ],
)
def test_malformed_or_expired_login(args: Any) -> None:
    """Anything but a key, a future expires and a signature is a Params Error."""
    assert read_login(args, EXPIRES - 1) is None


def test_rest_vector_is_accepted() -> None:
    """The reference's GET vector passes."""
    assert check_rest(rest_headers(), GET_QUERY, GET_TS, api_key=KEY, secret=SECRET) is None


@pytest.mark.parametrize(
    ("now_ms", "code"),
    [(GET_TS + 5000, None), (GET_TS + 5001, 10002), (GET_TS - 999, None), (GET_TS - 1000, 10002)],
)
def test_rest_time_window(now_ms: int, code: int | None) -> None:
    """A timestamp may be recv_window old and just under a second ahead."""
    refusal = check_rest(rest_headers(), GET_QUERY, now_ms, api_key=KEY, secret=SECRET)
    assert (refusal.code if refusal else None) == code


def test_rest_unknown_key() -> None:
    """A key that is not the configured one is 10003."""
    refusal = check_rest(
        rest_headers(API_KEY="other"), GET_QUERY, GET_TS, api_key=KEY, secret=SECRET
    )
    assert refusal is not None
    assert (refusal.status, refusal.code) == (200, 10003)


def test_rest_wrong_signature_echoes_the_signed_text() -> None:
    """10004 repeats what should have been signed, key included."""
    refusal = check_rest(rest_headers(), "category=linear", GET_TS, api_key=KEY, secret=SECRET)
    assert refusal is not None
    assert refusal.code == 10004
    assert refusal.message == (f"error sign! origin_string[{GET_TS}{KEY}5000category=linear]")


def test_rest_without_headers() -> None:
    """A call without the headers is an HTTP 401."""
    refusal = check_rest({}, GET_QUERY, GET_TS, api_key=KEY, secret=SECRET)
    assert refusal is not None
    assert refusal.status == 401
