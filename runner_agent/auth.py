"""Who may speak to the control port, and with which key it answers; both follow the mounted Secret without a restart.

The kubelet swaps a Secret's files at once (a symbolic link), some time after it changed. A request with a token that is not
known makes the agent look again before it refuses, so a rotated token works with its first use; the old one ends with that, or
with the next look of :meth:`Credentials.watch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import ssl
import time
from pathlib import Path

from sandbox_protocol import names
from sandbox_protocol.errors import StatusError

_LOOK_EVERY = 2.0
"""Seconds between two looks at the files."""
_LOOK_AGAIN = 0.2
"""Seconds between looks that wrong tokens cause: whoever guesses gets no more than five reads a second out of us."""

log = logging.getLogger(__name__)


class Credentials:
    """Token and certificate below ``folder`` (names of the control Secret). OSError or ssl.SSLError without a good pair."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._token = b""
        self._pair = (b"", b"")
        self._looked = 0.0
        self.tls = _context()
        self._load_pair(self._read_pair())
        self.look()

    def look(self) -> None:
        """Takes what the files hold now; a pair that does not fit together keeps the old one, until they do. Blocks."""
        try:
            self._token = (self._folder / names.SECRET_TOKEN).read_bytes().strip()
        except OSError as error:
            log.error("the token cannot be read, so every request will be refused: %s", error)
            self._token = b""
        try:
            pair = self._read_pair()
            if pair != self._pair:
                _context().load_cert_chain(*self._files())  # tried out: a bad pair would leave the live context without a key
                self._load_pair(pair)
                log.info("serving with a new certificate")
        except (OSError, ssl.SSLError) as error:
            log.error("the certificate cannot be loaded, the former one stays: %s", error)

    def _files(self) -> tuple[Path, Path]:
        return self._folder / names.SECRET_TLS_CERT, self._folder / names.SECRET_TLS_KEY

    def _read_pair(self) -> tuple[bytes, bytes]:
        cert, key = self._files()
        return cert.read_bytes(), key.read_bytes()

    def _load_pair(self, pair: tuple[bytes, bytes]) -> None:
        self.tls.load_cert_chain(*self._files())
        self._pair = pair

    async def watch(self) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await asyncio.to_thread(self.look)

    async def check(self, authorization: str | None) -> None:
        """StatusError 401 unless the header carries the token; how long that takes does not tell how much of it is right."""
        scheme, _, sent = (authorization or "").partition(" ")
        given = sent.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() != "bearer" or not given:  # an empty one would equal the token that could not be read
            raise StatusError(401, "this port needs 'Authorization: Bearer <token>'; use the subresources of the SandboxRunner")
        if self._is(given):
            return
        now = time.monotonic()
        if now - self._looked > _LOOK_AGAIN:
            self._looked = now
            await asyncio.to_thread(self.look)
            if self._is(given):
                return
        raise StatusError(401, "the token is not this runner's; read the control Secret again")

    def _is(self, given: bytes) -> bool:
        return hmac.compare_digest(given, self._token)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # the one client is our own API server, and the kubelet's probes
    with contextlib.suppress(NotImplementedError):
        context.set_alpn_protocols(["http/1.1"])
    return context
