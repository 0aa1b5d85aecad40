"""SubjectAccessReviews about the verbs of SandboxRunners: the one question that every program asks that serves users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox_protocol import names

PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Creates a review and gives it back answered."""


@dataclass(frozen=True, slots=True)
class User:
    """A user as the API server knows them; hashable, because decisions about them are cached."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Attributes:
    """The question: may ``user`` do ``action`` (an RBAC verb) to this subresource of this runner?"""

    user: User
    action: str
    namespace: str
    name: str
    subresource: str

    def review(self) -> dict[str, Any]:
        """What is not known of the user is left out."""
        user = self.user
        more = {"uid": user.uid, "extra": {key: list(values) for key, values in user.extra}}
        return {
            "kind": "SubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {
                "user": user.name,
                "groups": list(user.groups),
                **{name: value for name, value in more.items() if value},
                "resourceAttributes": {
                    "verb": self.action,
                    "group": names.SUBRESOURCE_GROUP,
                    "version": names.VERSION,
                    "resource": names.PLURAL,
                    "subresource": self.subresource,
                    "namespace": self.namespace,
                    "name": self.name,
                },
            },
        }


def allowed(answered: Mapping[str, Any]) -> bool:
    """What an answered review says; anything but a plain yes is no."""
    status = answered.get("status") or {}
    return status.get("allowed") is True and status.get("denied") is not True
