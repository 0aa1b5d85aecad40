"""Where the runtime of a SandboxRunner lives. The one place that computes it.

Guarantees, whatever the runner is called and whatever its status says:

* the result depends on ``metadata.uid`` alone: a UID is chosen by the API server and never reused, a name can be both;
* two runners never share a namespace, and a re-created runner never meets its predecessor's dying one;
* every result is a legal DNS label, or :class:`ValueError` is raised: an odd UID never becomes an odd API path.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from dataclasses import dataclass

from sandbox_protocol import names

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PREVIEW_LABEL = re.compile(r"([1-9][0-9]{0,4})-([a-z2-7]{26})")


def _checked(uid: str) -> str:
    if not _UUID.fullmatch(uid):
        raise ValueError(f"not the UID of a Kubernetes object: {uid[:80]!r}")
    return uid


@dataclass(frozen=True, slots=True)
class Refs:
    """Names of one runner's runtime objects; everything else has a fixed name in :mod:`sandbox_protocol.names`."""

    uid: str

    def __post_init__(self) -> None:
        _checked(self.uid)

    @property
    def namespace(self) -> str:
        return f"sandbox-{self.uid}"

    @property
    def control_host(self) -> str:
        """DNS name of the control Service; also the one subject alternative name of the agent's certificate."""
        return f"{names.CONTROL_SERVICE}.{self.namespace}.svc"

    @property
    def preview_host(self) -> str:
        """DNS name of the preview Service inside the cluster (not the public preview host)."""
        return f"{names.PREVIEW_SERVICE}.{self.namespace}.svc"

    @property
    def preview_id(self) -> str:
        """The UID in 26 characters of lower-case base32, for the public preview host."""
        return base64.b32encode(uuid.UUID(self.uid).bytes).decode().rstrip("=").lower()

    def public_host(self, port: int, base_domain: str) -> str:
        """``<port>-<id>.<base domain>``: one origin per runner and port, so that cookies and storage never mix."""
        if not 1 <= port <= 65535:
            raise ValueError(f"port {port} is not between 1 and 65535")
        return f"{port}-{self.preview_id}.{base_domain}"


def from_public_host(host: str, base_domain: str) -> tuple[Refs, int]:
    """The runner and the app's port that a public preview host means; ValueError for any other host.

    ``host`` may carry a port of its own (``…:8090``), as the Host header does; it is ignored.
    """
    label, _, rest = host.lower().partition(":")[0].partition(".")
    match = _PREVIEW_LABEL.fullmatch(label)
    if rest != base_domain or match is None or not 1 <= int(match[1]) <= 65535:
        raise ValueError(f"not a preview host below {base_domain}: {host[:80]!r}")
    try:
        raw = base64.b32decode(match[2].upper() + "=" * 6)
    except binascii.Error as error:
        raise ValueError(f"not a preview host below {base_domain}: {host[:80]!r}") from error
    refs = Refs(str(uuid.UUID(bytes=raw)))
    if refs.preview_id != match[2]:  # the last base32 character carries two spare bits: one spelling only
        raise ValueError(f"not a preview host below {base_domain}: {host[:80]!r}")
    return refs, int(match[1])
