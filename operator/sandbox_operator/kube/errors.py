# ruff: noqa: N818 - named after the reasons of metav1.Status, which everybody who works with Kubernetes knows
"""What an API server refused, one class per answer that somebody catches. Nobody decides by the message text.

::

    ApiError                any refusal, also those without a class of their own
    ├─ Unauthorized         401: token expired or unknown
    ├─ Forbidden            403: RBAC or admission; quota too, see :attr:`ApiError.reason`
    ├─ NotFound             404: the object, its namespace, or the whole kind is missing
    ├─ Conflict             409: stale resourceVersion, foreign field manager, failed precondition
    │  └─ AlreadyExists     409 with that reason
    ├─ Gone                 410: the watch or list position is too old: list again
    ├─ Invalid              422: schema, CEL or strategy refused the object
    ├─ TooManyRequests      429: come back after :attr:`ApiError.retry_after` seconds
    └─ Unavailable          5xx: the server, an aggregated server or etcd is not there right now

These are not :class:`sandbox_protocol.errors.StatusError` on purpose: they name our service accounts and internal objects, so
they must not reach a caller of the aggregated API unless somebody decides so. Network trouble stays what aiohttp raised
(``aiohttp.ClientError``, ``TimeoutError``); :data:`TRANSIENT` names everything worth a retry.
"""

from __future__ import annotations

from typing import Any

import aiohttp

from sandbox_protocol.errors import StatusError


class ApiError(Exception):
    """An API server's refusal; ``causes`` are the entries of ``details.causes`` as (field, message)."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        causes: tuple[tuple[str, str], ...] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.causes = causes
        self.retry_after = retry_after


class Unauthorized(ApiError):
    pass


class Forbidden(ApiError):
    pass


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class AlreadyExists(Conflict):
    pass


class Gone(ApiError):
    pass


class Invalid(ApiError):
    pass


class TooManyRequests(ApiError):
    pass


class Unavailable(ApiError):
    pass


_BY_CODE: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}

TRANSIENT = (Unavailable, TooManyRequests, aiohttp.ClientError, TimeoutError)


def from_answer(code: int, body: Any, retry_after: str | None = None) -> ApiError:
    """The error for an answer with ``code`` ≥ 400; ``retry_after`` is the HTTP header, used where the body has none."""
    status = StatusError.from_body(code, body)
    cls = Unavailable if code >= 500 else _BY_CODE.get(code, ApiError)
    if code == 409 and status.reason == "AlreadyExists":
        cls = AlreadyExists
    seconds = status.retry_after
    if seconds is None and retry_after is not None and retry_after.isdigit():
        seconds = int(retry_after)
    return cls(
        code,
        status.message,
        reason=status.reason,
        causes=tuple((cause.field, cause.message) for cause in status.causes),
        retry_after=seconds,
    )
