"""May this session go on: signature, age, revocation, the runner it was made for, and the user's right, asked again and again."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from sandbox_operator.model.preview_keys import Ring
from sandbox_operator.model.preview_token import Claims, TokenError, verify
from sandbox_protocol import names

RIGHT_SECONDS = 15.0
"""A withdrawn right shows a preview at most this much longer; a page of a hundred files costs one review in that time."""
_SESSIONS = 8192
_RIGHTS = 8192

Object = dict[str, Any]
Ask = Callable[[Object], Awaitable[Object]]
"""Creates a SubjectAccessReview and gives it back answered."""


class Store(Protocol):
    """A local copy of one kind."""

    def get(self, namespace: str | None, name: str) -> Object | None: ...


class Access:
    """``ring`` gives the public keys as they are now, ``revocations`` a Unix time for a UID: what was issued before is void;
    ``clock`` gives Unix seconds."""

    def __init__(
        self,
        runners: Store,
        revocations: Callable[[], Mapping[str, str]],
        ring: Callable[[], Ring],
        ask: Ask,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._runners = runners
        self._revocations = revocations
        self._ring = ring
        self._ask = ask
        self._clock = clock
        self._sessions: OrderedDict[bytes, Claims] = OrderedDict()
        self._rights: OrderedDict[tuple[str, tuple[str, ...], str, str], tuple[float, bool]] = OrderedDict()
        self._asking: dict[tuple[str, tuple[str, ...], str, str], asyncio.Task[bool]] = {}

    def session(self, token: str, host: str) -> Claims:
        """The claims of a token for ``host`` (without port) that is neither expired nor void; TokenError otherwise.

        The signature is checked once (it costs 0.1 ms), time and revocation always. A retired key ends its sessions with the
        process at the latest; tokens do not outlive keys anyway.
        """
        key = hashlib.sha256(host.encode() + b"\0" + token.encode("latin-1", "replace")).digest()
        claims = self._sessions.get(key)
        if claims is None:
            claims = verify(self._ring(), token, host, self._clock())
            self._sessions[key] = claims
            while len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)
        if (why := self.void(claims)) is not None:
            raise TokenError(why)
        return claims

    def void(self, claims: Claims) -> str | None:
        """Why the session is over, None while it is not. Looks only at what is at hand."""
        if self._clock() >= claims.expires:
            return "expired"
        until = self._revocations().get(claims.uid, "0")
        if not until.isdecimal() or claims.issued < int(until):
            return "revoked"
        return None

    def runner(self, claims: Claims) -> Object | None:
        """The very runner the session was made for: a later one of the same name has another UID."""
        found = self._runners.get(claims.namespace, claims.name)
        return found if found is not None and found["metadata"]["uid"] == claims.uid else None

    async def allowed(self, claims: Claims) -> bool:
        """Whether the user may (still) make previews of the runner, as of at most RIGHT_SECONDS ago."""
        question = (claims.user, claims.groups, claims.namespace, claims.name)
        answer = self._rights.get(question)
        if answer is not None and answer[0] > self._clock():
            return answer[1]
        task = self._asking.get(question)
        if task is None:
            task = asyncio.create_task(self._review(question))
            self._asking[question] = task
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        return await asyncio.shield(task)

    def denied(self, claims: Claims) -> bool:
        """Whether the last answer, however old, was no."""
        answer = self._rights.get((claims.user, claims.groups, claims.namespace, claims.name))
        return answer is not None and not answer[1]

    async def _review(self, question: tuple[str, tuple[str, ...], str, str]) -> bool:
        user, groups, namespace, name = question
        attributes = {
            "verb": "create",
            "group": names.SUBRESOURCE_GROUP,
            "version": names.VERSION,
            "resource": names.PLURAL,
            "subresource": "preview",
            "namespace": namespace,
            "name": name,
        }
        review = {
            "kind": "SubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {"user": user, "groups": list(groups), "resourceAttributes": attributes},
        }
        status = (await self._ask(review)).get("status") or {}
        allowed = status.get("allowed") is True and status.get("denied") is not True
        self._rights[question] = (self._clock() + RIGHT_SECONDS, allowed)
        while len(self._rights) > _RIGHTS:
            self._rights.popitem(last=False)
        return allowed
