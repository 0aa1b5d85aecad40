"""Our API server behind the real aggregator."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from sandbox_client import blocking
from sandbox_client.api import Api, Request, path
from sandbox_client.kubeconfig import Connection
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory, UserFactory

GROUP = f"/apis/{names.SUBRESOURCE_GROUP}/{names.VERSION}"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def ask(connection: Connection, request: Request) -> tuple[int, Any]:
    async with Api(connection) as api:
        answer = await api.exchange(request)
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith("{") else text


ECHO = """
import http.server, json, os
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({name.lower(): value for name, value in self.headers.items()}).encode())
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Echo).serve_forever()
"""
"""An app that answers with the headers of the request."""


def verb_path(sandbox: blocking.Sandbox, verb: str) -> str:
    return path("apis", names.SUBRESOURCE_GROUP, names.VERSION, "namespaces", sandbox.namespace, names.PLURAL, sandbox.name, verb)


def test_the_group_is_available_and_every_verb_is_discovered(cluster: Cluster) -> None:
    service = cluster.get("apiservice", f"{names.VERSION}.{names.SUBRESOURCE_GROUP}")
    assert [c["status"] for c in service["status"]["conditions"] if c["type"] == "Available"] == ["True"]
    found = {r["name"]: r["verbs"] for r in json.loads(cluster.kubectl("get", "--raw", GROUP))["resources"]}
    assert found["sandboxrunners/log"] == ["get"]
    assert {"sync", "restart", "log", "status", "preview", "proxy"} <= {name.partition("/")[2] for name in found}


async def test_the_api_server_merges_our_discovery_and_openapi_into_its_own(cluster: Cluster) -> None:
    _, discovery = await ask(cluster.admin, Request("GET", "/apis", headers={"Accept": AGGREGATED}))
    (group,) = (item for item in discovery["items"] if item["metadata"]["name"] == names.SUBRESOURCE_GROUP)
    (version,) = group["versions"]
    assert version["freshness"] == "Current"
    assert {"sync", "log"} <= {sub["subresource"] for sub in version["resources"][0]["subresources"]}
    _, index = await ask(cluster.admin, Request("GET", "/openapi/v3"))
    assert GROUP.removeprefix("/") in index["paths"]


async def test_user_headers_count_only_from_the_api_server(cluster: Cluster, runner: blocking.Sandbox) -> None:
    """Around the aggregation, through the proxy to our Service, comes no client certificate: then no header makes anybody."""
    around = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/services/https:sandbox-apiserver:443/proxy"
    forged = {"X-Remote-User": "system:admin", "X-Remote-Group": "system:masters"}
    assert (await ask(cluster.admin, Request("GET", f"{around}/livez")))[0] == 200
    for method, verb in (("GET", "log"), ("POST", "sync"), ("GET", "status")):
        code, body = await ask(cluster.admin, Request(method, around + verb_path(runner, verb), headers=forged))
        assert (code, body["reason"]) == (401, "Unauthorized")


async def test_unknown_verbs_methods_and_parameters_are_named(cluster: Cluster, runner: blocking.Sandbox) -> None:
    code, body = await ask(cluster.admin, Request("GET", verb_path(runner, "environment")))
    assert (code, body["reason"]) == (404, "NotFound")
    assert '"environment"' in body["message"]
    assert (await ask(cluster.admin, Request("PUT", verb_path(runner, "sync"), body=b"{}")))[0] == 405
    code, body = await ask(cluster.admin, Request("GET", verb_path(runner, "log"), query=[("tail", "3")]))
    assert (code, body["details"]["causes"][0]["field"]) == (400, "tail")


async def test_a_name_cannot_reach_another_path(cluster: Cluster, runner: blocking.Sandbox) -> None:
    for name in ("..%2f..%2fsecrets", "%2e%2e", f"{runner.name}%2Flog", f"{runner.name}%3Fx", f"{runner.name}%23"):
        code, body = await ask(
            cluster.admin, Request("GET", f"{GROUP}/namespaces/{runner.namespace}/{names.PLURAL}/{name}/status")
        )
        assert code == 404, body


async def test_a_missing_runner_is_not_found(cluster: Cluster, namespace: str) -> None:
    code, body = await ask(cluster.admin, Request("GET", f"{GROUP}/namespaces/{namespace}/{names.PLURAL}/nobody/status"))
    assert code == 404
    assert '"nobody" not found' in body["message"]


async def test_the_app_never_sees_who_called(user: UserFactory, make_runner: RunnerFactory) -> None:
    sandbox = make_runner("echo", {"command": ["python3", "-c", ECHO]})
    sandbox.sync({"started.txt": ""})
    sandbox.wait_app()
    headers = {"Cookie": "session=1", "X-Kept": "1"}
    code, told = await ask(user("edit"), Request("GET", verb_path(sandbox, "proxy") + "/any", headers=headers))
    assert code == 200
    assert told["x-kept"] == "1"
    assert {"authorization", "cookie"} & set(told) == set()
    assert [name for name in told if name.startswith(("x-remote", "impersonate", "x-sandbox"))] == []


async def test_a_rollout_loses_no_request(cluster: Cluster, user: UserFactory, runner: blocking.Sandbox) -> None:
    """Three callers (an agent takes no more than four syncs at once) without a pause, while every replica is replaced."""
    deployment = ["deployment/sandbox-apiserver", f"--namespace={names.SYSTEM_NAMESPACE}"]
    over = asyncio.Event()
    answered: list[int] = []

    async def caller(api: Api, number: int) -> None:
        body = json.dumps({"files": [{"path": f"rollout/{number}.txt", "content": "x"}], "restart": "never"}).encode()
        while not over.is_set():
            answer = await api.exchange(
                Request("POST", verb_path(runner, "sync"), headers={"Content-Type": "application/json"}, body=body)
            )
            assert answer.status == 200, await answer.text()
            answer.release()
            answered.append(number)

    async with Api(user("edit")) as api, asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(caller(api, number))
        await asyncio.to_thread(cluster.kubectl, "rollout", "restart", *deployment)
        await asyncio.to_thread(cluster.kubectl, "rollout", "status", *deployment, "--timeout=180s")
        over.set()
    assert set(answered) == set(range(3))
