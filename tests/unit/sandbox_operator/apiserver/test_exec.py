"""The verb between a real WebSocket client and an API server that is played: what it asks there, and what it carries."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import aiohttp
import msgspec
import pytest
from aiohttp import WSMsgType, web

from sandbox_operator.apiserver import exec as exec_
from sandbox_operator.apiserver import request_id
from sandbox_operator.apiserver.authn import User
from sandbox_operator.apiserver.authz import Authorizer
from sandbox_operator.apiserver.pods import RunnerPods, choose
from sandbox_operator.apiserver.runners import Runner
from sandbox_operator.apiserver.sessions import Pace, Sessions
from sandbox_operator.apiserver.target import Target
from sandbox_operator.apiserver.verb import Call
from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.config import ClusterConfig, Token
from sandbox_protocol.errors import StatusError
from sandbox_protocol.refs import Refs

UID = "0b0f6f0e-93a5-4d3b-8d3f-2f6c4f3a9b10"
NAMESPACE = f"sandbox-{UID}"
RUNNER = Runner("team", "shop", Refs(UID), 3000, suspended=False, why="AgentReady is False, Starting: The pod is starting.")
V5 = "v5.channel.k8s.io"


def pod(name: str = "runner-5d4-abc", **changes: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"infrastructure.appstudio.dev/runner-uid": UID},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "runner-5d4", "controller": True}],
    }
    state = changes.pop("state", {"running": {}})
    return {"metadata": {**metadata, **changes}, "status": {"containerStatuses": [{"name": "app", "state": state}]}}


@dataclass
class World:
    """``asked`` are the requests that reached the played API server's pods/exec; ``speak`` is what it says after the upgrade."""

    url: str = ""
    pods: list[dict[str, Any]] = field(default_factory=lambda: [pod()])
    refuse: int = 0
    allowed: bool = True
    asked: list[web.BaseRequest] = field(default_factory=list)
    speak: Callable[[web.WebSocketResponse], Any] | None = None
    sessions: Any = None
    open: int = 0
    begun: int = 0
    ends: list[str] = field(default_factory=list)

    async def api_server(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == f"/api/v1/namespaces/{NAMESPACE}/pods":
            return web.json_response({"items": self.pods, "metadata": {"resourceVersion": "1"}})
        self.asked.append(request)
        if self.refuse:
            status = {"kind": "Status", "message": 'User "system:serviceaccount:x" cannot', "code": self.refuse}
            return web.json_response(status, status=self.refuse)
        ws = web.WebSocketResponse(protocols=["v4.channel.k8s.io", V5])
        await ws.prepare(request)
        self.open += 1
        self.begun += 1
        try:
            if self.speak is not None:
                await self.speak(ws)
            async for message in ws:
                await ws.send_bytes(b"\x01" + message.data[1:])
        finally:
            self.open -= 1
        return ws


@asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler, handler_cancellation=True, max_line_size=1 << 18), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()

    async def review(_asked: dict[str, Any]) -> dict[str, Any]:
        return {"status": {"allowed": world.allowed}}

    class Store:
        def get(self, _namespace: str | None, name: str) -> dict[str, Any]:
            return {"metadata": {"name": name, "namespace": "team", "uid": UID}}

    async with serving(world.api_server) as api, await Kube.connect(ClusterConfig(api, None, Token("ours"))) as kube:
        world.sessions = Sessions(Store(), Authorizer(review), ended=world.ends.append, pace=Pace(look=0.01, ask=0))
        services: Any = type("Services", (), {"sessions": world.sessions, "pods": RunnerPods(kube)})

        async def ours(request: web.BaseRequest) -> web.StreamResponse:
            request_id.CURRENT.set(request_id.accepted(request.headers.get("Audit-ID")))
            operation = exec_.VERB.operation(request.method, "")
            try:
                return await operation.handle(
                    Call(request, User("alice"), Target("team", "shop", "exec"), RUNNER, operation), services
                )
            except StatusError as error:
                return web.json_response(error.body(), status=error.code)

        async with serving(ours) as world.url:
            yield world


@pytest.fixture
def ask(world: World, client: aiohttp.ClientSession) -> Any:
    """``ask(*command, **query)``: a WebSocket as a context."""

    def connect(*command: str, headers: dict[str, str] | None = None, method: str = "GET", **query: str) -> Any:
        pairs = [*(("command", word) for word in command), *({"stdout": "true"} | query).items()]
        url = f"{world.url}/exec?{urlencode(pairs, errors='surrogateescape')}"
        return client.ws_connect(url, protocols=[V5], headers=headers, method=method, compress=0)

    return connect


async def over(world: World) -> None:
    """Until the session has ended on both sides."""
    async with asyncio.timeout(1.5):
        while world.open or len(world.ends) < world.begun:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def refusal(
    client: aiohttp.ClientSession, world: World, query: str, method: str = "GET", **headers: str
) -> tuple[int, str]:
    async with client.request(method, f"{world.url}/exec?{query}", headers=headers) as response:
        body = await response.json()
        causes = (body.get("details") or {}).get("causes") or [{"field": ""}]
        return response.status, f"{causes[0]['field']} {body['message']}"


# what is asked of the Kubernetes API


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_is_asked_names_the_pod_by_the_uid_and_carries_our_credential(world: World, ask: Any, method: str) -> None:
    theirs = {"Authorization": "Bearer theirs", "Cookie": "a=b", "X-Remote-User": "root", "Audit-ID": "0123-4567-89ab"}
    async with ask("sh", "-c", "echo a&container=agent#?/../%2e", stdin="1", method=method, headers=theirs) as ws:
        assert ws.protocol == V5
    (asked,) = world.asked
    assert (asked.method, asked.path) == ("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/runner-5d4-abc/exec")
    assert parse_qsl(asked.raw_path.partition("?")[2]) == [
        ("container", "app"),
        ("stdin", "true"),
        ("stdout", "true"),
        *(("command", word) for word in (*exec_.ENTER, "sh", "-c", "echo a&container=agent#?/../%2e")),
    ]
    assert (asked.headers["Authorization"], asked.headers["Audit-ID"]) == ("Bearer ours", "0123-4567-89ab")
    assert {"Cookie", "X-Remote-User"} & set(asked.headers) == set()


async def test_an_argument_that_is_no_utf8_arrives_as_it_was(world: World, ask: Any) -> None:
    async with ask("cat", "caf\udce9"):
        pass
    assert world.asked[0].query_string.endswith("command=caf%E9")


async def test_a_command_of_100_kib_passes(world: World, ask: Any) -> None:
    async with ask("sh", "-c", "x" * 100_000):
        pass
    assert "x" * 100_000 in world.asked[0].query_string


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("command=ls&stdout=1&container=agent", "container"),
        ("command=ls&stdout=1&container=app&container=agent", "container"),
        ("command=ls&stdout=1&container=", "container"),
        ("command=ls&stdout=1&name=other", "name"),
        ("command=ls&stdout=1&container%20=agent", "container "),
        ("stdout=1", "command"),
        ("command=&stdout=1", "command"),
        ("command=ls&command=a%00b&stdout=1", "command"),
        ("command=ls", "stdout"),
        ("command=ls&stdin=false&stdout=0", "stdout"),
        ("command=sh&stdout=1&stderr=1&tty=1", "stderr"),
    ],
)
async def test_a_query_that_means_something_else_is_refused_by_its_field(
    world: World, client: aiohttp.ClientSession, query: str, field: str
) -> None:
    code, told = await refusal(client, world, query)
    assert (code, told.startswith(f"{field} ")) == (400, True), told
    assert world.asked == []


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("POST", {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v4.channel.k8s.io"}),
        ("GET", {"Connection": "Upgrade", "Upgrade": "h2c"}),
    ],
    ids=["plain", "SPDY", "h2c"],
)
async def test_what_is_no_websocket_is_told_what_to_send(
    world: World, client: aiohttp.ClientSession, method: str, headers: dict[str, str]
) -> None:
    code, told = await refusal(client, world, "command=ls&stdout=1", method, **headers)
    assert code == 400
    assert "WebSocket" in told
    assert V5 in told
    assert world.asked == []


async def test_an_unknown_subprotocol_is_refused_before_anything_runs(world: World, client: aiohttp.ClientSession) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Protocol": "base64.channel.k8s.io"}
    assert (await refusal(client, world, "command=ls&stdout=1", **headers))[0] == 400
    assert world.asked == []


# which pod


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {"infrastructure.appstudio.dev/runner-uid": "another"}},
        {"ownerReferences": []},
        {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "other-5d4", "controller": True}]},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "ReplicaSet", "name": "runner-5d4", "controller": True}]},
        {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "runner-5d4"}]},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"namespace": "kube-system"},
    ],
)
def test_a_pod_that_is_not_the_runner_s_own_is_never_entered(changes: dict[str, Any]) -> None:
    forged = pod("forged", **{"creationTimestamp": "2027-01-01T00:00:00Z", **changes})
    assert choose(RUNNER, [forged, pod("genuine")]) == "genuine"
    with pytest.raises(StatusError, match=r"no pod.*The pod is starting"):
        choose(RUNNER, [forged])


def test_a_container_that_does_not_run_is_told_with_its_reason() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    with pytest.raises(StatusError, match=r"not running \(waiting, ImagePullBackOff: no such image\)") as error:
        choose(RUNNER, [pod(state=waiting)])
    assert error.value.code == 503


@pytest.mark.parametrize("name", ["../../../secrets", "a/b", "..", "a%2fb"])
async def test_a_pod_name_that_is_none_never_becomes_a_path(world: World, client: aiohttp.ClientSession, name: str) -> None:
    world.pods = [pod(name)]
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Protocol": V5}
    async with client.get(f"{world.url}/exec?command=ls&stdout=1", headers=headers) as response:
        assert response.status == 500
    assert world.asked == []


@pytest.mark.parametrize(("answered", "code"), [(403, 503), (404, 503), (400, 503), (429, 429), (500, 502), (302, 502)])
async def test_a_refusal_of_the_kubernetes_api_is_told_by_its_meaning(
    world: World, client: aiohttp.ClientSession, answered: int, code: int
) -> None:
    world.refuse = answered
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Protocol": V5}
    got, told = await refusal(client, world, "command=ls&stdout=1", **headers)
    assert got == code
    assert "serviceaccount" not in told


# what is carried


async def test_the_answer_to_the_handshake_carries_the_id_of_the_log(world: World, client: aiohttp.ClientSession) -> None:
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": V5}
    headers = {**handshake, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Audit-ID": "0123-4567-89ab"}
    async with client.get(f"{world.url}/exec?command=id&stdout=1", headers=headers) as response:
        assert (response.status, response.headers.get("X-Request-Id")) == (101, "0123-4567-89ab")
        response.close()


async def test_data_passes_both_ways_and_a_ping_is_answered_from_beyond(ask: Any) -> None:
    async with ask("cat", stdin="true") as ws:
        for size in (0, 1, 200, 70_000, 1_000_000):
            await ws.send_bytes(b"\x00" + b"x" * size)
            assert (await ws.receive()).data == b"\x01" + b"x" * size
        await ws.ping(b"still there?")
        await ws.send_bytes(b"\x00end")
        assert (await ws.receive()).data == b"\x01end"


async def test_a_reader_that_does_not_read_stops_the_writer(world: World, ask: Any) -> None:
    sent = 0

    async def flood(ws: web.WebSocketResponse) -> None:
        nonlocal sent
        for _ in range(1000):
            await ws.send_bytes(b"\x01" + b"x" * 65536)
            sent += 1

    world.speak = flood
    async with ask("yes") as ws:
        before = -1
        while before != sent or not sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 500
        for _ in range(1000):
            assert len((await ws.receive()).data) == 65537


async def test_a_withdrawn_right_ends_it_with_a_status_between_two_messages(world: World, ask: Any) -> None:
    speaking = asyncio.Event()

    async def slowly(ws: web.WebSocketResponse) -> None:
        while not speaking.is_set():
            await ws.send_bytes(b"\x01" + b"x" * 5000)
            await asyncio.sleep(0)

    world.speak = slowly
    async with ask("yes") as ws:
        await ws.receive()
        world.allowed = False
        world.sessions._authorizer._answers.clear()
        while (message := await ws.receive()).data[0] == 1:
            assert len(message.data) == 5001
        status = msgspec.json.decode(message.data[1:])
        assert (message.data[0], status["status"], status["reason"]) == (3, "Failure", "Forbidden")
        closed = await ws.receive()
        assert (closed.type, closed.data) == (WSMsgType.CLOSE, 1000)
    speaking.set()
    await over(world)
    assert world.ends == ["Forbidden"]


async def test_a_caller_that_leaves_ends_the_command_s_connection(world: World, ask: Any) -> None:
    async with ask("cat", stdin="true"):
        assert world.open == 1
    await over(world)
    assert world.ends == ["Closed"]


async def test_the_log_names_user_runner_and_program_but_no_argument(
    ask: Any, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with ask("mysql\nforged line", "--password=secret", headers={"Audit-ID": "0123-4567-89ab"}):
        pass
    await over(world)
    begin, end = (record for record in caplog.records if record.name.endswith(".exec"))
    who = {"request": "0123-4567-89ab", "user": "alice", "namespace": "team", "name": "shop", "uid": UID}
    told: dict[str, Any] = {**vars(begin)["fields"]}
    assert told == {**who, "program": "mysql\nforged line", "arguments": 1, "tty": False, "stdin": False}
    ended: dict[str, Any] = {**vars(end)["fields"]}
    assert ended.pop("seconds") >= 0
    assert ended == {**who, "received": ended["received"], "sent": ended["sent"], "end": "Closed"}
