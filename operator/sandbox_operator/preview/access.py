"""May this session go on: signature, age, revocation, the runner it was made for, and the user's right, asked again and again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sandbox_operator.kube import errors, reviews
from sandbox_operator.kube.reviews import Ask, Attributes, User
from sandbox_operator.model.preview_keys import Ring
from sandbox_operator.model.preview_token import Claims, TokenError, verify
from sandbox_protocol.http1_memo import Memo

RIGHT_SECONDS = 15.0
"""A withdrawn right shows a preview at most this much longer; a page of a hundred files costs one review in that time."""
GRACE_SECONDS = 60.0
"""After the last yes, while the API server gives no answer at all: its restart must not blank every open preview."""
_RETRY_SECONDS = 2.0
_ASK_SECONDS = 5.0
_SESSIONS = 8192
_RIGHTS = 8192
_LOG = logging.getLogger(__name__)

Object = dict[str, Any]


class Runners(Protocol):
    """The local copy of all runners."""

    def get(self, namespace: str | None, name: str) -> Object | None: ...
    def by_uid(self, uid: str) -> Object | None: ...


class RightUnknownError(Exception):
    """The API server did not say whether the user has the right."""


@dataclass(frozen=True, slots=True)
class Right:
    """An answer, good ``until`` then (Unix seconds); ``said`` is when the API server gave it."""

    allowed: bool
    until: float
    said: float


class Access:
    """``ring`` gives the public keys as they are now (the same object while they are the same), ``revocations`` a Unix time for a
    UID: what was issued before is void; ``clock`` gives Unix seconds. Tell :meth:`changed` when any of them may have changed."""

    def __init__(
        self,
        runners: Runners,
        revocations: Callable[[], Mapping[str, str]],
        ring: Callable[[], Ring],
        ask: Ask,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self.epoch = 0
        """Goes up with every change of what a session depends on."""
        self.reviews = {"yes": 0, "no": 0, "none": 0}
        """Answers of the API server, "none" where it gave none."""
        self._runners = runners
        self._revocations = revocations
        self._ring = ring
        self._ask = ask
        self._sessions: Memo[bytes, Claims] = Memo(_SESSIONS)
        self._rights: Memo[Attributes, Right] = Memo(_RIGHTS)
        self._asking: dict[Attributes, asyncio.Task[Right]] = {}

    def changed(self) -> None:
        self.epoch += 1

    def session(self, token: str, host: str) -> Claims:
        """The claims of a token for ``host`` (without port) that is neither expired nor void; TokenError otherwise.

        The signature is checked once (it costs 0.1 ms); time, revocation and whether its key is still trusted, always.
        """
        key = hashlib.sha256(host.encode() + b"\0" + token.encode("latin-1", "replace")).digest()
        claims = self._sessions.get(key)
        if claims is None:
            claims = verify(self._ring(), token, host, self.clock())
            self._sessions.put(key, claims)
        if (why := self.void(claims)) is not None:
            raise TokenError(why)
        return claims

    def void(self, claims: Claims) -> str | None:
        """Why the session is over, None while it is not. Looks only at what is at hand."""
        if self.clock() >= claims.expires:
            return "expired"
        until = self._revocations().get(claims.uid, "0")
        if not until.isdecimal() or claims.issued < int(until):
            return "revoked"
        if not any(key["kid"] == claims.kid for key in self._ring()["keys"]):
            return "signed with a key that is not trusted any more"
        return None

    def runner(self, claims: Claims) -> Object | None:
        """The very runner the session was made for, unless it is being deleted: a later one of the same name has another UID."""
        found = self._runners.get(claims.namespace, claims.name)
        return found if found is not None and found["metadata"]["uid"] == claims.uid and not deleting(found) else None

    def runner_of(self, uid: str) -> Object | None:
        found = self._runners.by_uid(uid)
        return None if found is None or deleting(found) else found

    async def allowed(self, claims: Claims) -> bool:
        """Whether the user may (still) make previews of the runner, as of at most RIGHT_SECONDS ago, GRACE_SECONDS more while
        nobody answers. RightUnknownError after that."""
        question = _question(claims)
        right = self._rights.get(question)
        if right is None or right.until <= self.clock():
            task = self._asking.get(question)
            if task is None:
                task = self._asking[question] = asyncio.create_task(self._review(question, right))
                task.add_done_callback(lambda done: self._asked(question, done))
            right = await asyncio.shield(task)
        return right.allowed

    def lost(self, claims: Claims) -> bool:
        """Whether a session that is under way must end: by what is at hand, by the last answer, or by none for too long."""
        right = self._rights.get(_question(claims))
        right_lost = right is not None and (not right.allowed or self.clock() >= right.said + RIGHT_SECONDS + GRACE_SECONDS)
        return right_lost or self.void(claims) is not None or self.runner(claims) is None

    def good_until(self, claims: Claims) -> float:
        """Unix seconds until which nothing but a change (:attr:`epoch`) can end the session; 0 when it has to be looked into."""
        right = self._rights.get(_question(claims))
        runner = self.runner(claims)
        if self.void(claims) is not None or runner is None or suspended(runner) or right is None or not right.allowed:
            return 0.0
        return min(right.until, float(claims.expires))

    def _asked(self, question: Attributes, done: asyncio.Task[Right]) -> None:
        self._asking.pop(question, None)
        if not done.cancelled() and (error := done.exception()) is not None:  # whoever waited for it may have left
            _LOG.warning("cannot ask whether %s may see previews: %s", question.user.name, error)

    async def _review(self, question: Attributes, before: Right | None) -> Right:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                allowed = reviews.allowed(await self._ask(question.review()))
        except (errors.ApiError, *errors.TRANSIENT) as error:
            now = self.clock()
            self.reviews["none"] += 1
            if before is None or not before.allowed or now >= before.said + RIGHT_SECONDS + GRACE_SECONDS:
                raise RightUnknownError(str(error) or type(error).__name__) from error
            right = Right(True, now + _RETRY_SECONDS, before.said)
        else:
            now = self.clock()
            right = Right(allowed, now + RIGHT_SECONDS, now)
            self.reviews["yes" if right.allowed else "no"] += 1
        self._rights.put(question, right)
        if not right.allowed:
            self.changed()
        return right


class Standing:
    """A session that was found good, to be asked again for each of its requests: a comparison while nothing changes."""

    __slots__ = ("_access", "_claims", "_epoch", "_until")

    def __init__(self, access: Access, claims: Claims) -> None:
        self._access = access
        self._claims = claims
        self._epoch = -1
        self._until = 0.0

    def holds(self) -> bool:
        """False when it is over, or when somebody has to be asked."""
        access = self._access
        if self._epoch != access.epoch or access.clock() >= self._until:
            self._epoch = access.epoch
            self._until = access.good_until(self._claims)
            return access.clock() < self._until
        return True


def deleting(runner: Object) -> bool:
    return "deletionTimestamp" in runner["metadata"]


def suspended(runner: Object) -> bool:
    return (runner.get("spec") or {}).get("operatingMode") == "Suspended"


def _question(claims: Claims) -> Attributes:
    return Attributes(User(claims.user, claims.groups), "create", claims.namespace, claims.name, "preview")
