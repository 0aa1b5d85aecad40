"""May they: our own SubjectAccessReview, the second lock behind the one that the API server has already opened.

It holds when somebody reaches this server around the API server's authorization, and it asks more than the API server does where
a method says too little: a WebSocket ``exec`` is a GET, but must be allowed ``create``.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from sandbox_operator.apiserver.target import Target
from sandbox_operator.kube import reviews
from sandbox_operator.kube.reviews import Ask, Attributes, User
from sandbox_protocol import names
from sandbox_protocol.errors import StatusError

# A withdrawn right works for at most this long, as with the API server's own webhook authorizer cache (10 s by default).
ALLOWED_SECONDS = 10.0
# A right just granted must not seem broken; this only keeps a client's tight loop away from the API server.
DENIED_SECONDS = 1.0
# About 0.5 kB each.
MAX_ENTRIES = 8192


class Authorizer:
    """Answers :class:`Attributes` from reviews, remembered for seconds. The same question asked at once is one review.

    ``answered`` is told for each whether it was remembered."""

    def __init__(
        self, ask: Ask, *, clock: Callable[[], float] = time.monotonic, answered: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._answered = answered
        self._answers: OrderedDict[Attributes, tuple[float, bool]] = OrderedDict()
        self._asking: dict[Attributes, asyncio.Task[bool]] = {}

    async def authorize(self, user: User, action: str, target: Target) -> None:
        """Returns when allowed; StatusError 403 in the words of the API server's own RBAC otherwise."""
        question = Attributes(user, action, target.namespace, target.name, target.verb)
        answer = self._answers.get(question)
        if answer is not None and answer[0] > self._clock():
            self._answered(True)
            allowed = answer[1]
        else:
            self._answered(False)
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
        allowed = reviews.allowed(await self._ask(question.review()))
        self._answers[question] = (self._clock() + (ALLOWED_SECONDS if allowed else DENIED_SECONDS), allowed)
        self._answers.move_to_end(question)
        while len(self._answers) > MAX_ENTRIES:
            self._answers.popitem(last=False)
        return allowed
