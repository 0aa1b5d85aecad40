"""What all three programs read from their environment (ConfigMap ``sandbox-config``, the downward API), checked once at start."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sandbox_operator.errors import SettingsError
from sandbox_protocol.names import SYSTEM_NAMESPACE
from sandbox_protocol.refs import Refs

_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
# `<port>-<id>.` takes 33 of the 253 characters of a DNS name.
_DOMAIN_LENGTH = 220


@dataclass(frozen=True, slots=True)
class Preview:
    """Where previews are seen from outside: ``<scheme>://<port>-<id>.<base_domain>[:<port>]``."""

    base_domain: str
    scheme: Literal["http", "https"]
    port: int

    @property
    def port_suffix(self) -> str:
        """``:8090``, or nothing for the scheme's own port."""
        return "" if self.port == {"http": 80, "https": 443}[self.scheme] else f":{self.port}"

    def url_of(self, refs: Refs) -> str:
        """Of a runner's previews, with ``{port}`` for the port of its app."""
        return f"{self.scheme}://{{port}}-{refs.preview_id}.{self.base_domain}{self.port_suffix}"


@dataclass(frozen=True, slots=True)
class Settings:
    preview: Preview
    namespace: str
    """Of the program itself: Leases, serving certificates and signing keys live there."""
    identity: str
    """Unique among the replicas: the pod's name, else host and process id."""


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError with the variable, what it holds and what it should."""
    domain = environ.get("PREVIEW_BASE_DOMAIN", "preview.localhost").lower()
    if not _DOMAIN.fullmatch(domain) or len(domain) > _DOMAIN_LENGTH:
        raise SettingsError(f"PREVIEW_BASE_DOMAIN is {domain!r}: want a DNS name of at most {_DOMAIN_LENGTH} characters")
    return Settings(
        preview=Preview(domain, _scheme(environ.get("PREVIEW_SCHEME", "https")), _port(environ.get("PREVIEW_PORT", "443"))),
        namespace=environ.get("POD_NAMESPACE") or SYSTEM_NAMESPACE,
        identity=environ.get("POD_NAME") or f"{os.uname().nodename}-{os.getpid()}",
    )


def _scheme(text: str) -> Literal["http", "https"]:
    if text == "http":
        return "http"
    if text == "https":
        return "https"
    raise SettingsError(f"PREVIEW_SCHEME is {text!r}: want http or https")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise SettingsError(f"PREVIEW_PORT is {text!r}: want a number between 1 and 65535")
    return int(text)
