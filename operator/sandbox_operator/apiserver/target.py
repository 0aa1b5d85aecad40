"""What a request path means: which runner, which verb. Pure, and the only place where a path is taken apart.

Every segment is unescaped once and then must be a DNS name; so nothing that came in a path can add a segment, a query or a ``..``
to a URL that we build later. Only what follows ``proxy/`` stays as it was sent: it belongs to the app.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from sandbox_protocol import names
from sandbox_protocol.dns_names import name_fault, namespace_fault
from sandbox_protocol.errors import StatusError

PREFIX = f"/apis/{names.SUBRESOURCE_GROUP}/{names.VERSION}"

# Of a path prefix that means a runner: namespaces/{ns}/sandboxrunners/{name}/{verb}
_SEGMENTS = 5


@dataclass(frozen=True, slots=True)
class Target:
    """``verb`` is the subresource as asked for, known or not; ``rest`` is the raw path below it with its slash, or empty."""

    namespace: str
    name: str
    verb: str
    rest: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def parse(raw_path: str) -> Target:
    """The target of a request path (still percent-encoded, without query). StatusError 404 for every path that names no verb."""
    rest = raw_path.removeprefix(PREFIX + "/")
    parts = rest.split("/", _SEGMENTS)
    if rest == raw_path or len(parts) < _SEGMENTS or parts[0] != "namespaces" or parts[2] != names.PLURAL:
        raise StatusError(404, "the server could not find the requested resource")
    below = f"/{parts[_SEGMENTS]}" if len(parts) > _SEGMENTS else ""
    return Target(
        _checked(parts[1], namespace_fault, "namespace"),
        _checked(parts[3], name_fault, "name"),
        _checked(parts[4], namespace_fault, "subresource"),
        below,
    )


def _checked(segment: str, fault: Callable[[str], str], what: str) -> str:
    text = unquote_to_bytes(segment).decode("ascii", "replace")
    if fault(text):
        raise StatusError(404, f"the {what} in the path is not a DNS name: {text[:80]!r}")
    return text
