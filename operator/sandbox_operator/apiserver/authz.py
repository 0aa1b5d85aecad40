"""May they: our own SubjectAccessReview, the second lock behind the one that the API server has already opened.

It holds when somebody reaches this server around the API server's authorization, and it asks more than the API server does where
a method says too little: a WebSocket ``exec`` is a GET, but must be allowed ``create``.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sandbox_operator.apiserver.authn import User
from sandbox_operator.apiserver.target import Target
from sandbox_protocol import names
from sandbox_protocol.errors import StatusError

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

# A withdrawn right works for at most this long, as with the API server's own webhook authorizer cache (10 s by default).
ALLOWED_SECONDS = 10.0
# A right just granted must not seem broken; this only keeps a client's tight loop away from the API server.
DENIED_SECONDS = 1.0
# About 0.5 kB each.
MAX_ENTRIES = 8192


@dataclass(frozen=True, slots=True)
class Attributes:
    """The question: may ``user`` do ``action`` (an RBAC verb) to this subresource of this runner?"""

    user: User
    action: str
    namespace: str
    name: str
    subresource: str

    def review(self) -> dict[str, Any]:
        return {
            "kind": "SubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {
                "user": self.user.name,
                "groups": list(self.user.groups),
                "uid": self.user.uid,
                "extra": {key: list(values) for key, values in self.user.extra},
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


Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Creates a review and gives it back answered."""


class Authorizer:
    """Answers :class:`Attributes` from reviews, remembered for seconds. The same question asked at once is one review."""

    def __init__(self, ask: Ask, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._answers: OrderedDict[Attributes, tuple[float, bool]] = OrderedDict()
        self._asking: dict[Attributes, asyncio.Task[bool]] = {}

    async def authorize(self, user: User, action: str, target: Target) -> None:
        """Returns when allowed; StatusError 403 in the words of the API server's own RBAC otherwise."""
        question = Attributes(user, action, target.namespace, target.name, target.verb)
        answer = self._answers.get(question)
        if answer is not None and answer[0] > self._clock():
            allowed = answer[1]
        else:
            allowed = await self._review(question)
        if not allowed:
            raise StatusError(
                403,
                f'{names.PLURAL}.{names.SUBRESOURCE_GROUP} "{target.name}" is forbidden: User "{user.name}" cannot {action} '
                f'resource "{names.PLURAL}/{target.verb}" in API group "{names.SUBRESOURCE_GROUP}" '
                f'in the namespace "{target.namespace}"',
            )

    async def _review(self, question: Attributes) -> bool:
        task = self._asking.get(question)
        if task is None:
            task = asyncio.create_task(self._fresh(question))
            self._asking[question] = task
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        # shielded: one asker that gives up must not take the answer from the others
        return await asyncio.shield(task)

    async def _fresh(self, question: Attributes) -> bool:
        status = (await self._ask(question.review())).get("status") or {}
        allowed = status.get("allowed") is True and status.get("denied") is not True
        self._answers[question] = (self._clock() + (ALLOWED_SECONDS if allowed else DENIED_SECONDS), allowed)
        self._answers.move_to_end(question)
        while len(self._answers) > MAX_ENTRIES:
            self._answers.popitem(last=False)
        return allowed
