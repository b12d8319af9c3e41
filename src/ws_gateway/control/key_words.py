"""What a key looks like: `wsg_<id>_<secret>`, made of letters and digits that are hard to mistake.

The id is public and finds the key. The secret has 260 random bits, so a plain digest of it is
enough: a slow hash protects secrets that can be guessed, and would cost every request dearly.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple

from pydantic import SecretStr

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_ID_LENGTH, _SECRET_LENGTH = 12, 52
_KEY = re.compile(rb"wsg_([0-9a-z]{%d})_([0-9a-z]{%d})" % (_ID_LENGTH, _SECRET_LENGTH))
KEY_ID_PATTERN = rf"^[0-9a-z]{{{_ID_LENGTH}}}$"


class KeyParts(NamedTuple):
    """A key taken apart: its public id, and the digest of its secret."""

    id: str
    digest: bytes


def make_key() -> tuple[KeyParts, SecretStr]:
    """Make a key up; answers what to store of it, and the key itself, to be shown once."""
    key_id, secret = _random(_ID_LENGTH), _random(_SECRET_LENGTH)
    return KeyParts(key_id, digest_of(secret.encode())), SecretStr(f"wsg_{key_id}_{secret}")


def read_key(word: bytes) -> KeyParts | None:
    """Take a key apart; None if it is not of this form."""
    found = _KEY.fullmatch(word)
    return None if found is None else KeyParts(found[1].decode(), digest_of(found[2]))


def digest_of(secret: bytes) -> bytes:
    """Return the SHA-256 digest, 32 bytes."""
    return hashlib.sha256(secret).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
