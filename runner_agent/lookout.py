"""Watches where one run of a process listens, from its start to its end: reads the kernel's table of sockets, asks what is new
there with one request, and tells what :mod:`runner_agent.whereabouts` makes of it.

Looks often while somebody waits: before the first answer, and for a while after each sync, which may have broken the app.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from runner_agent import probe
from runner_agent.ports import Listener
from runner_agent.probe import Answer, Said
from runner_agent.whereabouts import ELSEWHERE_SECONDS, Finding, Seen, View, judge

STILL_SECONDS = 5.0
"""Between two looks at an app that answers."""
FIRST_SECONDS, LAST_SECONDS = 0.05, 0.5
"""Between two looks at one that does not, growing."""
MOVED_SECONDS = 1.0
"""Between two looks at one that is served from another port: it may come to PORT yet."""
ALERT_SECONDS, ALERT_EVERY = 10.0, 0.25
"""After a sync: for how long it is looked at how often."""
KNOCK_SECONDS = 0.5
"""After a sync: when one connection is made, so that a listener shows whether anybody accepts."""
HUNG_SECONDS = 5.0
"""That a connection waits to be accepted before its listener counts as deserted. A page that compiles holds up as much."""
SECOND_SECONDS = 5.0
"""That one listener owes its answer before another one of the same port is asked."""
_AGAIN_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Until a listener is asked again that did not answer in HTTP."""
_MOST_TRIES = 5
"""Of such questions on other ports than PORT, where something may live that no question is meant for."""
_MOST = 16
"""Listeners that are asked; an app could open 60,000."""


@dataclass(frozen=True, slots=True)
class Post:
    """What is looked for. ``look`` reads the table; ``taken`` are ports of other processes, ``shared``, ``usual``, ``compiles``
    and ``asides`` as in :class:`View`."""

    port: int
    setting: str
    movable: bool
    look: Callable[[], Awaitable[Sequence[Listener]]]
    taken: Callable[[], frozenset[int]]
    shared: Callable[[], bool]
    usual: int | None = None
    compiles: bool = False
    asides: Callable[[], frozenset[int]] = frozenset


class _Question:
    """To one listener: one request under way at most."""

    def __init__(self, listener: Listener, now: float) -> None:
        self.listener = listener
        self.since, self.asked_at, self.again_at = now, now, 0.0
        self.host = ""
        self.said: Said | None = None
        self.tries = 0
        self.task: asyncio.Task[None] | None = None
        self.waiting_since: float | None = None  # of a connection that is not accepted

    def ask(self, now: float, stir: Callable[[], None]) -> None:
        if self.tries == 0:
            self.asked_at = now
        self.tries += 1
        self.task = asyncio.create_task(self._ask(), name=f"question to port {self.listener.port}")
        self.task.add_done_callback(lambda _: stir())

    async def _ask(self) -> None:
        with contextlib.suppress(TimeoutError):
            found = await probe.ask(self.listener.hosts(), self.listener.port)
            if found is not None:
                self.host, self.said = found
        self.again_at = time.monotonic() + _AGAIN_SECONDS[min(self.tries, len(_AGAIN_SECONDS)) - 1]

    def forget(self) -> None:
        """What it said is not true any more."""
        self.end()
        self.said, self.tries, self.waiting_since = None, 0, None

    def end(self) -> None:
        if self.task is not None:
            self.task.cancel()
            self.task = None

    @property
    def pending(self) -> bool:
        return self.task is not None and not self.task.done()

    def seen(self, now: float) -> Seen:
        return Seen(self.listener, now - self.since, now - self.asked_at if self.tries else 0.0, self.host, self.said)


class Lookout:
    """``follow`` is its task. ``before``: what listened before the run began, and so is not its own."""

    def __init__(self, post: Post, before: Sequence[Listener]) -> None:
        self._post = post
        self._before = frozenset(before)
        self._questions: dict[Listener, _Question] = {}
        self._began = time.monotonic()
        self._finding = Finding()
        self._answered = self._at_home = False  # at any time of this run; on its own port
        self._lost_at: float | None = None
        self._synced_at = float("-inf")
        self._knocked = True
        self._synced = False
        self._delay = FIRST_SECONDS
        self._stirred = asyncio.Event()

    def synced(self) -> None:
        """Files changed: what answers now may end in a moment."""
        self._synced_at, self._knocked = time.monotonic(), False
        self._synced = True
        self._stirred.set()

    def doubt(self) -> None:
        """Somebody could not reach it."""
        self._stirred.set()

    async def follow(self, tell: Callable[[Finding], None]) -> None:
        """For ever. ``tell`` hears of each change."""
        try:
            while True:
                self._stirred.clear()
                listeners = await self._post.look()
                now = time.monotonic()
                self._update(listeners, now)
                finding = judge(self._view(now))
                self._remember(finding, now)
                if finding != self._finding:
                    self._finding = finding
                    tell(finding)
                await self._knock(now)
                await self._pause(now)
        finally:
            for question in self._questions.values():
                question.end()

    def _update(self, listeners: Sequence[Listener], now: float) -> None:
        self._before &= frozenset(listeners)
        taken = self._post.taken()
        wanted = {one: one for one in listeners if one.port == self._post.port}
        others = [one for one in listeners if one not in self._before and one.port not in taken and one not in wanted]
        wanted |= {one: one for one in others[:_MOST]}
        for gone in self._questions.keys() - wanted.keys():
            self._questions.pop(gone).end()
        for one in wanted:
            question = self._questions.setdefault(one, _Question(one, now))
            self._deserted(question, one, now)
        for question in self._questions.values():
            if self._may_ask(question, now):
                question.ask(now, self._stirred.set)

    def _deserted(self, question: _Question, live: Listener, now: float) -> None:
        """A listener whose program does not accept any more answers nobody, whatever it said before."""
        if live.waiting == 0 or question.said is None:
            question.waiting_since = None
        elif question.waiting_since is None:
            question.waiting_since = now
        elif now - question.waiting_since >= HUNG_SECONDS:
            question.forget()

    def _may_ask(self, question: _Question, now: float) -> bool:
        if question.pending or isinstance(question.said, Answer) or now < question.again_at:
            return False
        known = question.listener.port in (self._post.port, self._post.usual)
        if question.listener.port != self._post.port and (question.tries >= _MOST_TRIES or not self._movable):
            return False
        if not known and now - question.since < ELSEWHERE_SECONDS:
            return False
        rivals = [one for one in self._questions.values() if one is not question and one.listener.port == question.listener.port]
        return not any(isinstance(one.said, Answer) or (one.pending and now - one.asked_at < SECOND_SECONDS) for one in rivals)

    def _view(self, now: float) -> View:
        return View(
            port=self._post.port,
            setting=self._post.setting,
            running=now - self._began,
            seen=[question.seen(now) for question in self._questions.values()],
            lost=None if self._lost_at is None else now - self._lost_at,
            synced=self._synced,
            shared=self._post.shared(),
            movable=self._movable,
            moved=self._moved,
            usual=self._post.usual,
            compiles=self._post.compiles,
            asides=self._post.asides() if len(self._questions) > 1 and self._movable else frozenset(),
        )

    @property
    def _movable(self) -> bool:
        """What has answered on its own port belongs there: of an app that lost it, what else listens is another part."""
        return self._post.movable and not self._at_home

    @property
    def _moved(self) -> bool:
        where = self._finding.where
        return self._finding.answers and where is not None and where.port != self._post.port

    def _remember(self, finding: Finding, now: float) -> None:
        if finding.answers and finding.where is not None:
            self._at_home = self._at_home or finding.where.port == self._post.port
            if self._lost_at is not None or not self._answered:
                self._synced = False
            self._answered, self._lost_at, self._delay = True, None, FIRST_SECONDS
        elif self._answered and self._lost_at is None:
            self._lost_at = now

    async def _knock(self, now: float) -> None:
        where = self._finding.where
        if self._knocked or now - self._synced_at < KNOCK_SECONDS or where is None or not self._finding.answers:
            return
        self._knocked = True
        if not where.tls:  # to which a connection without a handshake is an error
            await probe.accepts(where.host, where.port)

    async def _pause(self, now: float) -> None:
        seconds = self._seconds(now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stirred.wait()

    def _seconds(self, now: float) -> float:
        if not self._finding.answers:
            self._delay = min(LAST_SECONDS, self._delay * 1.3)
            return self._delay
        waiting = any(question.waiting_since is not None for question in self._questions.values())
        if waiting or now - self._synced_at < ALERT_SECONDS:
            return ALERT_EVERY
        return MOVED_SECONDS if self._moved else STILL_SECONDS
