"""The app's life: wait for files, install what it needs, run it, restart it when it must, back off when it keeps crashing.

One task walks through that life (:meth:`Supervisor._live`); everybody else only wakes it. States are those of RunnerStatus in
docs/architecture.md. Nothing here trusts the app: what it says is shown, never obeyed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from runner_agent import detect, probe
from runner_agent.detect import Install, NoCommandError, Plan
from runner_agent.frames import Exited
from runner_agent.launcher_link import Link, Run
from runner_agent.logs import LogBook
from runner_agent.settings import Settings
from sandbox_protocol.wire import RestartMode

State = Literal["AwaitingFirstSync", "AwaitingLauncher", "Installing", "Starting", "Running", "Stopping", "BackOff", "Exited"]

DEFAULT_GRACE_SECONDS = 5.0
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 1.0, 30.0
HEALTHY_SECONDS = 10.0
"""A run that lasted this long was not a failed start: the next crash begins with the shortest back-off again."""
LAST_LINES = 10
_MANIFEST_BYTES = 4 * 1024 * 1024
"""Of a file that decides what runs; a package-lock.json of a large project has 1 to 2 MB."""
_INSTALLED = "installed"
_STOP_SLACK_SECONDS = 10.0


class Synced(Protocol):
    """What the supervisor needs of the workspace."""

    @property
    def revision(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Now:
    """Where the app's life stands. ``since`` is Unix time."""

    state: State
    reason: str = ""
    message: str = ""
    since: float = 0.0
    exit_code: int | None = None
    signal: int | None = None


class Supervisor:
    """``start``, then wake it by ``on_synced`` and ``restart``; ``close`` leaves the app running for the next agent to adopt."""

    def __init__(self, settings: Settings, workspace: Synced, logbook: LogBook) -> None:
        self._settings = settings
        self._workspace = workspace
        self._logbook = logbook
        self.link = Link(logbook, settings.launcher_port)
        self._now = Now("AwaitingFirstSync", since=time.time())
        self._plan: Plan | None = None
        self._run: Run | None = None
        self._restarts = 0
        self._ready = False
        self.app_host = probe.HOSTS[0]
        """Loopback address where the app answered last."""
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()  # files came, or the launcher
        self._again = asyncio.Event()  # run anew, from the beginning
        self._grace = DEFAULT_GRACE_SECONDS
        self._waiters: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        await self.link.start()
        self.link.on_change = self._wake.set
        self._task = asyncio.create_task(self._live(), name="supervisor")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.link.close()

    # What others ask

    @property
    def ready(self) -> bool:
        """The app has answered HTTP on its port, and still runs."""
        return self._ready

    def readiness(self) -> tuple[bool, str]:
        condition = self.condition()
        return self._ready, "" if self._ready else f"{condition['reason']}: {condition['message']}"

    async def on_synced(self, changed: Sequence[str], restart: RestartMode, first: bool) -> bool:
        """Files changed. Returns whether the app is (re)started for it; never waits for that, nor for an install."""
        self._wake.set()
        if first:
            return True
        dead = self._now.state in ("BackOff", "Exited")
        triggered = self._plan is None or self._plan.triggered_by(changed)
        wanted = (
            restart == "always" or (restart == "auto" and bool(changed) and (triggered or dead)) or (restart == "auto" and dead)
        )
        if wanted:
            self._request(DEFAULT_GRACE_SECONDS)
        return wanted

    async def restart(self, grace: float | None) -> dict[str, Any]:
        """The process once the old one is gone and the new one on its way. Before the first sync nothing can be restarted."""
        if self._now.state not in ("AwaitingFirstSync", "AwaitingLauncher"):
            seconds = DEFAULT_GRACE_SECONDS if grace is None else grace
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            self._request(seconds)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiter, seconds + _STOP_SLACK_SECONDS)
        return self.process_json()

    def _shown(self) -> Now:
        """As it stands, but nothing is said of a run whose launcher is away: it may be gone with its container."""
        if self._now.state in ("Installing", "Starting", "Running", "Stopping") and not self.link.connected.is_set():
            return Now("AwaitingLauncher", since=self._now.since)
        return self._now

    def process_json(self) -> dict[str, Any]:
        now, run = self._shown(), self._run
        return {
            "state": now.state,
            "reason": now.reason,
            "message": now.message,
            "pid": run.pid if run is not None and not run.exited.done() else None,
            "exitCode": now.exit_code,
            "signal": now.signal,
            "restarts": self._restarts,
            "since": datetime.fromtimestamp(now.since, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "command": list(self._plan.command) if self._plan is not None else [],
            "ready": self._ready,
        }

    def condition(self) -> dict[str, str]:
        """AppReady in words."""
        now = self._shown()
        if self._ready:
            return {
                "type": "AppReady",
                "status": "True",
                "reason": "Ready",
                "message": f"answers on port {self._settings.app.port}",
            }
        reason, message = {
            "AwaitingFirstSync": ("AwaitingFirstSync", "waits for its first files: kubectl sandbox sync NAME DIRECTORY"),
            "AwaitingLauncher": ("Starting", "the app container is not up yet"),
            "Installing": ("Installing", "installs dependencies; the log shows how far it is"),
            "Starting": ("Starting", f"has not answered on port {self._settings.app.port} yet"),
            "Running": ("Starting", f"runs, but does not answer on port {self._settings.app.port}"),
            "Stopping": ("Starting", "is being restarted"),
            "BackOff": ("CrashLoop", "keeps ending"),
            "Exited": ("Exited", "has ended"),
        }[now.state]
        return {"type": "AppReady", "status": "False", "reason": now.reason or reason, "message": now.message or message}

    # Its life

    def _request(self, grace: float) -> None:
        self._grace = grace
        self._again.set()
        self._wake.set()

    async def _live(self) -> None:
        crashes = 0
        while True:
            self._wake.clear()
            if self._workspace.revision is None:
                self._enter("AwaitingFirstSync")
                await self._wake.wait()
                continue
            if not self.link.connected.is_set():
                self._enter("AwaitingLauncher")
                await self._wake.wait()
                continue
            self._again.clear()
            began = time.monotonic()
            ended = await self._attempt()
            if ended is None:  # asked to begin anew
                crashes = 0
                self._restarts += 1
                continue
            crashes = 1 if time.monotonic() - began > HEALTHY_SECONDS else crashes + 1
            if not self.link.connected.is_set():
                continue
            await self._back_off(crashes)
            self._restarts += 1
            if self._again.is_set():
                crashes = 0

    async def _attempt(self) -> Exited | None:
        """One life, install and app; how it ended, or None when another one is wanted."""
        adopted, self.link.adopted = self.link.adopted, None
        try:
            self._plan = await asyncio.to_thread(self._find_plan)
        except NoCommandError as error:
            if adopted is not None:
                await self._stop(adopted)
            self._plan = None
            self._logbook.system(str(error))
            self._enter("Exited", "NoCommand", str(error))
            self._tell_waiters()
            await self._again.wait()
            return None
        install = self._plan.install
        installed = install is None or await asyncio.to_thread(self._installed, install)
        if adopted is not None and adopted.label == "app" and installed:
            self._run = adopted
        else:
            if adopted is not None:
                await self._stop(adopted)
            self._logbook.begin_run()
            if install is not None and not installed:
                ended, gone_on = await self._install(install)
                if not gone_on:
                    return ended
            self._logbook.system("$ " + " ".join(self._plan.command))
            self._run = self.link.run(self._plan.command, self._settings.app.working_dir, self._environment(), "app")
        self._enter("Starting")
        self._tell_waiters()
        watching = asyncio.create_task(self._watch_readiness(), name="readiness")
        try:
            return await self._until_over(self._run)
        finally:
            watching.cancel()
            self._ready = False

    async def _install(self, install: Install) -> tuple[Exited | None, bool]:
        """(how it ended, whether the app may run now)."""
        self._enter("Installing", message="runs " + " ".join(install.command))
        self._tell_waiters()
        self._logbook.system("$ " + " ".join(install.command))
        self._run = self.link.run(install.command, self._settings.app.working_dir, self._environment(), "install")
        ended = await self._until_over(self._run)
        if ended is None or ended.exit_code != 0:
            return ended, False
        await asyncio.to_thread(self._remember, install)
        return ended, True

    async def _until_over(self, run: Run) -> Exited | None:
        """How ``run`` ended by itself; None after ending it because another one is wanted."""
        asked = asyncio.ensure_future(self._again.wait())
        waiting: list[asyncio.Future[Any]] = [asked, run.exited]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
        if run.exited.done() and not self._again.is_set():
            return run.exited.result()
        await self._stop(run)
        return None

    async def _stop(self, run: Run) -> None:
        self._ready = False
        self._enter("Stopping")
        while not run.exited.done():
            self.link.stop(run, self._grace)
            with contextlib.suppress(TimeoutError):  # a launcher that lost its connection is asked again
                await asyncio.wait_for(asyncio.shield(run.exited), self._grace + _STOP_SLACK_SECONDS)

    async def _back_off(self, crashes: int) -> None:
        assert self._run is not None
        ended = self._run.exited.result()
        seconds = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (crashes - 1))
        how = _how(ended)
        what = "the install" if self._run.label == "install" else "the app"
        reason = "InstallFailed" if self._run.label == "install" else "CrashLoop"
        self._logbook.system(f"{what} {how}; next try in {seconds:.0f} s")
        lines = "\n".join(self._logbook.last_lines(LAST_LINES))
        message = f"{what} {how}; tried again in {seconds:.0f} s, or at once after a sync. Last lines:\n{lines}"
        self._enter("BackOff", reason, message[:2000], ended)
        self._tell_waiters()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._again.wait(), seconds)

    async def _watch_readiness(self) -> None:
        """Quickly while it starts, as somebody waits for it; then slowly, only to notice that it stopped answering."""
        delay = 0.05
        while True:
            host = await probe.answering_host(self._settings.app.port)
            answers = host is not None
            self.app_host = host or self.app_host
            if answers != self._ready or (answers and self._now.state == "Starting"):
                self._ready = answers
                if answers:
                    self._enter("Running")
            delay = 5.0 if answers else min(0.5, delay * 1.3)
            await asyncio.sleep(delay)

    def _enter(self, state: State, reason: str = "", message: str = "", ended: Exited | None = None) -> None:
        changed = (self._now.state, self._now.reason) != (state, reason)
        since = time.time() if changed else self._now.since
        exit_code = ended.exit_code if ended is not None else None
        number = ended.signal if ended is not None else None
        self._now = Now(state, reason, message, since, exit_code, number)

    def _tell_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _environment(self) -> dict[str, str]:
        return {"PORT": str(self._settings.app.port), "HOST": "0.0.0.0"}  # noqa: S104 - in its pod

    # Files, in a thread

    def _root(self) -> Path:
        """The working directory as this container sees it; the app's /workspace is the tree."""
        relative = os.path.relpath(self._settings.app.working_dir, "/workspace")
        return self._settings.tree if relative.startswith("..") else self._settings.tree / relative

    def _find_plan(self) -> Plan:
        root = self._root()
        return detect.plan(lambda name: read_plain(root / name), self._settings.app.command, self._settings.app.port)

    def _installed(self, install: Install) -> bool:
        marker = read_plain(self._settings.private / _INSTALLED)
        try:
            return json.loads(marker or b"{}") == {install.folder: install.digest} and (self._root() / install.folder).is_dir()
        except ValueError:
            return False

    def _remember(self, install: Install) -> None:
        path = self._settings.private / _INSTALLED
        part = path.with_suffix(".part")
        part.write_text(json.dumps({install.folder: install.digest}))
        part.replace(path)


def read_plain(path: Path) -> bytes | None:
    """A small plain file; None for anything else. The app may have put a link or a pipe in its place: neither is followed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.ENXIO):
            return None
        raise
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        content = file.read(_MANIFEST_BYTES + 1)
        return content if len(content) <= _MANIFEST_BYTES else None


def _how(ended: Exited) -> str:
    if ended.signal is not None:
        try:
            name = signal.Signals(ended.signal).name
        except ValueError:
            name = f"signal {ended.signal}"
        return f"was killed by {name}" + (" (out of memory?)" if ended.signal == signal.SIGKILL else "")
    if ended.exit_code is None:
        return f"could not go on: {ended.error}"
    return f"ended with exit code {ended.exit_code}" + (f": {ended.error}" if ended.error else "")
