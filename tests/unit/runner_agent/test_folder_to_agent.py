"""A local folder and a workspace, from the SDK's comparison to the files on the agent's disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox_client import syncing
from sandbox_client.api import Api
from sandbox_client.kubeconfig import Connection
from sandbox_client.syncing import Options
from tests.unit.runner_agent.served import TOKEN, Agent


@pytest.fixture
async def pair(agent: Agent) -> AsyncIterator[tuple[Agent, Api]]:
    async with Api(Connection(str(agent.client.make_url("")).rstrip("/"), token=TOKEN)) as api:
        yield agent, api


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    for path in ("src/a.js", "src/b.js", "cfg/a", "package-lock.json", ".agent/rules"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return root


async def test_workspace_and_pod_agree_again(pair: tuple[Agent, Api], folder: Path) -> None:
    agent, api = pair
    tree = agent.data / "tree"

    async def sync(**options: object) -> syncing.FolderSync:
        return await syncing.directory(api, "/v1/sync", folder, Options(**options))  # type: ignore[arg-type]

    await sync()
    assert (tree / ".agent/rules").read_text() == ".agent/rules"
    (tree / "src/a.js").unlink()
    for path in ("src/b.js", "package-lock.json"):
        (tree / path).write_text("pod")
    kept = (await sync()).result
    assert kept is not None
    assert (kept.written, kept.drifted) == (1, ("package-lock.json", "src/b.js"))
    assert (tree / "src/a.js").read_text() == "src/a.js"
    assert (tree / "src/b.js").read_text() == "pod"
    mended = (await sync(drift="overwrite")).result
    assert mended is not None
    assert mended.drifted == ("package-lock.json",)
    assert (tree / "src/b.js").read_text() == "src/b.js"
    (folder / "package-lock.json").write_text("mine")
    assert (await sync()).changes.overwritten == ("package-lock.json",)
    assert (tree / "package-lock.json").read_text() == "mine"
    done = (await sync()).result
    assert done is not None
    assert (done.written, done.unchanged, done.drifted) == (0, 5, ())


@pytest.mark.parametrize("mode", ["merge", "mirror"])
async def test_a_folder_becomes_a_file_and_a_folder_again(pair: tuple[Agent, Api], folder: Path, mode: str) -> None:
    agent, api = pair
    options = Options(mode)  # type: ignore[arg-type]
    await syncing.directory(api, "/v1/sync", folder, options)
    (agent.data / "tree/cfg/made").write_text("by the app")
    (folder / "cfg/a").unlink()
    (folder / "cfg").rmdir()
    (folder / "cfg").write_text("a file")
    await syncing.directory(api, "/v1/sync", folder, options)
    assert (agent.data / "tree/cfg").read_text() == "a file"
    (folder / "cfg").unlink()
    (folder / "cfg").symlink_to("src")
    await syncing.directory(api, "/v1/sync", folder, options)
    (folder / "cfg").unlink()
    (folder / "cfg").mkdir()
    (folder / "cfg/b").write_text("b")
    await syncing.directory(api, "/v1/sync", folder, options)
    assert (agent.data / "tree/cfg/b").read_text() == "b"


async def test_what_the_pod_put_in_a_folders_place_gives_way_to_an_edit(pair: tuple[Agent, Api], folder: Path) -> None:
    agent, api = pair
    tree = agent.data / "tree"
    await syncing.directory(api, "/v1/sync", folder, Options())
    (tree / "src").rename(tree / "moved")
    (tree / "src").symlink_to("moved")
    assert (await syncing.directory(api, "/v1/sync", folder, Options())).changes.drifted == ("src/a.js", "src/b.js")
    (folder / "src/a.js").write_text("edited")
    await syncing.directory(api, "/v1/sync", folder, Options())
    assert not (tree / "src").is_symlink()
    assert ((tree / "src/a.js").read_text(), (tree / "src/b.js").read_text()) == ("edited", "src/b.js")


async def test_a_manifest_with_drift_has_another_entity_tag_of_the_same_revision(pair: tuple[Agent, Api], folder: Path) -> None:
    agent, api = pair
    await syncing.directory(api, "/v1/sync", folder, Options())
    headers = {"Authorization": f"Bearer {TOKEN}"}
    (agent.data / "tree/cfg/a").unlink()
    async with agent.client.get("/v1/sync", headers=headers) as response:
        revision, tag = (await response.json())["revision"], response.headers["ETag"]
    assert tag.startswith(f'"{revision};')
    async with agent.client.get("/v1/sync", headers=headers | {"If-None-Match": tag}) as response:
        assert response.status == 304
    again = await agent.post({"files": [{"path": "cfg/a", "content": "cfg/a"}]}, headers={"If-Match": tag})
    assert (again["written"], again["revision"] == revision) == (1, False)
    async with agent.client.get("/v1/sync", headers=headers | {"If-None-Match": tag}) as response:
        assert response.status == 200
