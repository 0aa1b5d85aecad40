"""The promises after a crash, held at each call that changes the disk: the process ends before its n-th flush, rename, link, …

Of a write that it ends in, half is done. The steps of :mod:`tests.unit.runner_agent.test_workspace_crash` are those that the code
names; these here are those that it makes, whoever wrote them. After the crash every further call fails too: what tidies up does
not run in a dead process.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from runner_agent.workspace import Outcome
from sandbox_protocol.limits import SyncLimits
from tests.unit.runner_agent.harness import Harness, archive, member
from tests.unit.runner_agent.served import TAR, TOKEN, Agent

CALLS = (
    "pwrite",
    "preadv",
    "fsync",
    "fdatasync",
    "rename",
    "link",
    "symlink",
    "unlink",
    "mkdir",
    "rmdir",
    "ftruncate",
    "truncate",
    "fchmod",
)


class Crash(BaseException):
    """The process is dead."""


@contextmanager
def dying(before: int | None) -> Iterator[list[str]]:
    """From the ``before``-th call on nothing reaches the disk; None: never. Yields the calls that were made."""
    real = {name: getattr(os, name) for name in CALLS}
    made: list[str] = []

    def wrapped(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if before is not None and len(made) >= before:
                if name == "pwrite" and len(made) == before:
                    made.append(name)
                    fd, data, at = arguments
                    real[name](fd, bytes(data[: len(data) // 2]), at)
                raise Crash(name)
            made.append(name)
            return real[name](*arguments, **named)

        return call

    try:
        for name in CALLS:
            setattr(os, name, wrapped(name))
        yield made
    finally:
        for name in CALLS:
            setattr(os, name, real[name])


@dataclass(frozen=True)
class Change:
    """From one tree to another by a sync."""

    old: dict[str, str]
    new: dict[str, str]
    sync: Callable[[Harness], Outcome]

    def holds_at_each_call(self, folder: Path, died: str) -> None:
        """``died`` is the boot after the crash; all began in boot "one"."""
        seen = set()
        for n in range(1000):
            workspace = Harness(folder / str(n), boot="one")
            old = workspace.sync(self.old).result.revision
            with dying(n) as made:
                try:
                    acknowledged = self.sync(workspace).result.revision
                except Crash:
                    acknowledged = ""
            workspace.restart(boot=died)
            whole = {old: self.old}.get(str(workspace.ws.revision), self.new)
            assert workspace.contents() == whole
            assert acknowledged in ("", workspace.ws.revision)
            assert workspace.staged() == []
            seen.add(workspace.ws.revision == old)
            workspace.ws.close()
            if len(made) < n:
                break
        assert n > 20
        assert seen == {True, False}


OLD = {"a": "old", "d/b": "old", "gone/c": "old", "same": "same", "turn/x": "old"}
OLD |= {"longer": "old", "shorter": "old" * 3000, "emptied": "old", "filled": "", "binary": "\0old"}
NEW = {"a": "new", "d/b": "new", "n/m/e": "new", "same": "same", "turn": "file now", "large": "x" * 1_200_000}
NEW |= {"longer": "new" * 3000, "shorter": "new", "emptied": "", "filled": "new", "binary": "\0new"}


@pytest.mark.parametrize("died", ["one", "two"], ids=["agent died", "node went down"])
def test_a_crash_before_any_call_leaves_the_old_or_the_new_revision(tmp_path: Path, died: str) -> None:
    Change(OLD, NEW, lambda workspace: workspace.sync(NEW, mode="mirror")).holds_at_each_call(tmp_path, died)


PATHS = st.sampled_from(["a", "b", "d", "d/a", "d/b", "d/e/a", "e/a"])
SYNCS = st.tuples(
    st.dictionaries(PATHS, st.sampled_from([0, 1, 2, 1_100_000]), max_size=4),
    st.lists(PATHS, max_size=2),
    st.sampled_from(["merge", "mirror"]),
    st.integers(0, 60) | st.none(),
)


@settings(max_examples=15)
@given(syncs=st.lists(SYNCS, min_size=1, max_size=6), reboot=st.booleans())
def test_any_history_of_syncs_and_crashes_reads_as_acknowledged_or_one_further(
    tmp_path_factory: pytest.TempPathFactory, syncs: list[Any], reboot: bool
) -> None:
    workspace = Harness(tmp_path_factory.mktemp("w") / "data", boot="0")
    for index, (sizes, deletes, mode, crash) in enumerate(syncs):
        files = {path: str(index % 10) * size for path, size in sizes.items()}
        before, revision = workspace.contents(), workspace.ws.revision
        body = {"files": [{"path": p, "content": c} for p, c in files.items()], "delete": deletes, "mode": mode}
        acknowledged = None
        try:
            with dying(crash):
                acknowledged = workspace.send(json.dumps(body).encode()).result.revision
        except Crash:
            workspace.restart(boot=str(index) if reboot else "0")
        except Exception as error:
            assert getattr(error, "code", 0) == 422, error  # noqa: PT017
        if acknowledged is not None:
            assert workspace.ws.revision == acknowledged
        if workspace.ws.revision == revision:
            assert workspace.contents() == before
        else:
            # whole: every file that the sync named is as it was sent
            now = workspace.contents()
            assert all(now[path] == content for path, content in files.items())
            assert not any(path in now for path in deletes if path not in files)
    final = workspace.ws.revision, workspace.contents()
    workspace.restart(boot="later")
    assert (workspace.ws.revision, workspace.contents()) == final


BODY = archive(member("a.txt", b"a" * 3000), member("d/b.txt", b"b" * 5000))


@pytest.mark.parametrize("which", range(3))
async def test_an_upload_is_one_sync_whenever_the_agent_dies(tmp_path: Path, control: Path, which: int) -> None:
    for n in range(which, 1000, 3):  # a third of the moments each: they take 0.1 s
        data = tmp_path / str(n)
        answers: list[dict[str, Any]] = []
        agent = await asyncio.to_thread(Agent, data, control, SyncLimits())
        with dying(n) as made:
            async with _served(agent) as client:
                try:
                    answers.append(await _whole(client))
                except ClientError:
                    answers.clear()
            with pytest.MonkeyPatch.context() as patch:
                # the dead process closes nothing; its threads only must not outlive the test
                patch.setattr(agent.workspace, "close", lambda: None)
                await agent.sync.close()
        again = await asyncio.to_thread(Agent, data, control, SyncLimits())
        await again.sync.start()
        if answers:
            assert again.workspace.revision == answers[0]["revision"]
        async with _served(again) as client:
            answer = await _whole(client)
        assert (answer["written"], answer["bytes"], answer["revision"][:2]) == (2, 8000, "1-")
        assert answers in ([], [answer])
        assert again.workspace.revision == answer["revision"]
        assert (data / "tree/d/b.txt").read_bytes() == b"b" * 5000
        await again.sync.close()
        if len(made) < n:
            break
    assert n > 15


@asynccontextmanager
async def _served(agent: Agent) -> AsyncIterator[TestClient[Any, Any]]:
    server = TestServer(agent.app())
    await server.start_server(auto_decompress=False)
    async with TestClient(server, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


async def _whole(client: TestClient[Any, Any]) -> dict[str, Any]:
    """As a client does it: asks where to continue, and sends the rest in parts. ClientError when the agent dies."""
    params = {"upload": "upload-0001"}
    async with client.get("/v1/sync", params=params) as response:
        if response.status not in (200, 404):
            raise ClientError(await response.text())
        at = (await response.json())["offset"] if response.status == 200 else 0
    while True:
        part = BODY[at : at + 6000]
        last = at + len(part) == len(BODY)
        headers = TAR | {"Upload-Offset": str(at), "Upload-Complete": "?1" if last else "?0"}
        async with client.post("/v1/sync", params=params, data=part, headers=headers) as response:
            if response.status == 200:
                return dict(await response.json())
            if response.status != 204:
                raise ClientError(await response.text())
        at += len(part)
