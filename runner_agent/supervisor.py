"""All processes of the pod over one install: wait for files and a launcher, install what is missing, then let them live.

One task walks through that (:meth:`Supervisor._live`). While the processes live, each looks after itself
(:mod:`runner_agent.process`); what concerns all of them, such as a changed lock file, halts them and begins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from runner_agent import detect, frameworks, paths
from runner_agent.detect import Plan
from runner_agent.install import LABEL as INSTALL
from runner_agent.install import Installer, Place
from runner_agent.launcher_link import Link, Run
from runner_agent.logs import LogBook
from runner_agent.plain_file import read_plain
from runner_agent.process import (
    DEFAULT_GRACE_SECONDS,
    FIRST_BACKOFF_SECONDS,
    LAST_BACKOFF_SECONDS,
    STOP_SLACK_SECONDS,
    Process,
    State,
    stop,
)
from runner_agent.repeats import Repeats
from runner_agent.settings import ProcessSettings, Settings
from runner_agent.touch import Touch
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
        ports = [one.port for one in declared if one.port is not None]
        self.environment = frameworks.environment(settings.app.preview_url, settings.app.port, ports)
        self.link = Link(logbook, settings.launcher_port, frozenset({INSTALL, *(one.name for one in declared)}))
        self.processes = tuple(Process(one, self) for one in declared)
        self.web = self.processes[0]
        self._root = _seen_from_here(settings)
        self._installer = Installer(self.link, logbook, Place(self._root, settings.private, self.working_dir))
        self._triggers = ignore.parse("\n".join(settings.app.restart_on).encode())
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

    async def on_synced(self, changed: Sequence[str], restart: RestartMode, first: bool) -> bool:
        """Files changed. Returns whether something is (re)started for it; never waits for that, nor for an install."""
        self._wake.set()
        self.heard(changed)
        if first:
            return True
        if restart == "always" or (restart == "auto" and self._concerns_all(changed)):
            self._request(DEFAULT_GRACE_SECONDS)
            return True
        again = [process for process in self.processes if restart == "auto" and process.wants_restart(changed)]
        if again and not self._living:
            self._request(DEFAULT_GRACE_SECONDS)
            return True
        for process in self.processes:
            if process in again:
                process.restart(DEFAULT_GRACE_SECONDS)
            else:
                process.synced(changed)
        self._show(changed)
        self._repeats.synced(changed)
        return bool(again)

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
        """AppReady in words: the readiness of ``web``."""
        if self.web.ready:
            return {"type": "AppReady", "status": "True", "reason": "Ready", "message": f"answers on port {self.web.port}"}
        now = self.web.shown()
        reason, message = {
            "AwaitingFirstSync": ("AwaitingFirstSync", "waits for its first files: kubectl sandbox sync NAME DIRECTORY"),
            "AwaitingLauncher": ("Starting", "the app container is not up yet"),
            "Installing": ("Installing", "installs dependencies; the log shows how far it is"),
            "Starting": ("Starting", f"has not answered on port {self.web.port} yet"),
            "Running": ("Starting", f"runs, but does not answer on port {self.web.port}"),
            "Stopping": ("Starting", "is being restarted"),
            "BackOff": ("CrashLoop", "keeps ending"),
            "Exited": ("Exited", "has ended"),
        }[now.state]
        return {"type": "AppReady", "status": "False", "reason": now.reason or reason, "message": now.message or message}

    # What processes ask

    async def plan(self, process: ProcessSettings) -> Plan:
        if process.command and process.port is None:
            return detect.declared(process.command)
        return await asyncio.to_thread(detect.plan, self._read, process.command, process.port or 0)

    async def touch(self, paths: Sequence[str]) -> None:
        await self._touch(paths)
        self._show(paths)

    async def prepared(self) -> bool:
        done = await self._installer.done(await asyncio.to_thread(detect.install, self._read))
        if not done:
            self._request(DEFAULT_GRACE_SECONDS)
        return done

    # Their life together

    def _show(self, changed: Sequence[str]) -> None:
        """With the directories above: a watcher knows of a new file by its directory."""
        if self._shown_below is not None:
            above = {each for path in changed for each in (".", *paths.ancestors(path))}
            self.link.show(self._shown_below, [*sorted(above), *changed])

    def _request(self, grace: float) -> None:
        self._grace = grace
        self._again.set()
        self._wake.set()

    async def _live(self) -> None:
        failures = 0
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
                failures = 0
                await self._live_together(await self._sorted(adopted))
            elif not self._again.is_set():
                failures += 1
                await self._rest(failures)

    async def _install(self, adopted: Iterable[Run]) -> bool:
        """Whether the processes may live now."""
        install = await asyncio.to_thread(detect.install, self._read)
        if await self._installer.done(install):
            return True
        assert install is not None
        kept = [run for run in adopted if await self._installer.adopts(install, run)][:1]
        await asyncio.gather(*(stop(self.link, run, self._grace) for run in adopted if run not in kept))
        if not self.link.connected.is_set():
            return False
        self._all_stand("Installing", message="runs " + " ".join(install.command))
        env = {"PORT": str(self.web.port), "HOST": "0.0.0.0"}  # noqa: S104 - in its pod
        run = kept[0] if kept else await self._installer.begin(install, env)
        return await self._installer.finish(install, run, self._again, lambda: self._grace)

    async def _rest(self, failures: int) -> None:
        """Between two tries of the install, or until there is a launcher again."""
        record = self._installer.record
        if record.state == "Failed" and self.link.connected.is_set():
            seconds = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (failures - 1))
            how, _, lines = record.message.partition("\n")
            self.logbook.system(f"{how.partition('. Last')[0]}; next try in {seconds:.0f} s", INSTALL)
            message = (
                f"{how.partition('. Last')[0]}; tried again in {seconds:.0f} s, or at once after a sync. Last lines:\n{lines}"
            )
            self._all_stand("BackOff", "InstallFailed", message)
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

    def _read(self, name: str) -> bytes | None:
        return read_plain(self._root / name)


def _seen_from_here(settings: Settings) -> Path:
    """The working directory as this container sees it; the app's /workspace is the tree."""
    asked = PurePosixPath(settings.app.working_dir)
    return settings.tree / asked.relative_to("/workspace") if asked.is_relative_to("/workspace") else settings.tree
