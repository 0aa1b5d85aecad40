"""What the SDK raises. One root, so that ``except SandboxError`` catches everything that comes from here on purpose.

::

    SandboxError
    ├── ApiError (also a StatusError)   the API answered with a failure
    │   ├── Invalid 400, 422   Unauthorized 401   Forbidden 403   NotFound 404   Conflict 409
    │   ├── Stale 412          TooLarge 413       Busy 429        Unavailable 502, 503, 504
    ├── Unreachable            no answer at all: wrong address, refused, broken TLS
    ├── InvalidName (a ValueError) a name that no object can have; nothing was sent
    ├── ConfigError            the kubeconfig cannot be used as it is
    ├── LocalFileError         a local file cannot be sent
    ├── NeverReady             waiting longer is useless; says which condition and why
    └── WaitTimeout            not ready in the time allowed; says what it was waiting for
"""
# ruff: noqa: N818 - named after the situation, as `except Stale` reads better than `except StaleError`

from __future__ import annotations

from typing import Any, Self

from sandbox_protocol.errors import Cause, StatusError


class SandboxError(Exception):
    """Root of everything the SDK raises on purpose."""


class ApiError(StatusError, SandboxError):
    """The API answered with a failure: ``code``, ``reason``, ``message``, ``causes``, ``retry_after`` as the server gave them."""

    @classmethod
    def from_body(cls, code: int, body: Any) -> Self:
        """The subclass that fits ``code``, built from what the server answered."""
        told = StatusError.from_body(code, body)
        kind = _BY_CODE.get(code, cls) if cls is ApiError else cls
        error = kind(code, told.message, reason=told.reason, causes=told.causes, retry_after=told.retry_after)
        assert isinstance(error, cls)
        return error

    def describe(self) -> str:
        """Message and causes for a person, one cause a line."""
        return "\n".join([self.message, *(_cause_line(cause) for cause in self.causes if cause.message not in self.message)])


class Invalid(ApiError):
    """400 or 422: the request or object breaks a rule; the causes name the fields or paths."""


class Unauthorized(ApiError):
    """401: the API server does not know this caller."""


class Forbidden(ApiError):
    """403: the caller lacks the right; the message names the verb and resource to ask for."""


class NotFound(ApiError):
    """404: no such runner, or the verbs are not installed in this cluster."""


class Conflict(ApiError):
    """409: it exists already, or somebody changed it in between."""


class Stale(ApiError):
    """412: the workspace is at another revision than the one the caller built on."""


class TooLarge(ApiError):
    """413: over a limit of the template; the message carries both numbers."""


class Busy(ApiError):
    """429: come back after ``retry_after`` seconds."""


class Unavailable(ApiError):
    """502, 503 or 504: the runner or its API cannot answer now (starting, suspended, being rolled out)."""


_BY_CODE: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Stale,
    413: TooLarge,
    422: Invalid,
    429: Busy,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


class Unreachable(SandboxError):
    """The API server gave no answer: wrong address, refused connection, or TLS that does not verify."""


class InvalidName(SandboxError, ValueError):
    """A name or namespace that no object can have, so that nothing was sent; the message says what names are like."""


class ConfigError(SandboxError):
    """The kubeconfig cannot be used as it is; the message names the entry and the remedy."""


class LocalFileError(SandboxError):
    """A local file cannot be sent; the message names it."""


class NeverReady(SandboxError):
    """The runner says by a condition that waiting longer is useless until somebody changes something."""

    def __init__(self, runner: str, condition: str, reason: str, message: str) -> None:
        super().__init__(f"{runner} will not become ready: {condition} {reason}: {message}")
        self.condition = condition
        self.reason = reason


class WaitTimeout(SandboxError):
    """The time allowed is over; the message says how long, and what the runner was still waiting for."""


def _cause_line(cause: Cause) -> str:
    return f"  {cause.field}: {cause.message}" if cause.field else f"  {cause.message}"
