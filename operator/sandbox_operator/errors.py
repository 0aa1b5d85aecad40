"""What the controller's own parts may fail with. API server refusals are in :mod:`sandbox_operator.kube.errors`.

::

    OperatorError
    ├─ SettingsError      the environment of the program is wrong: it ends, with a sentence
    ├─ Rejected           a person must act; ``reason`` becomes the reason of a condition, the message its message
    │  ├─ SpecInvalid     … the owner of the SandboxRunner
    │  ├─ TemplateInvalid … the owner of the SandboxTemplate
    │  ├─ NotSigned       … whoever builds the image
    │  ├─ NotPullable     … whoever keeps the credentials of registries
    │  ├─ TooManyRunners  … who has the others
    │  └─ Unowned         an object that is not ours holds a name we need
    └─ RetryLater         nothing is wrong, something is not there yet; come back after ``seconds``
"""

# ruff: noqa: N818 - Rejected and RetryLater say who must act, which "Error" would hide
from __future__ import annotations


class OperatorError(Exception):
    pass


class SettingsError(OperatorError):
    pass


class Rejected(OperatorError):
    """Trying again changes nothing until somebody changes the object that the message names."""

    reason = "Rejected"
    again = float("inf")
    """Seconds after which a look is worth while although nothing of ours changed."""

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason


class SpecInvalid(Rejected):
    reason = "SpecInvalid"


class TemplateInvalid(Rejected):
    reason = "TemplateInvalid"


class NotSigned(Rejected):
    reason = "ImageNotSigned"
    # a signature often follows its image by a minute, in a registry that tells nobody
    again = 60.0


class NotPullable(Rejected):
    reason = "PullSecretUnusable"
    # Secrets of the operator's namespace are not watched
    again = 10.0


class TooManyRunners(Rejected):
    reason = "TooManyRunners"
    # another one's deletion wakes only that one
    again = 10.0


class Unowned(Rejected):
    reason = "Conflict"


class RetryLater(OperatorError):
    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.message = message
        self.seconds = seconds
