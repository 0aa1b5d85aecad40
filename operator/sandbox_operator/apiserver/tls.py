"""The serving side of TLS: certificate and client CA are replaced while connections go on.

A context cannot forget a CA, so each change makes a new one, and every handshake is moved to the newest by OpenSSL's server-name
callback. Sessions are never resumed: a resumed one would bring a client certificate back that was verified by an older CA.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from sandbox_protocol import names

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The content of the mounted Secret, so that a change is seen whatever the kubelet did to the files."""

    certificate: bytes
    key: bytes


def read(folder: Path) -> KeyPair:
    """OSError while the Secret is not there."""
    return KeyPair((folder / names.SECRET_TLS_CERT).read_bytes(), (folder / names.SECRET_TLS_KEY).read_bytes())


class ServingTls:
    """``context`` is given to the listener once; :meth:`update` changes what the next handshakes use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: tuple[KeyPair, str | None] | None = None
        self._current = self.context = _context()
        self.context.sni_callback = self._switch

    def update(self, client_ca: str | None) -> None:
        """Reads the folder again. What cannot be used is logged and leaves everything as it was; the first time it raises
        OSError or ssl.SSLError."""
        try:
            wanted = (read(self._folder), client_ca)
            if wanted == self._used:
                return
            made = _context()
            made.load_cert_chain(self._folder / names.SECRET_TLS_CERT, self._folder / names.SECRET_TLS_KEY)
            if client_ca is not None:
                made.load_verify_locations(cadata=client_ca)
        except (OSError, ssl.SSLError):
            if self._used is None:
                raise
            _LOG.exception("cannot use the new serving certificate or client CA; going on with the old")
            return
        self._current, self._used = made, wanted

    def _switch(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _base: ssl.SSLContext) -> None:
        connection.context = self._current


def _context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_mode = ssl.CERT_OPTIONAL
    made.options |= ssl.OP_NO_TICKET
    made.num_tickets = 0
    made.set_alpn_protocols(["http/1.1"])
    return made
