"""TLS in front of servers that speak none: a throwaway authority, and ends of real TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

from support.relay import relay_to, to_postgres

_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # PostgreSQL docs, Message Formats


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority for one test, as files.

    Attributes:
        authority: who vouches.
        ca_file: what clients are to believe.
        certificate_file, key_file: of a server called `localhost`, also at 127.0.0.1.
    """

    authority: trustme.CA
    ca_file: Path
    certificate_file: Path
    key_file: Path

    @classmethod
    def made(cls, folder: Path) -> Authority:
        """Make one, and a certificate it vouches for."""
        folder.mkdir()
        files = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
        made = cls(trustme.CA(), *files)
        made.authority.cert_pem.write_to_path(made.ca_file)
        made.renew()
        return made

    def renew(self, *, until: datetime | None = None) -> None:
        """Put another certificate and its key where the files are."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1", not_after=until)
        self.certificate_file.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key_file)

    def server(self) -> ssl.SSLContext:
        """Return what a server shows."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate_file, self.key_file)
        return context

    def client(self) -> ssl.SSLContext:
        """Return what a client believes: this authority and no other."""
        return ssl.create_default_context(cafile=str(self.ca_file))


def encrypted_key(plain: Path, file: Path) -> Path:
    """Write a private key so that only a passphrase opens it; answers the file."""
    key = serialization.load_pem_private_key(plain.read_bytes(), password=None)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"nobody types this"),
        )
    )
    return file


@asynccontextmanager
async def tls_before(host: str, port: int, shown: ssl.SSLContext) -> AsyncIterator[int]:
    """Speak TLS on a free port and forward what is inside; answers the port."""
    async with relay_to(lambda: asyncio.open_connection(host, port), shown=shown) as taken:
        yield taken


@asynccontextmanager
async def tls_before_postgres(url: str, shown: ssl.SSLContext) -> AsyncIterator[int]:
    """Do so in front of a PostgreSQL on a unix socket: TLS begins when the client asks for it.

    A client that does not ask is turned away.
    """

    async def greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                return False
            writer.write(b"S")
            await writer.start_tls(shown)
        except (OSError, EOFError):
            return False
        return True

    async with relay_to(to_postgres(url), greeting=greeting) as taken:
        yield taken
