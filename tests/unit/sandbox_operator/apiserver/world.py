"""The whole server over real TLS, called as the aggregator calls it; beyond it an agent, an app and an API server are played."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from sandbox_operator.apiserver import dial, routes
from sandbox_operator.apiserver.authn import RequestHeaderConfig, User
from sandbox_operator.apiserver.authz import Authorizer
from sandbox_operator.apiserver.credentials import CredentialStore
from sandbox_operator.apiserver.edge import Checks, Edge, State
from sandbox_operator.apiserver.lifetime import LongRunning
from sandbox_operator.apiserver.limits import Limiter, Limits
from sandbox_operator.apiserver.listener import listening
from sandbox_operator.apiserver.metrics import Metrics
from sandbox_operator.apiserver.pods import RunnerPods
from sandbox_operator.apiserver.runners import Runner
from sandbox_operator.apiserver.sessions import Sessions
from sandbox_operator.apiserver.target import PREFIX
from sandbox_operator.apiserver.tls import ServingTls
from sandbox_operator.apiserver.verb import Services
from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.config import ClusterConfig, Token
from sandbox_protocol.refs import Refs

UID = "0b0f6f0e-93a5-4d3b-8d3f-2f6c4f3a9b10"
REFS = Refs(UID)
SHOP = f"{PREFIX}/namespaces/team/sandboxrunners/shop"
ALICE = {"X-Remote-User": "alice", "X-Remote-Group": "dev"}


class Previews:
    def __init__(self) -> None:
        self.issued: list[tuple[User, Runner, int, int]] = []
        self.revoked: list[Runner] = []

    def issue(self, user: User, runner: Runner, port: int, seconds: int, inject: tuple[str, ...] = ()) -> tuple[str, int]:
        self.issued.append((user, runner, port, seconds))
        return "https://preview/", 1_800_000_000

    async def revoke(self, runner: Runner) -> None:
        self.revoked.append(runner)


@dataclass
class World:
    """The server under test with everything around it. ``allowed`` are the (user, RBAC verb, subresource) that RBAC allows."""

    agent: Any
    session: aiohttp.ClientSession
    port: int
    state: State
    edge: Edge
    long_running: LongRunning
    previews: Previews
    runners: dict[tuple[str, str], dict[str, Any]]
    allowed: set[tuple[str, str, str]]
    app: list[web.Request] = field(default_factory=list)

    def url(self, path: str) -> URL:
        return URL(f"https://apiserver.test:{self.port}{path}", encoded=True)

    def request(self, method: str, path: str, **options: Any) -> Any:
        return self.session.request(method, self.url(path), **{"headers": ALICE, **options})

    async def answer(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.request(method, path, **options) as response:
            return response.status, await response.json(content_type=None)


@dataclass(frozen=True)
class Authorities:
    front: Any
    proxy: Any
    other: Any
    serving: Any


@pytest.fixture(scope="session")
def authorities(new_pair: Callable[..., Any]) -> Authorities:
    front = new_pair("front-proxy-ca", authority=True)
    return Authorities(
        front=front,
        proxy=new_pair("front-proxy-client", issuer=front),
        other=new_pair("somebody", issuer=front),
        serving=new_pair("apiserver", host="apiserver.test"),
    )


def trusting(authorities: Authorities, folder: Path, pair: Any | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authorities.serving.certificate)
    if pair is not None:
        pair.write(folder)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


Caller = Callable[[Any], aiohttp.ClientSession]


@pytest.fixture
async def caller(authorities: Authorities, loopback: Any, tmp_path: Path) -> AsyncIterator[Caller]:
    """Makes a client with a certificate, or none."""
    sessions: list[aiohttp.ClientSession] = []

    def make(pair: Any) -> aiohttp.ClientSession:
        context = trusting(authorities, tmp_path / f"caller{len(sessions)}", pair)
        sessions.append(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=loopback, ssl=context), auto_decompress=False)
        )
        return sessions[-1]

    yield make
    for session in sessions:
        await session.close()


@pytest.fixture
async def app_port_of(loopback: Any) -> AsyncIterator[tuple[int, list[web.Request]]]:
    """What is behind the preview port: an app that tells what it was asked."""
    asked: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        if request.headers.get("Upgrade"):
            if request.path == "/declines":
                return web.Response(status=404)
            ws = web.WebSocketResponse(protocols=["vite-hmr"])
            await ws.prepare(request)
            async for message in ws:
                await ws.send_str(f"echo {message.data}")
            return ws
        body = await request.read()
        return web.json_response(
            {"method": request.method, "path": request.raw_path, "headers": dict(request.headers), "bytes": len(body)},
            headers={"Set-Cookie": "a=b", "X-App": "1"},
        )

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1], asked
    await runner.cleanup()


@pytest.fixture
async def world(  # noqa: PLR0917 - fixtures
    agent: Any,
    loopback: Any,
    authorities: Authorities,
    caller: Caller,
    app_port_of: tuple[int, list[web.Request]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    allowed = {("alice", action, verb.name) for verb in routes.VERBS.values() for action in verb.actions}

    async def review(asked: dict[str, Any]) -> dict[str, Any]:
        spec = asked["spec"]
        attributes = spec["resourceAttributes"]
        assert (attributes["namespace"], attributes["name"]) == ("team", "shop")
        return {"status": {"allowed": (spec["user"], attributes["verb"], attributes["subresource"]) in allowed}}

    async def secret(namespace: str) -> dict[str, Any]:
        assert namespace == REFS.namespace
        return agent.secret()  # type: ignore[no-any-return]

    class Store(dict[tuple[str, str], dict[str, Any]]):
        def get(self, namespace: str | None, name: str) -> dict[str, Any] | None:  # type: ignore[override]
            return super().get((namespace or "", name))

    store = Store({("team", "shop"): {"metadata": {"name": "shop", "namespace": "team", "uid": UID}, "spec": {"port": 8000}}})
    state = State(
        RequestHeaderConfig(
            authorities.front.certificate,
            frozenset({"front-proxy-client"}),
            ("X-Remote-User",),
            ("X-Remote-Group",),
            ("X-Remote-Uid",),
            ("x-remote-extra-",),
        )
    )
    tls = ServingTls(authorities.serving.write(tmp_path / "serving"))
    tls.update(authorities.front.certificate)
    previews, long_running, meter = Previews(), LongRunning(), Metrics(routes.VERBS)

    async def open_connection(_host: str, port: int, **options: Any) -> Any:
        return await real_open(host="127.0.0.1", port=port, **options)

    real_open = asyncio.open_connection
    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    async with (
        dial.session(dial.connector(loopback)) as agents,
        dial.session(dial.connector(loopback)) as apps,
        await Kube.connect(ClusterConfig("http://127.0.0.1:9", None, Token())) as kube,
    ):
        authorizer = Authorizer(review, answered=meter.authorized)
        services = Services(
            dial.Dialer(agents, CredentialStore(secret), port=agent.port, failed=meter.agent_failed),
            apps,
            previews,
            long_running,
            Sessions(store, authorizer, ended=meter.session_ended),
            RunnerPods(kube),
            preview_port=app_port_of[0],
        )
        checks = Checks(Limiter(Limits()), authorizer, store)
        edge = Edge(routes.VERBS, state, checks, services, meter)
        async with listening(edge, tls, "127.0.0.1", 0) as addresses:
            session = caller(authorities.proxy)
            yield World(agent, session, addresses[0][1], state, edge, long_running, previews, store, allowed, app_port_of[1])
            await session.close()
