"""The two ways in which an edit reaches the tree: as the agent applies a sync, and as an editor on the same machine writes."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from runner_agent.repeats import Repeats
from runner_agent.sync_request import Receiver
from runner_agent.touch import touch
from runner_agent.workspace import Outcome, Workspace


class Way(Protocol):
    tree: Path

    async def change(self, files: Mapping[str, str], delete: Sequence[str] = ()) -> None: ...

    async def close(self) -> None: ...


class Synced:
    """By the agent's own code: staged, journalled, applied, and touched later where the agent does so."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self._workspace = Workspace(folder)
        self._thread = ThreadPoolExecutor(1)
        self._repeats = Repeats(self._touch)

    async def change(self, files: Mapping[str, str], delete: Sequence[str] = ()) -> None:
        outcome = await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, files, delete)
        self._repeats.synced(outcome.changed, outcome.unsure)

    def _apply(self, files: Mapping[str, str], delete: Sequence[str]) -> Outcome:
        body = {"files": [{"path": path, "content": content} for path, content in files.items()], "delete": list(delete)}
        stage = self._workspace.stage()
        receiver = Receiver(stage, "application/json", "", {})
        receiver.feed(json.dumps(body).encode())
        outcome = self._workspace.commit(stage, receiver.finish().mode)
        self._workspace.discard(stage)
        return outcome

    async def _touch(self, paths: Sequence[str]) -> None:
        def work() -> None:
            with self._workspace.open_tree() as tree:
                touch(tree, paths)

        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        await self._repeats.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._workspace.close)
        self._thread.shutdown()


class Plain:
    """``open`` and ``write``, as most editors save."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self.tree.mkdir(parents=True)

    async def change(self, files: Mapping[str, str], delete: Sequence[str] = ()) -> None:
        for path in delete:
            there = self.tree / path
            if there.is_dir():
                shutil.rmtree(there)
            else:
                there.unlink()
        for path, content in files.items():
            there = self.tree / path
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_text(content)

    async def close(self) -> None:
        return
