"""The life of one process: started when all it needs is there, watched, ended when told, tried again when it ended by itself.

One task walks through that life (:meth:`Process.live`); everybody else only asks. States are those of RunnerStatus in
docs/architecture.md. Nothing here trusts the app: what it says is shown, never obeyed.

A process that ends is tried again with back-off, whatever its exit code: a server that ended does not serve. The exception is
one without a port that ends with 0: it has done its work, such as a build; it is ``Exited`` with reason ``Completed``, and runs
again after the next sync that changes something, or when it is restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from runner_agent import log_lines
from runner_agent.detect import NoCommandError, Plan, hints
from runner_agent.detect.languages import compiles
from runner_agent.frames import Exited
from runner_agent.launcher_link import Link, Run
from runner_agent.logs import LogBook
from runner_agent.lookout import Lookout, Post
from runner_agent.ports import Listener
from runner_agent.settings import WEB, ProcessSettings
from runner_agent.whereabouts import Finding, Where

State = Literal["AwaitingFirstSync", "AwaitingLauncher", "Installing", "Starting", "Running", "Stopping", "BackOff", "Exited"]

DEFAULT_GRACE_SECONDS = 5.0
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 1.0, 30.0
HEALTHY_SECONDS = 10.0
"""A run that lasted this long was not a failed start: the next crash begins with the shortest back-off again."""
CRASHES = 2
"""Failed starts in a row from which on it keeps crashing. Before, it is being restarted."""
LAST_LINES = 10
READ_LINES = 200
"""Lines of a run that ended in which is looked for what it wanted and a sandbox does not give."""
UNSEEN_SECONDS = (0.3, 4.0)
"""From the moment a process is ready: when what was synced since its start is touched. Watchers are up within 0.1 s of Vite's
first answer here; the second time is for a slow machine and a large tree."""
MESSAGE_CHARACTERS = 2000
STOP_SLACK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Now:
    """Where a process stands. ``since`` is Unix time."""

    state: State
    reason: str = ""
    message: str = ""
    since: float = 0.0
    exit_code: int | None = None
    signal: int | None = None


class Surroundings(Protocol):
    """What a process needs of the supervisor."""

    link: Link
    logbook: LogBook
    working_dir: str
    environment: Mapping[str, str]
    """What every process is told beside its own."""

    async def touch(self, paths: Sequence[str]) -> None:
        """Gives synced files a new modification time, so that who watches them looks again."""

    async def plan(self, process: ProcessSettings) -> Plan:
        """What to run now; NoCommandError says why nothing can."""

    async def prepared(self) -> bool:
        """Whether what the install makes is there. If not, everything begins anew, and this process is about to be halted."""

    async def listeners(self) -> Sequence[Listener]:
        """What listens in the pod now."""

    def taken(self, process: Process) -> frozenset[int]:
        """Ports of the other processes."""

    def shared(self, process: Process) -> bool:
        """Whether another process still looks for its port."""


class Process:
    """``live`` is its task. ``restart`` and ``halt`` end the present run; the one is followed by another, the other is not."""

    def __init__(self, settings: ProcessSettings, surroundings: Surroundings) -> None:
        self.name, self.port = settings.name, settings.port
        self.where: Where | None = None
        """Where it answers; before that the best guess, None while nothing listens."""
        self.ready = False
        """It has answered HTTP and still listens, or, without a port, it runs."""
        self.restarting_by_us = False
        """A restart that we decided is under way, and the run before it was ready: who asks for a page waits a moment."""
        self._settings = settings
        self._around = surroundings
        self._now = Now("AwaitingFirstSync", since=time.time())
        self._plan: Plan | None = None
        self._usual: int | None = None  # where the last run of this plan was found
        self._run: Run | None = None
        self._failed: Now | None = None  # while it keeps crashing: how
        self._lookout: Lookout | None = None
        self._restarts = 0  # after it ended by itself
        self._asked = asyncio.Event()  # to end the present run, or the wait for the next one
        self._halted = False
        self._grace = DEFAULT_GRACE_SECONDS
        self._waiters: list[asyncio.Future[None]] = []
        self._unseen: set[str] | None = None  # paths, while it may not watch its files yet

    # What others ask

    def restart(self, grace: float) -> asyncio.Future[None]:
        """Ends the run and begins another. The future is done once the old one is gone and the new one on its way."""
        self._ask(grace)
        return self.underway()

    def underway(self) -> asyncio.Future[None]:
        """Done at the next beginning of a run, of the install before it, or of the wait that stands for it."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def halt(self, grace: float) -> None:
        """``live`` ends when nothing of the run is left."""
        self._halted = True
        self._ask(grace)

    def synced(self, changed: Sequence[str]) -> None:
        """Files changed while it goes on running."""
        if changed and self._lookout is not None:
            self._lookout.synced()
        if self._unseen is not None:
            self._unseen.update(changed)

    def announce_restart(self) -> None:
        """It is about to be ended by us, and started again."""
        self.restarting_by_us = self.restarting_by_us or self.ready
        self._failed = None

    def doubt(self) -> None:
        """Somebody could not connect to it: it is looked at now."""
        if self._lookout is not None:
            self._lookout.doubt()

    def wants_restart(self, changed: Sequence[str]) -> bool:
        """Whether a sync with ``restart: auto`` that changed these paths begins it anew."""
        if self.completed:
            return bool(changed)
        return self.dead or (self._plan is not None and self._plan.triggered_by(changed))

    @property
    def reloads(self) -> bool | None:
        """Whether what serves now is known to see changed files by itself; None while nothing serves."""
        return self._plan.reloads if self.ready and self._plan is not None else None

    @property
    def dead(self) -> bool:
        return self._now.state in ("BackOff", "Exited") and not self.completed

    @property
    def completed(self) -> bool:
        return self._now.reason == "Completed"

    def stand(self, state: State, reason: str = "", message: str = "", ended: Exited | None = None) -> None:
        """For the supervisor: why it does not live at present."""
        if state in ("BackOff", "Exited"):
            self.restarting_by_us = False
        self._enter(state, reason, message, ended)
        if state != "Stopping":
            self._tell_waiters()

    @property
    def framework(self) -> str:
        """What it is made with, in one word; empty when nobody knows."""
        return "" if self._plan is None else self._plan.framework

    @property
    def command(self) -> tuple[str, ...]:
        """What it runs; empty while that is not known."""
        return () if self._plan is None else self._plan.command

    @property
    def command_shown(self) -> str:
        """What it runs, as people wrote it."""
        return "" if self._plan is None else self._plan.shown or " ".join(self._plan.command)

    # What is shown

    def shown(self) -> Now:
        """As it stands, but nothing is said of a run whose launcher is away: it may be gone with its container."""
        running = self._now.state in ("Installing", "Starting", "Running", "Stopping")
        if running and not self._around.link.connected.is_set():
            return Now("AwaitingLauncher", since=self._now.since)
        return self._now

    def verdict(self) -> Now:
        """As :meth:`shown`; of one that keeps crashing, how it does, also while it is tried again."""
        now = self.shown()
        if self._failed is not None and now.state == "Starting" and time.time() - now.since < HEALTHY_SECONDS:
            return self._failed
        return now

    def to_json(self) -> dict[str, Any]:
        now, run = self.shown(), self._run
        return {
            "name": self.name,
            "port": self.port,
            "state": now.state,
            "reason": now.reason,
            "message": now.message,
            "pid": run.pid if run is not None and not run.exited.done() else None,
            "exitCode": now.exit_code,
            "signal": now.signal,
            "restarts": self._restarts,
            "since": rfc3339(now.since),
            "command": list(self._plan.command) if self._plan is not None else [],
            "framework": self._plan.framework if self._plan is not None else "",
            "ready": self.ready,
            "listening": self.where.port if self.ready and self.where is not None else None,
        }

    # Its life

    async def live(self, adopted: Run | None = None) -> None:
        """Until halted. ``adopted`` is a run of it that the agent before has started."""
        crashes = 0
        while not self._halted:
            began = time.monotonic()
            ended = await self._attempt(adopted)
            adopted = None
            if ended is not None and not self._around.link.connected.is_set():
                await self._launcher()
                continue
            if ended is not None:
                crashes = 1 if time.monotonic() - began > HEALTHY_SECONDS else crashes + 1
                await self._rest(ended, crashes)
            if self._asked.is_set():
                crashes, self._failed = 0, None
            else:
                self._restarts += 1
            if not self._halted:
                self._asked.clear()
        self._halted = False
        self._asked.clear()

    async def _attempt(self, adopted: Run | None) -> Exited | None:
        """One run; how it ended by itself, or None after ending it because that was asked for."""
        try:
            last, self._plan = self._plan, await self._around.plan(self._settings)
            if last is None or last.command != self._plan.command:
                self._usual = None
        except NoCommandError as error:
            self._plan = None
            if adopted is not None:
                await self._stop(adopted)
            self._around.logbook.system(str(error), self.name)
            self.stand("Exited", "NoCommand", str(error))
            await self._asked.wait()
            return None
        if not await self._around.prepared():
            if adopted is not None:
                await self._stop(adopted)
            await self._asked.wait()
            return None
        if not self._asked.is_set() and not self._around.link.connected.is_set():
            await self._launcher()
        # of what runs on from the agent before, nobody knows what it found
        before = () if adopted or self.port is None else await self._around.listeners()
        if self._asked.is_set() and adopted is None:
            return None
        self._run = adopted or self._begin(self._plan)
        self._unseen = None if adopted else set()
        self._enter("Starting")
        self._tell_waiters()
        watching = asyncio.create_task(self._watch(self._run, before), name=f"readiness of {self.name}")
        try:
            return await self._until_over(self._run)
        finally:
            watching.cancel()
            self.ready, self.where = False, None
            self._unseen = self._lookout = None

    def _begin(self, plan: Plan) -> Run:
        around = self._around
        around.logbook.begin_run(self.name)
        around.logbook.system("$ " + (plan.shown or " ".join(plan.command)), self.name)
        env = {**self._settings.env, "HOST": "0.0.0.0"}  # noqa: S104 - in its pod
        if self.port is not None:
            env["PORT"] = str(self.port)
        working_dir = self._settings.working_dir or around.working_dir
        return around.link.run(plan.command, working_dir, env, self.name, {**around.environment, **plan.env})

    async def _until_over(self, run: Run) -> Exited | None:
        await either(run, self._asked)
        if run.exited.done() and not self._asked.is_set():
            return run.exited.result()
        await self._stop(run)
        return None

    async def _stop(self, run: Run) -> None:
        self.ready = False
        self._enter("Stopping")
        await stop(self._around.link, run, self._grace)

    async def _launcher(self) -> None:
        """Until there is a launcher, or something else is asked for."""
        self._enter("AwaitingLauncher")
        tasks = [asyncio.ensure_future(event.wait()) for event in (self._around.link.connected, self._asked)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _rest(self, ended: Exited, crashes: int) -> None:
        """Between a run that ended by itself and the next one."""
        what, how = "the app" if self.name == WEB else f"process {self.name}", how_it_ended(ended)
        if ended.exit_code == 0 and self.port is None:
            self._around.logbook.system(f"{what} has done its work; it runs again after the next sync or restart", self.name)
            self.stand("Exited", "Completed", "has done its work; runs again after a sync that changes something", ended)
            await self._asked.wait()
            return
        if ended.exit_code == 0:
            how += f": a web app must keep running, and answer on port {self.port}"
        if wants := hints.wants(self._around.logbook.last_lines(READ_LINES, self.name)):
            how += f"; it {wants}"
        seconds = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (crashes - 1))
        self._around.logbook.system(f"{what} {how}; next try in {seconds:.0f} s", self.name)
        lines = "\n".join(self._around.logbook.last_lines(LAST_LINES, self.name))
        message = f"{what} {how}; tried again in {seconds:.0f} s, or at once after a sync. Last lines:\n{lines}"
        self.stand("BackOff", _reason(ended, crashes), message[:MESSAGE_CHARACTERS], ended)
        self._failed = self._now if crashes >= CRASHES or ended.out_of_memory else None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), seconds)

    async def _watch(self, run: Run, before: Sequence[Listener]) -> None:
        """Until cancelled, at the end of the run."""
        async with asyncio.TaskGroup() as group:

            def told(finding: Finding) -> None:
                if self._now.state not in ("Starting", "Running"):  # it is being stopped
                    return
                if finding.answers and self._now.state == "Starting" and self._unseen is not None:
                    group.create_task(self._show_unseen(self._unseen))
                self._found(finding)

            if self.port is None:
                await run.started.wait()
                told(Finding(answers=True))
            else:
                self._lookout = Lookout(self._post(self.port), before)
                await self._lookout.follow(told)

    def _post(self, port: int) -> Post:
        around, web = self._around, self.name == WEB
        setting = "spec.port" if web else f"the port of process {self.name}"
        taken, shared = lambda: around.taken(self), lambda: around.shared(self)

        def asides() -> frozenset[int]:
            return log_lines.asides(around.logbook.last_lines(READ_LINES, self.name))

        return Post(port, setting, web, around.listeners, taken, shared, self._usual, compiles(self.command_shown), asides)

    def _found(self, finding: Finding) -> None:
        self.where, self.ready = finding.where, finding.answers
        if self.ready:
            self._failed, self.restarting_by_us = None, False
            self._usual = self.where.port if self.where is not None else None
        state: State = "Running" if self.ready else self._now.state
        tells = finding.words and (finding.answers or finding.reason)  # not each step of a start
        if tells and (self._now.reason, self._now.message) != (finding.reason, finding.words):
            self._around.logbook.system(f"{self.name} {finding.words}", self.name)
        self._enter(state, finding.reason, finding.words)

    async def _show_unseen(self, unseen: set[str]) -> None:
        waited = 0.0
        for seconds in UNSEEN_SECONDS:
            await asyncio.sleep(seconds - waited)
            waited = seconds
            if unseen:
                await self._around.touch(tuple(unseen))
        self._unseen = None

    def _ask(self, grace: float) -> None:
        self.announce_restart()
        self._grace = grace
        self._asked.set()

    def _enter(self, state: State, reason: str = "", message: str = "", ended: Exited | None = None) -> None:
        changed = (self._now.state, self._now.reason) != (state, reason)
        since = time.time() if changed else self._now.since
        exit_code = ended.exit_code if ended is not None else None
        number = ended.signal if ended is not None else None
        self._now = Now(state, reason, message, since, exit_code, number)
        if state in ("Installing", "BackOff", "Exited"):
            self.restarting_by_us = False

    def _tell_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


async def stop(link: Link, run: Run, grace: float) -> None:
    """Returns when nothing of ``run`` is left. A launcher that lost its connection is asked again."""
    while not run.exited.done():
        link.stop(run, grace)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(run.exited), grace + STOP_SLACK_SECONDS)


async def either(run: Run, event: asyncio.Event) -> None:
    """Until the run is over or the event is set."""
    asked = asyncio.ensure_future(event.wait())
    waiting: list[asyncio.Future[Any]] = [asked, run.exited]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()


def _reason(ended: Exited, crashes: int) -> str:
    if ended.out_of_memory:
        return "OOMKilled"
    if crashes < CRASHES:
        return "Restarting"
    return "Exited" if ended.exit_code == 0 else "CrashLoop"


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def how_it_ended(ended: Exited) -> str:
    """In words that follow a subject."""
    if ended.signal is not None:
        try:
            name = signal.Signals(ended.signal).name
        except ValueError:
            name = f"signal {ended.signal}"
        return f"was killed by {name}" + (f": {ended.error}" if ended.error else "")
    if ended.exit_code is None:
        return f"could not go on: {ended.error}"
    return f"ended with exit code {ended.exit_code}" + (f": {ended.error}" if ended.error else "")
