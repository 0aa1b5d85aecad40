"""The control port as the tests see it: a real workspace behind real HTTP, and a supervisor that only takes notes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient

from runner_agent import server
from runner_agent.activity import Activity
from runner_agent.auth import Credentials
from runner_agent.reading import Effect, sources
from runner_agent.sync import SyncService
from runner_agent.workspace import Workspace
from sandbox_protocol.limits import SyncLimits
from sandbox_protocol.wire import RestartMode

TOKEN = "correct-horse"
TAR = {"Content-Type": "application/x-tar"}


class FakeSupervisor:
    """Notes what it is told; ready when a test says so."""

    def __init__(self) -> None:
        self.synced: list[tuple[tuple[str, ...], str, bool]] = []
        self.graces: list[float | None] = []
        self.restarted: list[str | None] = []
        self.ready = (False, "AwaitingFirstSync")
        self.fails = False
        self.may_miss = False

    async def on_synced(self, changed: Sequence[str], restart: RestartMode, first: bool, unsure: Sequence[str] = ()) -> Effect:
        self.synced.append((tuple(changed), restart, first))
        if self.fails:
            raise RuntimeError("broken")
        return Effect(restart == "always", sources(changed) if self.may_miss and restart == "auto" else ())

    async def restart(self, grace: float | None, name: str | None = None) -> dict[str, Any]:
        self.graces.append(grace)
        self.restarted.append(name)
        return {"state": "Running"}

    def readiness(self) -> tuple[bool, str]:
        return self.ready


class Agent:
    """The served application and what is behind it."""

    def __init__(self, data: Path, control: Path, limits: SyncLimits) -> None:
        self.data = data
        self.workspace = Workspace(data, limits)
        self.supervisor = FakeSupervisor()
        self.sync = SyncService(self.workspace, self.supervisor)
        self.credentials = Credentials(control)
        self.activity = Activity()
        self.client: TestClient[web.Request, web.Application]

    def app(self) -> web.Application:
        async def serve_log(_: web.Request) -> web.StreamResponse:
            return web.Response(text="line\n")

        async def status() -> dict[str, Any]:
            return {"kind": "RunnerStatus", "revision": self.workspace.revision}

        services = server.Services(self.workspace, self.sync, self.supervisor, serve_log, status, self.activity)
        return server.build(services, self.credentials)

    async def post(self, body: Any, code: int = 200, **options: Any) -> dict[str, Any]:
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        else:
            headers = TAR
        headers = headers | options.pop("headers", {}) | {"Content-Length": str(len(body))}
        async with self.client.post("/v1/sync", data=io.BytesIO(body), headers=headers, **options) as response:
            answer = await response.json()
            assert response.status == code, answer
            if code == 200:
                assert response.headers["ETag"] == f'"{answer["revision"]}"'
            else:
                assert answer["kind"] == "Status"
                assert answer["code"] == code
            return dict(answer)

    async def get(self, path: str = "/v1/sync", code: int = 200, **options: Any) -> Any:
        async with self.client.get(path, **options) as response:
            assert response.status == code, await response.text()
            return await response.json()

    async def tar(self, *paths: str, headers: dict[str, str] | None = None) -> dict[str, tarfile.TarInfo]:
        params = [("path", path) for path in paths]
        sent = {"Accept": "application/x-tar"} | (headers or {})
        async with self.client.get("/v1/sync", params=params, headers=sent) as response:
            assert response.status == 200, await response.text()
            body = await response.read()
        with tarfile.open(fileobj=io.BytesIO(body)) as read:
            return {info.name: info for info in read.getmembers()}
