"""Sessions: connections in which somebody acts on a runner for as long as they like, and what ends one.

A request is judged once, when it comes. A session is judged again while it lasts, because a right can be withdrawn, and a runner
suspended or deleted, with the session still open. How many there may be is a matter of :mod:`limits`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from sandbox_operator.apiserver import runners
from sandbox_operator.apiserver.authn import User
from sandbox_operator.apiserver.authz import Authorizer
from sandbox_operator.apiserver.runners import Runner
from sandbox_operator.apiserver.target import Target
from sandbox_protocol.errors import StatusError

CLOSED = "Closed"
"""One of the two sides ended it, which is the usual end."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two looks at our own copy of the runner, and between two questions to the API server about the right."""

    look: float = 1.0
    ask: float = 15.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What a session rests on: ``user`` may do ``action`` to this runner."""

    user: User
    action: str
    target: Target
    runner: Runner


class Sessions:
    """All sessions of this server. ``ended`` is told the reason of each end: :data:`CLOSED`, or that of a Status."""

    def __init__(
        self,
        store: runners.Store,
        authorizer: Authorizer,
        *,
        ended: Callable[[str], None],
        pace: Pace = Pace(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ended = ended
        self._store = store
        self._authorizer = authorizer
        self._pace = pace
        self._clock = clock
        self._closing = asyncio.Event()

    async def must_end(self, claim: Claim) -> StatusError:
        """Returns when the session may not go on, with the reason for its user."""
        asked = self._clock()
        while True:
            try:
                async with asyncio.timeout(self._pace.look):
                    await self._closing.wait()
                return StatusError(503, "this server is being replaced: connect again", retry_after=1)
            except TimeoutError:
                pass
            try:
                found = runners.running(runners.find(self._store, claim.target))
                if found.refs != claim.runner.refs:
                    return StatusError(
                        410, f'SandboxRunner "{claim.runner.name}" has been replaced by another one: connect again'
                    )
                if self._clock() - asked >= self._pace.ask:
                    asked = self._clock()
                    await self._authorizer.authorize(claim.user, claim.action, claim.target)
            except StatusError as error:
                # an API server that cannot be asked has not said no
                if error.code != 503:
                    return error

    def shut_down(self) -> None:
        self._closing.set()
