"""The steps before all processes: dependencies, installed once for what the manifests say, told as a record of their own.

They run as the app does, below a keeper and with their own part of the log, never inside a request. What was installed is
remembered beside the tree by digest of manifests and lock files, so that it is done again when those change and at no other time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from runner_agent.detect import CUT_OFF, ENVIRONMENT, Install, failures, hints
from runner_agent.frames import Exited
from runner_agent.launcher_link import Link, Run
from runner_agent.logs import LogBook
from runner_agent.plain_file import read_plain
from runner_agent.process import MESSAGE_CHARACTERS, either, how_it_ended, rfc3339, stop

LABEL = "install"
_BEGUN, _DONE = "installing", "installed"
"""Files beside the tree: folder and digest of the install that was begun and did not end yet, and of those that are done."""
_READ_LINES = 400
"""Of a failed install's log, in which its first error is looked for."""
SILENT_SECONDS = 30.0
"""An install without a line for so long is said to be silent: it may wait for a host that it cannot reach."""

InstallState = Literal["None", "Running", "Succeeded", "Failed"]


@dataclass(frozen=True, slots=True)
class Record:
    """``since`` is Unix time; 0 while there was nothing to install. ``failures`` counts those in a row, ``lines`` are of the
    last of them, from its first error on. ``retries``: another try may go better though nothing changes.
    """

    state: InstallState = "None"
    since: float = 0.0
    exit_code: int | None = None
    command: tuple[str, ...] = ()
    message: str = ""
    failures: int = 0
    lines: tuple[str, ...] = ()
    retries: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "since": rfc3339(self.since) if self.since else None,
            "exitCode": self.exit_code,
            "command": list(self.command),
            "message": self.message,
            "failures": self.failures,
            "lines": list(self.lines),
        }


@dataclass(frozen=True, slots=True)
class Place:
    """``root`` is the working directory as the agent sees it, ``working_dir`` as the app does; in ``private`` no app writes."""

    root: Path
    private: Path
    working_dir: str


class Installer:
    def __init__(self, link: Link, logbook: LogBook, place: Place) -> None:
        self.record = Record()
        self._link = link
        self._logbook = logbook
        self._place = place

    async def missing(self, installs: tuple[Install, ...]) -> Install | None:
        """The first that is not done yet. Also keeps the record true of installs that an agent before has done."""
        if not installs:
            self.record = Record()
            return None
        done = await asyncio.to_thread(self._said, _DONE)
        for install in installs:
            there = await asyncio.to_thread((self._place.root / install.folder).exists)
            if done.get(install.folder) != install.digest or not there:
                return install
        if self.record.state not in ("Succeeded", "Running"):
            since = await asyncio.to_thread(self._since, _DONE)
            self.record = Record("Succeeded", since, 0, _words(installs[-1]))
        return None

    async def adopts(self, install: Install, run: Run) -> bool:
        """Whether ``run``, which an agent before has begun, is this install and no earlier one."""
        return run.label == LABEL and await asyncio.to_thread(self._said, _BEGUN) == {install.folder: install.digest}

    async def begin(self, install: Install, env: Mapping[str, str]) -> Run:
        self._logbook.begin_run(LABEL)
        self._logbook.system(failures.without_secrets("$ " + (install.shown or " ".join(install.command))), LABEL)
        cut_off = {CUT_OFF: "1"} if install.folder in await asyncio.to_thread(self._said, _BEGUN) else {}
        await asyncio.to_thread(self._say, _BEGUN, {install.folder: install.digest})
        return self._link.run(install.command, self._place.working_dir, {**env, **ENVIRONMENT, **cut_off}, LABEL)

    async def finish(
        self,
        install: Install,
        run: Run,
        interrupted: asyncio.Event,
        grace: Callable[[], float],
        reread: Callable[[], tuple[Install, ...]],
    ) -> bool:
        """Whether it succeeded; False also when ``interrupted`` was set and it was stopped for that: the record tells which.

        ``reread`` gives the installs of the tree as it is then: an install writes lock files, and those are part of what was
        installed.
        """
        before = self.record.failures
        self.record = replace(
            self.record, state="Running", since=time.time(), exit_code=None, command=_words(install), message=""
        )
        listening = asyncio.create_task(self._listen(), name="silence of the install")
        try:
            await either(run, interrupted)
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
        if interrupted.is_set():
            await stop(self._link, run, grace())
            self.record = Record(failures=before)
            return False
        return await self._ended(install, run, reread)

    async def _listen(self) -> None:
        """Says so while no line comes."""
        seen, since = self._logbook.last_lines(1, LABEL), time.monotonic()
        while True:
            await asyncio.sleep(1)
            now = self._logbook.last_lines(1, LABEL)
            if now != seen:
                seen, since = now, time.monotonic()
                self.record = replace(self.record, message="")
            elif (silent := time.monotonic() - since) >= SILENT_SECONDS:
                self.record = replace(
                    self.record, message=f"no line for {silent:.0f} s: it may wait for a host that it cannot reach"
                )

    async def _ended(self, install: Install, run: Run, reread: Callable[[], tuple[Install, ...]]) -> bool:
        ended: Exited = run.exited.result()
        at = time.time()
        if ended.exit_code is not None:
            await asyncio.to_thread(self._say, _BEGUN, {})
        if ended.exit_code == 0:
            again = next((each for each in await asyncio.to_thread(reread) if each.folder == install.folder), install)
            said = again if again.manifests == install.manifests else install
            done = await asyncio.to_thread(self._said, _DONE)
            await asyncio.to_thread(self._say, _DONE, {**done, install.folder: said.digest})
            self.record = Record("Succeeded", at, 0, self.record.command)
            return True
        lines = self._logbook.last_lines(_READ_LINES, LABEL)
        why = failures.from_first_error(lines)
        self.record = replace(
            self.record,
            state="Failed",
            since=at,
            exit_code=ended.exit_code,
            failures=self.record.failures + 1,
            lines=why,
            retries=failures.network_failed(lines) or ended.exit_code is None,
            message=_message(ended, why, hints.wants(lines))[:MESSAGE_CHARACTERS],
        )
        return False

    # In a thread

    def _said(self, what: str) -> dict[str, str]:
        """Digests by folder; empty when nothing was said."""
        try:
            said = json.loads(read_plain(self._place.private / what) or b"{}")
        except (ValueError, OSError):
            return {}
        return said if isinstance(said, dict) else {}

    def _since(self, what: str) -> float:
        try:
            return (self._place.private / what).stat().st_mtime
        except OSError:
            return time.time()

    def _say(self, what: str, said: Mapping[str, str]) -> None:
        path = self._place.private / what
        part = path.with_suffix(".part")
        part.write_text(json.dumps(said))
        part.replace(path)


def _words(install: Install) -> tuple[str, ...]:
    """The command as people write it."""
    shown = failures.without_secrets(install.shown) if install.shown else ""
    try:
        return tuple(shlex.split(shown)) or install.command
    except ValueError:
        return (shown,)


def _message(ended: Exited, lines: tuple[str, ...], wants: str) -> str:
    return f"the install {how_it_ended(ended)}{f'; it {wants}' if wants else ''}. Lines from the first error:\n" + "\n".join(
        lines
    )
