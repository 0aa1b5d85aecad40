"""The program as a whole, against an API server that is played over HTTP: copies, reloads, and leaving."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sandbox_operator.apiserver import main as program
from sandbox_operator.apiserver.main import Options
from sandbox_operator.apiserver.target import PREFIX
from sandbox_operator.errors import SettingsError
from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.config import ClusterConfig, Token
from sandbox_operator.settings import Preview, Settings

UID = "0b0f6f0e-93a5-4d3b-8d3f-2f6c4f3a9b10"
STATUS = f"{PREFIX}/namespaces/team/sandboxrunners/shop/status"
CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"
RUNNERS = "/apis/infrastructure.appstudio.dev/v1alpha1/sandboxrunners"


class Cluster:
    """Lists what is in ``lists``, and sends watchers what is put into :meth:`change`."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {CONFIG_MAPS: [], RUNNERS: []}
        self.watchers: dict[str, asyncio.Queue[dict[str, Any]]] = {path: asyncio.Queue() for path in self.lists}
        self.asked: list[str] = []

    def change(self, path: str, kind: str, found: dict[str, Any]) -> None:
        self.watchers[path].put_nowait({"type": kind, "object": found})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        if request.path.endswith("/subjectaccessreviews"):
            return web.json_response({**await request.json(), "status": {"allowed": True}})
        if request.path not in self.lists:
            return web.json_response({"kind": "Status", "code": 404, "message": "no"}, status=404)
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": self.lists[request.path]})
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(json.dumps(await self.watchers[request.path].get()).encode() + b"\n")


def meta(name: str, namespace: str, version: int) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "uid": UID, "resourceVersion": str(version)}


def authentication(ca: str, version: int = 1) -> dict[str, Any]:
    return {
        "metadata": meta("extension-apiserver-authentication", "kube-system", version),
        "data": {
            "requestheader-client-ca-file": ca,
            "requestheader-allowed-names": '["front"]',
            "requestheader-username-headers": '["X-Remote-User"]',
        },
    }


@pytest.fixture
async def cluster() -> AsyncIterator[tuple[Cluster, Kube]]:
    played = Cluster()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", played.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = ClusterConfig(f"http://127.0.0.1:{runner.addresses[0][1]}", None, Token("t"))
    async with await Kube.connect(config) as kube:
        yield played, kube
    await runner.cleanup()


Start = Callable[[], Any]


@pytest.fixture
def serving(new_pair: Callable[..., Any]) -> Any:
    return new_pair("apiserver", host="apiserver.test")


@pytest.fixture
def configured(unused_tcp_port: int, serving: Any, tmp_path: Path) -> tuple[Settings, Options]:
    settings = Settings(Preview("preview.localhost", "http", 8090), "sandbox-system", "apiserver-0")
    return settings, Options("127.0.0.1", unused_tcp_port, serving.write(tmp_path / "tls"), tmp_path, 0)


@pytest.fixture
def start(cluster: tuple[Cluster, Kube], configured: tuple[Settings, Options]) -> Start:
    """Runs the program; gives its port and what stops it."""

    @asynccontextmanager
    async def running() -> AsyncIterator[tuple[int, asyncio.Event]]:
        stop = asyncio.Event()
        task = asyncio.create_task(program.serve(cluster[1], *configured, stop))
        try:
            yield configured[1].port, stop
        finally:
            stop.set()
            await task

    return running


async def ready(session: aiohttp.ClientSession, port: int) -> str:
    """The body of /readyz, once the server listens."""
    while True:
        try:
            async with session.get(f"https://apiserver.test:{port}/readyz") as response:
                return await response.text()
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(0)


async def until(condition: Callable[[], Any]) -> None:
    while not await condition():  # noqa: ASYNC110 - what is waited for is another program's answer
        await asyncio.sleep(0)


@pytest.fixture
async def caller(serving: Any, loopback: Any, tmp_path: Path) -> AsyncIterator[Callable[[Any], aiohttp.ClientSession]]:
    sessions: list[aiohttp.ClientSession] = []

    def make(pair: Any) -> aiohttp.ClientSession:
        context = ssl.create_default_context(cadata=serving.certificate)
        if pair is not None:
            folder = pair.write(tmp_path / f"caller{len(sessions)}")
            context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        connector = aiohttp.TCPConnector(resolver=loopback, ssl=context, force_close=True)
        sessions.append(aiohttp.ClientSession(connector=connector))
        return sessions[-1]

    yield make
    for session in sessions:
        await session.close()


async def test_it_is_ready_when_it_knows_whom_to_believe_and_which_runners_there_are(
    cluster: tuple[Cluster, Kube], start: Start, caller: Callable[[Any], aiohttp.ClientSession], new_pair: Callable[..., Any]
) -> None:
    played, _ = cluster
    ca = new_pair("ca", authority=True)
    front = new_pair("front", issuer=ca)
    async with start() as (port, _):
        kubelet = caller(None)
        assert "extension-apiserver-authentication" in await ready(kubelet, port)
        played.change(CONFIG_MAPS, "ADDED", authentication(ca.certificate, 2))

        async def is_ready() -> bool:
            return await ready(kubelet, port) == "ok"

        await until(is_ready)
        assert any("fieldSelector=metadata.name%3Dextension-apiserver-authentication" in asked for asked in played.asked)

        aggregator = caller(front)

        async def status() -> tuple[int, Any]:
            url = f"https://apiserver.test:{port}{STATUS}"
            async with aggregator.get(url, headers={"X-Remote-User": "alice"}) as response:
                return response.status, await response.json()

        assert (await status())[0] == 404
        found = {"metadata": meta("shop", "team", 3), "spec": {}, "status": {"refs": {"namespace": "kube-system"}}}
        played.change(RUNNERS, "ADDED", found)

        async def is_known() -> bool:
            return (await status())[0] != 404

        await until(is_known)
        code, body = await status()
        assert code == 503
        assert "not provisioned yet" in body["message"]
        secrets = [asked for asked in played.asked if "/secrets/" in asked]
        assert set(secrets) == {f"GET /api/v1/namespaces/sandbox-{UID}/secrets/control"}


async def test_a_rotated_client_ca_is_taken_up_without_a_restart(
    cluster: tuple[Cluster, Kube], start: Start, caller: Callable[[Any], aiohttp.ClientSession], new_pair: Callable[..., Any]
) -> None:
    played, _ = cluster
    old, new = (new_pair("ca", authority=True) for _ in range(2))
    played.lists[CONFIG_MAPS] = [authentication(old.certificate)]
    async with start() as (port, _):
        aggregator = caller(new_pair("front", issuer=new))

        async def believed() -> bool:
            try:
                async with aggregator.get(f"https://apiserver.test:{port}{PREFIX}", headers={"X-Remote-User": "a"}) as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        async def is_ready() -> bool:
            return await ready(caller_of_kubelet, port) == "ok"

        caller_of_kubelet = caller(None)
        await until(is_ready)
        assert not await believed()
        played.change(CONFIG_MAPS, "MODIFIED", authentication("nonsense", 2))
        played.change(CONFIG_MAPS, "MODIFIED", authentication(new.certificate, 3))
        await until(believed)


async def test_a_background_task_that_fails_ends_the_program(
    cluster: tuple[Cluster, Kube], configured: tuple[Settings, Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(program, "_reload", broken)
    with pytest.raises(ZeroDivisionError):
        await program.serve(cluster[1], *configured, asyncio.Event())


def test_options_come_from_the_environment_and_wrong_ones_are_named() -> None:
    assert Options.load({"LISTEN_PORT": "9443", "TLS_DIR": "/x"}).port == 9443
    with pytest.raises(SettingsError, match="LISTEN_PORT"):
        Options.load({"LISTEN_PORT": "https"})


def test_without_an_address_it_listens_on_both_families() -> None:
    assert Options.load({}).host is None
