"""Failures as ``metav1.Status``: what went wrong, where, and what a person can do next.

StatusError is the one root of everything that may be answered to a caller; handlers raise it, the edge writes it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    408: "RequestTimeout",
    409: "Conflict",
    410: "Gone",
    412: "PreconditionFailed",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    416: "RequestedRangeNotSatisfiable",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "Timeout",
    507: "InsufficientStorage",
}


def legible(text: str) -> str:
    """What a caller wrote, as it may stand in an answer: halves of surrogate pairs, which UTF-8 has not, are spelt out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of ``details.causes``: the field (or path of an entry), a CamelCase reason, and a sentence."""

    field: str
    reason: str
    message: str


class StatusError(Exception):
    """A failure that is answered as metav1.Status. ``message`` ends with the next step where a person can act."""

    def __init__(  # noqa: PLR0913 - the parts of an answer, by their names
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        causes: Sequence[Cause] = (),
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or _REASONS.get(code, "InternalError")
        self.causes = tuple(causes)
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        """What the answer says beside its body, such as Content-Range of a 416."""

    def body(self) -> dict[str, Any]:
        details: dict[str, Any] = {}
        if self.causes:
            details["causes"] = [
                {"field": legible(c.field), "reason": c.reason, "message": legible(c.message)} for c in self.causes
            ]
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": legible(self.message),
            "reason": self.reason,
            "code": self.code,
        }
        if details:
            status["details"] = details
        return status

    @classmethod
    def from_body(cls, code: int, body: Any) -> StatusError:
        """What a server answered, read back; a body that is no Status becomes a message of at most 300 characters."""
        if isinstance(body, dict) and body.get("kind") == "Status":
            details = body.get("details") or {}
            causes = [
                Cause(str(c.get("field", "")), str(c.get("reason", "")), str(c.get("message", "")))
                for c in details.get("causes") or ()
                if isinstance(c, dict)
            ]
            retry = details.get("retryAfterSeconds")
            return cls(
                code,
                str(body.get("message") or f"HTTP {code}"),
                reason=str(body.get("reason") or "") or None,
                causes=causes,
                retry_after=retry if isinstance(retry, int) else None,
            )
        return cls(code, f"HTTP {code}: {str(body)[:300]}")
