"""The certificate of the HTTP API: read at the start, and again when it was renewed."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import structlog

from ws_gateway.errors import ConfigError
from ws_gateway.runtime.certificate import UNENCRYPTED, chain_ends_at, key_is_encrypted

LOOK_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class Certificate:
    """What callers are shown over TLS; connections that stand keep the one they were shown.

    Args:
        certificate_file: the chain, PEM, the server's own first.
        key_file: its private key, PEM.
        look_seconds: between two looks at the files.

    Attributes:
        context: for the server.
        ends_at: when the first certificate of the chain in use ends, aware.

    Raises:
        ConfigError: a file cannot be read, the key is encrypted, or the two do not belong together.
    """

    def __init__(
        self, certificate_file: Path, key_file: Path, *, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._files = (certificate_file, key_file)
        self._look_seconds = look_seconds
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._stamps()
        if key_is_encrypted(key_file):
            raise ConfigError("WSG_HTTP_KEY_FILE", f"{key_file} is encrypted", UNENCRYPTED)
        try:
            self._load()
        except (OSError, ValueError) as exc:
            raise ConfigError(
                "WSG_HTTP_CERTIFICATE_FILE",
                f"{certificate_file} and {key_file} are no certificate with its key ({exc})",
                "name a PEM file with the chain, and one with its private key",
            ) from exc

    async def run(self) -> None:
        """Look until cancelled; what cannot be used leaves the present certificate in use."""
        while True:
            await asyncio.sleep(self._look_seconds)
            stamps = self._stamps()
            if stamps == self._seen:
                continue
            self._seen = stamps
            try:
                self._load()
            except (
                OSError,
                ValueError,
            ) as exc:  # perhaps written half; another change is another look
                _log.warning("api.certificate_not_renewed", why=str(exc))
            else:
                _log.info("api.certificate_renewed", file=str(self._files[0]))

    def _load(self) -> None:
        certificate, key = self._files
        ends_at = chain_ends_at(certificate)
        # A trial first: a chain whose key does not fit would already be in the context.
        for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):
            # Without an answer the library would ask for a passphrase on the terminal, and wait.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        self.ends_at = ends_at

    def _stamps(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
