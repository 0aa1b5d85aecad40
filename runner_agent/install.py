"""The step before all processes: dependencies, installed once for what the manifests say, told as a record of its own.

It runs as the app does, below a keeper and with its own part of the log, never inside a request. What was installed is remembered
beside the tree by digest of manifest and lock file, so that it is done again when those change and at no other time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from runner_agent.detect import Install
from runner_agent.frames import Exited
from runner_agent.launcher_link import Link, Run
from runner_agent.logs import LogBook
from runner_agent.plain_file import read_plain
from runner_agent.process import LAST_LINES, MESSAGE_CHARACTERS, either, how_it_ended, rfc3339, stop

LABEL = "install"
_BEGUN, _DONE = "installing", "installed"
"""Files beside the tree: folder and digest of the install that was begun, or done, last."""

InstallState = Literal["None", "Running", "Succeeded", "Failed"]


@dataclass(frozen=True, slots=True)
class Record:
    """``since`` is Unix time; 0 while there was nothing to install."""

    state: InstallState = "None"
    since: float = 0.0
    exit_code: int | None = None
    command: tuple[str, ...] = ()
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "since": rfc3339(self.since) if self.since else None,
            "exitCode": self.exit_code,
            "command": list(self.command),
            "message": self.message,
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

    async def done(self, install: Install | None) -> bool:
        """Whether there is nothing to do. Also keeps the record true of an install that an agent before has done."""
        if install is None:
            self.record = Record()
            return True
        since = await asyncio.to_thread(self._said_since, _DONE, install)
        if since is not None and self.record.state != "Succeeded":
            self.record = Record("Succeeded", since, 0, install.command)
        return since is not None

    async def adopts(self, install: Install, run: Run) -> bool:
        """Whether ``run``, which an agent before has begun, is this install and no earlier one."""
        return run.label == LABEL and await asyncio.to_thread(self._said_since, _BEGUN, install) is not None

    async def begin(self, install: Install, env: Mapping[str, str]) -> Run:
        self._logbook.begin_run(LABEL)
        self._logbook.system("$ " + " ".join(install.command), LABEL)
        await asyncio.to_thread(self._say, _BEGUN, install)
        return self._link.run(install.command, self._place.working_dir, env, LABEL)

    async def finish(self, install: Install, run: Run, interrupted: asyncio.Event, grace: Callable[[], float]) -> bool:
        """Whether it succeeded; False also when ``interrupted`` was set and it was stopped for that: the record tells which."""
        self.record = Record("Running", time.time(), None, install.command)
        await either(run, interrupted)
        if interrupted.is_set():
            await stop(self._link, run, grace())
            self.record = Record()
            return False
        return await self._ended(install, run)

    async def _ended(self, install: Install, run: Run) -> bool:
        ended: Exited = run.exited.result()
        self.record = replace(self.record, since=time.time(), exit_code=ended.exit_code)
        if ended.exit_code == 0:
            await asyncio.to_thread(self._say, _DONE, install)
            self.record = replace(self.record, state="Succeeded")
            return True
        lines = "\n".join(self._logbook.last_lines(LAST_LINES, LABEL))
        message = f"the install {how_it_ended(ended)}. Last lines:\n{lines}"
        self.record = replace(self.record, state="Failed", message=message[:MESSAGE_CHARACTERS])
        return False

    # In a thread

    def _said_since(self, what: str, install: Install) -> float | None:
        """Unix time at which that was said of this very install; None when it was not, or when its folder is gone."""
        path = self._place.private / what
        try:
            said = json.loads(read_plain(path) or b"{}")
            if said == {install.folder: install.digest} and (what == _BEGUN or (self._place.root / install.folder).is_dir()):
                return path.stat().st_mtime
        except (ValueError, OSError):
            pass
        return None

    def _say(self, what: str, install: Install) -> None:
        path = self._place.private / what
        part = path.with_suffix(".part")
        part.write_text(json.dumps({install.folder: install.digest}))
        part.replace(path)
