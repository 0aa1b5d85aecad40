"""All processes of the pod over one install: wait for files and a launcher, install what is missing, then let them live.

One task walks through that (:meth:`Supervisor._live`). While the processes live, each looks after itself
(:mod:`runner_agent.process`); what concerns all of them, such as a changed lock file, halts them and begins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from runner_agent import detect, frameworks, paths, ports
from runner_agent.condition import app_condition
from runner_agent.detect import NoCommandError, Plan
from runner_agent.install import LABEL as INSTALL
from runner_agent.install import Installer, Place
from runner_agent.launcher_link import Link, Run
from runner_agent.logs import LogBook
from runner_agent.ports import Listener
from runner_agent.process import (
    DEFAULT_GRACE_SECONDS,
    FIRST_BACKOFF_SECONDS,
    LAST_BACKOFF_SECONDS,
    STOP_SLACK_SECONDS,
    Process,
    State,
    stop,
)
from runner_agent.reading import Effect, sources
from runner_agent.repeats import Repeats
from runner_agent.settings import ProcessSettings, Settings
from runner_agent.touch import Touch
from runner_agent.tree_reader import TreeReader
from runner_agent.undeclared import Undeclared
from runner_agent.whereabouts import Where
from sandbox_protocol import ignore
from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import RestartMode


class Synced(Protocol):
    """What the supervisor needs of the workspace."""

    @property
    def revision(self) -> str | None: ...


class Supervisor:
    """``start``, then wake it by ``on_synced`` and ``restart``; ``close`` leaves the app running for the next agent to adopt."""

    def __init__(
        self, settings: Settings, workspace: Synced, logbook: LogBook, touch: Touch, *, shown_below: str | None = None
    ) -> None:
        """``shown_below``: where the app has the tree, if its kernel tells it nothing of what we change."""
        self._touch = touch
        self.heard: Callable[[Sequence[str]], None] = lambda _: None
        """Told of each sync's paths before anything is restarted for it."""
        self._shown_below = shown_below
        self._repeats = Repeats(self.touch)
        self.logbook = logbook
        self.working_dir = settings.app.working_dir
        self._settings = settings
        self._workspace = workspace
        declared = settings.app.all()
        served = [one.port for one in declared if one.port is not None]
        self.environment = frameworks.environment(settings.app.preview_url, settings.app.port, served)
        self.link = Link(logbook, settings.launcher_port, frozenset({INSTALL, *(one.name for one in declared)}))
        self.processes = tuple(Process(one, self) for one in declared)
        self.web = self.processes[0]
        root = _seen_from_here(settings)
        self._read = TreeReader(root)
        self._installer = Installer(self.link, logbook, Place(root, settings.private, self.working_dir))
        self._triggers = ignore.parse("\n".join(settings.app.restart_on).encode())
        self.look_at: Callable[[], Sequence[Listener]] = ports.look
        self._undeclared = Undeclared(self.listeners)
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()  # files came, or the launcher
        self._again = asyncio.Event()  # all anew, from the install on
        self._living = False  # the processes look after themselves
        self._grace = DEFAULT_GRACE_SECONDS

    async def start(self) -> None:
        await self.link.start()
        self.link.on_change = self._wake.set
        self._task = asyncio.create_task(self._live(), name="supervisor")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._repeats.close()
        await self.link.close()

    # What others ask

    def readiness(self) -> tuple[bool, str]:
        condition = self.condition()
        return self.web.ready, "" if self.web.ready else f"{condition['reason']}: {condition['message']}"

    def serving(self, port: int) -> Process | None:
        """The process whose port this is."""
        return next((process for process in self.processes if process.port == port), None)

    def install_json(self) -> dict[str, Any]:
        return self._installer.record.to_json()

    @property
    def may_miss(self) -> bool:
        """Whether something serves of which nobody knows that it sees changed files, and nothing of which that is known; only
        where the kernel tells the agent what is read."""
        told = {process.reloads for process in self.processes}
        return False in told and True not in told and self._shown_below is None

    async def on_synced(self, changed: Sequence[str], restart: RestartMode, first: bool, unsure: Sequence[str] = ()) -> Effect:
        """Files changed; ``unsure``: those to be shown to watchers again. Never waits for a restart, nor for an install."""
        self._wake.set()
        self.heard(changed)
        if first:
            return Effect(restarted=True)
        if restart == "always" or (restart == "auto" and self._concerns_all(changed)):
            self._request(DEFAULT_GRACE_SECONDS)
            return Effect(restarted=True)
        again = [process for process in self.processes if restart == "auto" and process.wants_restart(changed)]
        if again and not self._living:
            self._request(DEFAULT_GRACE_SECONDS)
            return Effect(restarted=True)
        for process in self.processes:
            if process in again:
                process.restart(DEFAULT_GRACE_SECONDS)
            else:
                process.synced(changed)
        self._show(changed)
        self._repeats.synced(changed, unsure)
        missed = restart == "auto" and not again and self.may_miss
        return Effect(bool(again), sources(changed) if missed else ())

    def _concerns_all(self, changed: Sequence[str]) -> bool:
        return any(detect.is_configuration(path) or self._triggers.ignores(path) for path in changed)

    async def restart(self, grace: float | None, name: str | None = None) -> dict[str, Any]:
        """One process, or all, once the old ones are gone and the new ones on their way; then the state of that one, or of web.

        Before the first sync nothing can be restarted. StatusError 404 names the processes that there are.
        """
        asked = self.processes if name is None else tuple(process for process in self.processes if process.name == name)
        if not asked:
            known = ", ".join(process.name for process in self.processes)
            raise StatusError(404, f"this runner has no process {name}; it has {known}")
        seconds = DEFAULT_GRACE_SECONDS if grace is None else grace
        if self.web.shown().state not in ("AwaitingFirstSync", "AwaitingLauncher"):
            if name is not None and self._living:
                underway = [asked[0].restart(seconds)]
            else:
                underway = [process.underway() for process in asked]
                self._request(seconds)
            await asyncio.wait(underway, timeout=seconds + STOP_SLACK_SECONDS)
        return asked[0].to_json()

    def condition(self) -> dict[str, str]:
        """AppReady in words: the readiness of ``web``. All who speak of the app speak by this."""
        return app_condition(self.web.ready, self.web.verdict(), self.web.port)

    async def look(self, port: int) -> None:
        """Finds out about a port that no process has, before :meth:`where` is asked."""
        if self._process_at(port) is None:
            await self._undeclared.look(port)

    def where(self, port: int | None) -> Where | None:
        """Where the app is (None), or what serves ``port``; None when nothing listens, as far as it was looked for."""
        process = self.web if port is None else self._process_at(port)
        if process is not None:
            return process.where
        return None if port is None else self._undeclared.where(port)

    def _process_at(self, port: int) -> Process | None:
        """The process whose port this is, or that was found there."""
        found = (one for one in self.processes if one.where is not None and one.where.port == port)
        return self.serving(port) or next(found, None)

    # What processes ask

    async def plan(self, process: ProcessSettings) -> Plan:
        if process.command and process.port is None:
            return await asyncio.to_thread(detect.declared, process.command, self._read)
        try:
            return await asyncio.to_thread(detect.plan, self._read, process.command, process.port or 0)
        except NoCommandError as error:
            program = await asyncio.to_thread(detect.wanted_program, self._read) if error.language else None
            if program is None or not await self._has(program):
                raise detect.with_image(error, self._settings.app.languages) from error
        return await asyncio.to_thread(detect.plan, self._read, process.command, process.port or 0, (program,))

    async def _has(self, program: str) -> bool:
        """Whether the app's image has this program: only a shell in its container knows."""
        if not self.link.connected.is_set():
            return False
        run = self.link.run(("sh", "-c", 'command -v "$0" >/dev/null', program), self.working_dir, {}, "")
        return (await run.exited).exit_code == 0

    async def touch(self, paths: Sequence[str]) -> None:
        await self._touch(paths)
        self._show(paths)

    async def prepared(self) -> bool:
        done = await self._installer.missing(await asyncio.to_thread(detect.installs, self._read)) is None
        if not done:
            self._request(DEFAULT_GRACE_SECONDS)
        return done

    async def listeners(self) -> Sequence[Listener]:
        return await asyncio.to_thread(self.look_at)

    def taken(self, process: Process) -> frozenset[int]:
        others = [one for one in self.processes if one is not process]
        declared = {one.port for one in others if one.port is not None}
        return frozenset(declared | {one.where.port for one in others if one.where is not None})

    def shared(self, process: Process) -> bool:
        return any(one.port is not None and not one.ready for one in self.processes if one is not process)

    # Their life together

    def _show(self, changed: Sequence[str]) -> None:
        """With the directories above: a watcher knows of a new file by its directory."""
        if self._shown_below is not None:
            above = {each for path in changed for each in (".", *paths.ancestors(path))}
            self.link.show(self._shown_below, [*sorted(above), *changed])

    def _request(self, grace: float) -> None:
        for process in self.processes:
            process.announce_restart()
        self._grace = grace
        self._again.set()
        self._wake.set()

    async def _live(self) -> None:
        while True:
            self._wake.clear()
            if self._workspace.revision is None:
                self._all_stand("AwaitingFirstSync")
                await self._wake.wait()
                continue
            if not self.link.connected.is_set():
                self._all_stand("AwaitingLauncher")
                await self._wake.wait()
                continue
            self._again.clear()
            adopted = self.link.adopted()
            if await self._install(adopted):
                await self._live_together(await self._sorted(adopted))
            elif not self._again.is_set():
                await self._rest()

    async def _install(self, adopted: Iterable[Run]) -> bool:
        """Whether the processes may live now."""
        while (install := await self._installer.missing(await asyncio.to_thread(detect.installs, self._read))) is not None:
            kept = [run for run in adopted if await self._installer.adopts(install, run)][:1]
            await asyncio.gather(*(stop(self.link, run, self._grace) for run in adopted if run not in kept))
            adopted = ()
            if not self.link.connected.is_set() or self._again.is_set():
                return False
            self._all_stand("Installing", message=f"runs {install.shown}{self._failed_before()}")
            env = {"PORT": str(self.web.port), "HOST": "0.0.0.0"}  # noqa: S104 - in its pod
            run = kept[0] if kept else await self._installer.begin(install, env)
            again = partial(detect.installs, self._read)
            if not await self._installer.finish(install, run, self._again, lambda: self._grace, again):
                return False
        return True

    def _failed_before(self) -> str:
        """In words that follow the command."""
        record = self._installer.record
        return (
            f"; failed {_times(record.failures)} before. Lines from the first error:\n" + "\n".join(record.lines)
            if record.failures
            else ""
        )

    async def _rest(self) -> None:
        """Until a failed install may go better: after a while when the network failed, else when something is synced or asked
        for.

        Also until there is a launcher again.
        """
        record = self._installer.record
        if record.state != "Failed" or not self.link.connected.is_set():
            return
        seconds = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (record.failures - 1)) if record.retries else None
        how, _, lines = record.message.partition(". Lines")
        when = (
            f"tried again in {seconds:.0f} s, or at once after a sync"
            if seconds
            else "tried again after the next sync or restart"
        )
        self.logbook.system(f"{how} ({_times(record.failures)}); {when}", INSTALL)
        self._all_stand("BackOff", "InstallFailed", f"{how}; failed {_times(record.failures)}, {when}. Lines{lines}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._again.wait(), seconds)

    async def _sorted(self, adopted: Iterable[Run]) -> Mapping[str, Run]:
        """Runs by process; one that belongs to none, or that there are two of, is ended."""
        found: dict[str, Run] = {}
        names = {process.name for process in self.processes}
        for run in adopted:
            if run.label in names and run.label not in found:
                found[run.label] = run
            else:
                await stop(self.link, run, self._grace)
        return found

    async def _live_together(self, adopted: Mapping[str, Run]) -> None:
        """Until all is wanted anew; then nothing of them is left."""
        lives = {
            process: asyncio.create_task(process.live(adopted.get(process.name)), name=process.name) for process in self.processes
        }
        self._living = True
        try:
            await self._again.wait()
            self._living = False
            for process in self.processes:
                process.halt(self._grace)
            await asyncio.gather(*lives.values())
        finally:
            self._living = False
            for life in lives.values():
                life.cancel()

    def _all_stand(self, state: State, reason: str = "", message: str = "") -> None:
        for process in self.processes:
            process.stand(state, reason, message)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _seen_from_here(settings: Settings) -> Path:
    """The working directory as this container sees it; the app's /workspace is the tree."""
    asked = PurePosixPath(settings.app.working_dir)
    return settings.tree / asked.relative_to("/workspace") if asked.is_relative_to("/workspace") else settings.tree
