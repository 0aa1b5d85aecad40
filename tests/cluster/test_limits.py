"""Floods and slow readers, through the real API server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from sandbox_client import blocking
from sandbox_client.api import Api, Request
from sandbox_protocol import names
from tests.cluster.test_apiserver import ask, verb_path
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory, UserFactory

# Holds every request for /slow until somebody asks for /release.
HOLD = """
import http.server, os, threading
released = threading.Event()
class Hold(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            released.wait(50)
        if self.path == "/release":
            released.set()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
Server((os.environ["HOST"], int(os.environ["PORT"])), Hold).serve_forever()
"""
# One user's share of a runner's 128 streams, at each of two replicas.
ALLOWED = 2 * 64
# Of one client of the SDK.
CONNECTIONS = 64
GROWTH = 48 * 1024 * 1024
"""Bytes that a replica may grow by while it holds back an export: several times what both sides' buffers are."""


@pytest.fixture(scope="module")
def holding(make_runner: RunnerFactory) -> blocking.Sandbox:
    sandbox = make_runner("holding", {"command": ["python3", "-c", HOLD]})
    sandbox.sync({"started.txt": "x"})
    sandbox.wait_app()
    return sandbox


async def test_a_flood_of_one_user_is_refused_with_numbers_and_another_user_is_served(
    user: UserFactory, holding: blocking.Sandbox
) -> None:
    alice, bob = user("edit"), user("edit")
    proxy = verb_path(holding, "proxy")
    async with Api(alice) as one, Api(alice) as two, Api(alice) as three:
        clients = [client for client in (one, two, three) for _ in range(CONNECTIONS)]
        flood = [asyncio.create_task(client.exchange(Request("GET", f"{proxy}/slow"))) for client in clients]
        refused = [await task for task in await first(flood, len(flood) - ALLOWED)]
        assert {answer.status for answer in refused} == {429}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
        text = await refused[0].text()
        assert re.search(r'user \\"system:serviceaccount:.*64 .* in flight, 64 are allowed', text), text
        assert (await ask(bob, Request("GET", verb_path(holding, "status"))))[0] == 200
        assert (await ask(bob, Request("GET", f"{proxy}/release")))[0] == 200
        assert {(await task).status for task in flood} == {200, 429}
        assert (await one.exchange(Request("GET", f"{proxy}/after"))).status == 200


async def first(tasks: list[asyncio.Task[aiohttp.ClientResponse]], count: int) -> list[asyncio.Task[aiohttp.ClientResponse]]:
    """Those of ``tasks`` that are done, once at least ``count`` are."""
    pending = set(tasks)
    while len(tasks) - len(pending) < count:
        _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    return [task for task in tasks if task.done()]


async def test_a_slow_reader_of_a_large_export_fills_no_replica(
    cluster: Cluster, user: UserFactory, holding: blocking.Sandbox
) -> None:
    cluster.exec(holding, "sh", "-c", "head -c 300000000 /dev/urandom > /workspace/big.bin")
    before = resident(cluster)
    async with Api(user("edit")) as api:
        answer = await api.exchange(Request("GET", verb_path(holding, "sync"), headers={"Accept": "application/x-tar"}))
        assert answer.status == 200
        await answer.content.readexactly(1_000_000)
        await asyncio.sleep(5)  # in which a server that does not hold back would have read all of it
        grown = {pod: size - before[pod] for pod, size in resident(cluster).items()}
        answer.close()
    assert max(grown.values()) < GROWTH, grown
    cluster.exec(holding, "rm", "/workspace/big.bin")


def resident(cluster: Cluster) -> dict[str, float]:
    """Bytes of each replica of our API server."""
    pods = cluster.get("pods", f"--namespace={names.SYSTEM_NAMESPACE}", "--selector=app.kubernetes.io/name=sandbox-apiserver")
    found = {}
    for pod in pods["items"]:
        name = pod["metadata"]["name"]
        text = cluster.kubectl(
            "get", "--raw", f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/pods/https:{name}:8443/proxy/metrics"
        )
        found[name] = float(
            next(line for line in text.splitlines() if line.startswith("process_resident_memory_bytes")).split()[1]
        )
    return found


async def test_the_id_of_the_api_server_is_in_our_answer_our_log_and_the_agents(
    cluster: Cluster, user: UserFactory, holding: blocking.Sandbox
) -> None:
    async with Api(user("edit")) as api:
        answer = await api.exchange(Request("GET", verb_path(holding, "status")))
        identity = answer.headers["Audit-Id"]
        assert answer.headers["X-Request-Id"] == identity
        answer.release()
    ours = cluster.kubectl(
        "logs", f"--namespace={names.SYSTEM_NAMESPACE}", "--selector=app.kubernetes.io/name=sandbox-apiserver", "--tail=200"
    )
    theirs = cluster.kubectl(
        "logs", "--namespace", cluster.refs(holding).namespace, "deployment/runner", "--container=agent", "--tail=200"
    )
    assert f'"request": "{identity}"' in ours
    assert f'"request": "{identity}"' in theirs


async def test_a_refusal_reaches_a_caller_that_is_still_sending(user: UserFactory, holding: blocking.Sandbox) -> None:
    """64 MiB are allowed; the caller would send without end, and must be told at the limit."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'{"files":[{"path":"a","content":"'
        while sent < 512 * 1024 * 1024:
            sent += 1024 * 1024
            yield b"x" * 1024 * 1024

    async with Api(user("edit")) as api:
        answer = await api.exchange(
            Request("POST", verb_path(holding, "sync"), headers={"Content-Type": "application/json"}, body=endless)
        )
        body = json.loads(await answer.text())
    assert (answer.status, body["reason"]) == (413, "RequestEntityTooLarge"), body
    assert sent < 512 * 1024 * 1024
