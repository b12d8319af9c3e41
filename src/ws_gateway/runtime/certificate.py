"""When a certificate ends, on disk or as a server shows it, and whether a key is encrypted.

Nothing is believed here and nothing secret is told: one that has ended has to be read, too.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

LOOK_SECONDS = 5.0
"""Longest wait for a server to show its certificate."""

_GOODBYE_SECONDS = 1.0

UNENCRYPTED = (
    "write it without a passphrase, for which nobody is asked here "
    "(openssl pkey -in KEY -out PLAIN), and let this user alone read it"
)
"""What to do about a key that is encrypted."""

_BLOCK = re.compile(
    "-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)  # RFC 7468
_ENCRYPTED = re.compile(
    "-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: *4,ENCRYPTED", re.MULTILINE
)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_LONG = 0x80


def is_encrypted(pem: str) -> bool:
    """Say whether a file of keys holds one that only a passphrase opens."""
    return _ENCRYPTED.search(pem) is not None


def key_is_encrypted(file: Path) -> bool:
    """Say so of a file; one that cannot be read is none, and is refused by who needs it."""
    try:
        return is_encrypted(file.read_text(encoding="latin-1"))
    except OSError:
        return False


def certificates(pem: str) -> list[bytes]:
    """Return the certificates of a file, DER.

    Raises:
        ValueError: a block of it is none.
    """
    return [ssl.PEM_cert_to_DER_cert(block) for block in _BLOCK.findall(pem)]


def ends_at(der: bytes) -> datetime:
    """Return until when a certificate is valid, aware.

    Raises:
        ValueError: it is none.
    """
    # RFC 5280, 4.1: Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serialNumber,
    # signature, issuer, validity SEQUENCE { notBefore, notAfter }, … } … }
    try:
        _, whole = next(_items(der))
        _, tbs = next(_items(whole))
        fields = [item for item in _items(tbs) if item[0] != _VERSION]
        _, (kind, text) = _items(fields[3][1])
        return _moment(kind, text.decode("ascii"))
    except (StopIteration, IndexError, UnicodeDecodeError) as exc:
        raise ValueError("these bytes are no certificate") from exc


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut what stands side by side: tag and contents of each (X.690, DER)."""
    at = 0
    while at < len(der):
        tag, size = der[at], der[at + 1]
        at += 2
        if size & _LONG:
            digits = size & ~_LONG
            size = int.from_bytes(der[at : at + digits], "big")
            at += digits
        if at + size > len(der):
            raise ValueError("these bytes are no certificate: they end too soon")
        yield tag, der[at : at + size]
        at += size


def _moment(kind: int, text: str) -> datetime:
    if kind not in {_UTC_TIME, _GENERALIZED_TIME}:
        raise ValueError(f"a certificate whose end is of kind {kind:#x}")
    if kind == _UTC_TIME:  # RFC 5280, 4.1.2.5.1: two digits of the year, 1950 to 2049
        text = ("19" if text >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def chain_ends_at(file: Path) -> datetime:
    """Return when the first certificate of a chain's file ends.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no certificate.
    """
    return min(_ends(file))


def authority_ends_at(file: Path) -> datetime:
    """Return when the last authority of a file ends: old ones may stand beside their successor.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no certificate.
    """
    return max(_ends(file))


def _ends(file: Path) -> list[datetime]:
    found = [ends_at(one) for one in certificates(file.read_text(encoding="latin-1"))]
    if not found:
        raise ValueError(f"{file} holds no certificate")
    return found


async def shown_ends_at(
    host: str,
    port: int,
    *,
    ask: bytes = b"",
    certificate_file: str | None = None,
    key_file: str | None = None,
) -> datetime:
    """Look when the certificate ends that a server shows; it is told nothing but our own, if any.

    Args:
        host: its name, which is asked for.
        port: where it listens.
        ask: said before TLS begins; the server has to answer `S`.
        certificate_file: ours, PEM, for a server that shows its own to nobody else.
        key_file: its key, None if it is in the same file.

    Raises:
        OSError: it cannot be reached, or TLS fails.
        ValueError: it shows nothing that can be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # One that has ended, or that nobody vouches for, is to be read as well.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with asyncio.timeout(LOOK_SECONDS):  # a TimeoutError is an OSError
        if certificate_file is not None:
            await asyncio.to_thread(
                context.load_cert_chain, certificate_file, key_file, lambda: b""
            )
        reader, writer = await asyncio.open_connection(host, port)
        try:
            if ask:
                writer.write(ask)
                if await reader.readexactly(1) != b"S":
                    raise ValueError(f"{host}:{port} speaks no TLS")
            await writer.start_tls(context, server_hostname=host)
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        except EOFError as exc:
            raise ValueError(f"{host}:{port} ended the connection") from exc
        finally:
            await _say_goodbye(writer)
    if shown is None:
        raise ValueError(f"{host}:{port} shows no certificate")
    return ends_at(shown)


async def _say_goodbye(writer: asyncio.StreamWriter) -> None:
    """End a connection as it should be, or some servers would log each look as a fault."""
    writer.close()
    with suppress(OSError):  # also a TimeoutError: whoever does not answer is cut off
        async with asyncio.timeout(_GOODBYE_SECONDS):
            await writer.wait_closed()
    writer.transport.abort()
