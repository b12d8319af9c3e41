"""When certificates end, and which keys are encrypted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from support.tls import encrypted_key
from ws_gateway.runtime.certificate import (
    authority_ends_at,
    certificates,
    chain_ends_at,
    ends_at,
    key_is_encrypted,
)

AUTHORITY = trustme.CA()
SOON, LATE = datetime(2027, 3, 4, 5, 6, 7, tzinfo=UTC), datetime(2060, 1, 2, tzinfo=UTC)


def issued(until: datetime) -> bytes:
    """Issue a certificate that ends then, PEM."""
    return AUTHORITY.issue_cert("localhost", not_after=until).cert_chain_pems[0].bytes()


@pytest.mark.parametrize("until", [SOON, LATE, datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)])
def test_the_end_of_a_certificate_is_read_in_both_forms_that_a_time_has(until: datetime) -> None:
    """From 2050 on years have four digits in it."""
    (der,) = certificates(issued(until).decode())
    assert ends_at(der) == until


def test_a_chain_ends_with_its_first_and_authorities_end_with_their_last(tmp_path: Path) -> None:
    """Any link that ends breaks the chain; an old authority may stand beside its successor."""
    file = tmp_path / "both.pem"
    file.write_bytes(b"a comment\n" + issued(LATE) + issued(SOON))
    assert chain_ends_at(file) == SOON
    assert authority_ends_at(file) == LATE
    file.write_text("nothing", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no certificate"):
        chain_ends_at(file)


CERTIFICATE = certificates(issued(SOON).decode())[0]


@given(cut=st.integers(0, len(CERTIFICATE)), at=st.integers(0, 200), byte=st.integers(0, 255))
def test_bytes_that_are_no_certificate_are_said_to_be_none(cut: int, at: int, byte: int) -> None:
    """Whatever a server shows: there is a time in it, or one kind of error."""
    mangled = bytearray(CERTIFICATE[:cut])
    if at < len(mangled):
        mangled[at] = byte
    try:
        assert isinstance(ends_at(bytes(mangled)), datetime)
    except ValueError:
        assert bytes(mangled) != CERTIFICATE


def test_an_encrypted_key_is_known_from_a_plain_one(tmp_path: Path) -> None:
    """In the form of today and in the old one; a file that is not there is no such key."""
    plain = tmp_path / "plain.key"
    AUTHORITY.issue_cert("localhost").private_key_pem.write_to_path(plain)
    assert not key_is_encrypted(plain)
    old = tmp_path / "old.key"
    old.write_text(
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: …\n", encoding="utf-8"
    )
    assert key_is_encrypted(encrypted_key(plain, tmp_path / "encrypted.key"))
    assert key_is_encrypted(old)
    assert not key_is_encrypted(tmp_path / "none.key")
