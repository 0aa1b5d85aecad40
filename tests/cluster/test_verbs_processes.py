"""Several processes of one runner through the Kubernetes API: states, ports, restarts, logs, and what the API server refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from devcluster.kubectl import KubectlError
from sandbox_client import NotFound, ProcessState, blocking
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory

WEB = ["python3", "-u", "-m", "http.server", "3000", "--bind", "0.0.0.0"]
HELLO = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.environ['WHO']} on {os.environ['PORT']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
ESCAPES = "setsid sh -c 'trap \"\" TERM; (setsid sleep 987654 &); sleep 987654' & trap '' TERM; while :; do sleep 1; done"
PROCESSES = [
    {"name": "api", "command": ["python3", "-u", "hello.py"], "port": 4000, "env": [{"name": "WHO", "value": "api"}]},
    {"name": "escapes", "command": ["sh", "-c", ESCAPES]},
    {"name": "bad", "command": ["sh", "-c", "echo boom >&2; exit 3"]},
    {"name": "build", "command": ["sh", "-c", "echo built in $PWD"], "workingDir": "/workspace/parts"},
]


@pytest.fixture(scope="module")
def several(make_runner: RunnerFactory) -> blocking.Sandbox:
    sandbox = make_runner("several", {"command": WEB, "processes": PROCESSES, "restartOn": ["schema/**/*.sql"]})
    sandbox.sync({"index.html": "hi", "hello.py": HELLO, "parts/readme": "begins here"})
    sandbox.wait_app()
    return sandbox


def one(sandbox: blocking.Sandbox, name: str) -> ProcessState:
    return next(process for process in sandbox.status().processes if process.name == name)


FIND = """
import pathlib, sys
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if entry.joinpath("cmdline").read_bytes().split(b"\\0")[:-1] == [word.encode() for word in sys.argv[1:]]:
            print(entry.name, entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        pass
"""


def found(cluster: Cluster, sandbox: blocking.Sandbox, *command: str) -> dict[str, str]:
    """Processes of the app container that run exactly this: pid → pid of the parent."""
    lines = cluster.exec(sandbox, "python3", "-c", FIND, *command).splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def until(true: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return value


def test_each_has_its_state_port_and_restarts(several: blocking.Sandbox) -> None:
    until(lambda: one(several, "api").ready)
    until(lambda: one(several, "bad").restarts >= 1 and one(several, "bad").state == "BackOff")
    status = several.status()
    assert [process.name for process in status.processes] == ["web", "api", "escapes", "bad", "build"]
    assert status.process == status.processes[0]
    assert (one(several, "api").port, one(several, "bad").exit_code) == (4000, 3)
    assert "boom" in one(several, "bad").message
    assert (one(several, "build").state, one(several, "build").reason) == ("Exited", "Completed")


def test_the_preview_port_of_a_process_leads_to_it(several: blocking.Sandbox) -> None:
    until(lambda: one(several, "api").ready)
    assert several.preview(port=4000).url.startswith("http")


def test_one_is_restarted_whole_and_the_others_are_left_alone(cluster: Cluster, several: blocking.Sandbox) -> None:
    before = {process.name: process.pid for process in several.status().processes if process.pid}
    escaped = until(lambda: len(pids := found(cluster, several, "sleep", "987654")) == 2 and pids)
    several.restart(process="api", grace_period_seconds=0)
    until(lambda: one(several, "api").ready)
    after = {process.name: process.pid for process in several.status().processes if process.pid}
    assert after["api"] != before["api"]
    assert (after["web"], after["escapes"]) == (before["web"], before["escapes"])
    several.restart(process="escapes", grace_period_seconds=0)
    until(lambda: one(several, "escapes").ready)
    assert not found(cluster, several, "sleep", "987654").keys() & escaped.keys()
    with pytest.raises(NotFound, match="api, escapes"):
        several.restart(process="nobody")


def test_an_app_that_kills_its_keeper_is_ended_and_started_again(cluster: Cluster, several: blocking.Sandbox) -> None:
    before = {name: one(several, name) for name in ("web", "api")}
    (keeper,) = found(cluster, several, "python3", "-u", "hello.py").values()
    cluster.exec(several, "sh", "-c", f"kill -9 {keeper}")
    until(lambda: one(several, "api").ready and one(several, "api").pid != before["api"].pid)
    assert one(several, "web").pid == before["web"].pid


def test_what_exec_leaves_behind_outlives_restarts(cluster: Cluster, several: blocking.Sandbox) -> None:
    cluster.exec(several, "sh", "-c", "setsid sleep 456789 >/dev/null 2>&1 </dev/null & true")
    left = until(lambda: found(cluster, several, "sleep", "456789"))
    several.restart(grace_period_seconds=0)
    several.wait_app()
    assert found(cluster, several, "sleep", "456789") == left


def test_a_declared_trigger_restarts_all_and_other_files_do_not(several: blocking.Sandbox) -> None:
    before = one(several, "web")
    assert not several.sync({"schema/readme.md": "a"}, restart="never").restarted
    assert several.sync({"schema/v1/a.sql": "a"}).restarted
    until(lambda: one(several, "web").pid not in (None, before.pid) and one(several, "web").ready)
    assert one(several, "web").restarts == before.restarts  # it did not end by itself


def test_the_object_shows_a_line_each(cluster: Cluster, several: blocking.Sandbox) -> None:
    lines = until(lambda: several.refresh()["status"].get("processes"), 60)
    assert [line["name"] for line in lines] == ["web", "api", "escapes", "bad", "build"]
    assert lines[1]["port"] == 4000


def test_the_log_of_each_is_its_own(several: blocking.Sandbox) -> None:
    until(lambda: one(several, "build").state == "Exited")
    assert any("built in /workspace/parts" in line for line in several.logs(stream="stdout"))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"processes": [{"name": "web", "command": ["a"]}]}, "names of the sandbox's own"),
        ({"processes": [{"name": "install", "command": ["a"]}]}, "names of the sandbox's own"),
        ({"processes": [{"name": "a", "command": ["a"]}, {"name": "a", "command": ["b"]}]}, "Duplicate"),
        ({"processes": [{"name": "a", "command": ["a"], "port": 7071}]}, "belong to the sandbox's agent"),
        ({"processes": [{"name": "a", "command": ["a"], "port": 3000}]}, "a port of its own"),
        ({"processes": [{"name": f"a{n}", "command": ["a"], "port": 4000} for n in range(2)]}, "the same port"),
        ({"processes": [{"name": "A_b", "command": ["a"]}]}, "should match"),
        ({"processes": [{"name": "a", "command": []}]}, "at least 1"),
        ({"processes": [{"name": f"a{n}", "command": ["a"]} for n in range(9)]}, "at most 8"),
    ],
)
def test_what_cannot_be_is_refused_with_the_field(cluster: Cluster, namespace: str, spec: dict[str, Any], words: str) -> None:
    runner = {"apiVersion": f"{names.GROUP}/{names.VERSION}", "kind": names.KIND, "metadata": {"name": "odd"}, "spec": spec}
    with pytest.raises(KubectlError, match=words):
        cluster.kubectl("create", f"--namespace={namespace}", "--dry-run=server", "-f", "-", stdin=json.dumps(runner))


def test_at_the_end_of_a_pod_apps_end_first_and_the_agent_in_order(cluster: Cluster, make_runner: RunnerFactory) -> None:
    """The launcher ends within its 2 s although the app does not listen, and the agent has time to close the workspace."""
    sandbox = make_runner("ending", {"command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]})
    sandbox.sync({"a": "b"})
    until(lambda: sandbox.status().process.pid)
    where = ["pod", cluster.pod(sandbox), "--namespace", cluster.refs(sandbox).namespace]
    cluster.kubectl("patch", *where, "--type=merge", "--patch", '{"metadata":{"finalizers":["tests.appstudio.dev/look"]}}')
    try:
        cluster.kubectl("delete", *where, "--wait=false")

        def ended() -> dict[str, Any] | None:
            status = cluster.get(*where)["status"]
            found = {one["name"]: one["state"].get("terminated") for one in _containers(status) if one["name"] != "gate"}
            return found if all(found.values()) else None

        codes = {name: state["exitCode"] for name, state in until(ended).items()}
    finally:
        cluster.kubectl("patch", *where, "--type=merge", "--patch", '{"metadata":{"finalizers":null}}')
    assert codes == {"app": 0, "agent": 0}


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [*status["initContainerStatuses"], *status["containerStatuses"]]
