"""Isolation as measured in the pod, under runc and under gVisor, and that a runner under gVisor does all that a runner does."""

from __future__ import annotations

import time
from typing import Any

import pytest

from devcluster.settings import state_from_environment
from sandbox_client import blocking
from sandbox_client.waiting import conditions
from tests.harness.cluster import Cluster
from tests.harness.fixtures import GVISOR, WEB_SERVER, RunnerFactory

TEMPLATE = "sandbox-runner-gvisor"
needs_gvisor = pytest.mark.skipif(
    not (state_from_environment().bin / "runsc").exists(),
    reason="gVisor is not built: `python -m devcluster up --with gvisor`",
)


@pytest.fixture(scope="module")
def under_gvisor(make_runner: RunnerFactory) -> blocking.Sandbox:
    sandbox = make_runner("gvisor", {"command": WEB_SERVER, "templateRef": {"name": TEMPLATE}})
    sandbox.sync({"index.html": "one"})
    sandbox.wait_app()
    return sandbox


def verdict(sandbox: blocking.Sandbox) -> tuple[str, str, str]:
    """Of the condition Isolated, once it is known."""
    deadline = time.monotonic() + 60
    while True:
        (found,) = [item for item in conditions(sandbox.refresh()) if item.type == "Isolated"]
        if found.status != "Unknown":
            return found.status, found.reason, found.message
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def measured(sandbox: blocking.Sandbox) -> dict[str, Any]:
    return dict((sandbox.resource or {})["status"]["isolation"])


@pytest.mark.skipif(GVISOR, reason="about the default runtime")
def test_a_runner_states_the_isolation_it_really_got(cluster: Cluster, runner: blocking.Sandbox) -> None:
    runner.sync({"index.html": "one"})
    runner.wait_app()
    status, reason, message = verdict(runner)
    assert (status, reason) == ("True", "Measured"), message
    for container, said in measured(runner).items():
        proc = dict(
            line.split(":\t", 1)
            for line in cluster.exec(runner, "cat", "/proc/self/status", container=container).splitlines()
            if ":\t" in line
        )
        assert (said["kernel"], said["seccomp"], said["capabilities"]) == ("Linux", "Filter", "0")
        assert (said["userNamespace"], said["noNewPrivileges"], said["readOnlyRoot"]) == (True, True, True)
        assert (proc["Seccomp"], int(proc["CapEff"], 16), proc["NoNewPrivs"]) == ("2", 0, "1")
        assert cluster.exec(runner, "cat", "/proc/self/uid_map", container=container).split()[1] != "0"
    limits = measured(runner)["app"]["limits"]
    assert limits | {"memoryBytes": 2 << 30, "cpuMillis": 2000, "processes": 1024, "coreBytes": 0, "openFiles": 16384} == limits


@pytest.mark.skipif(GVISOR, reason="about the default runtime")
def test_less_than_was_asked_for_is_a_condition(client: blocking.Client, cluster: Cluster) -> None:
    installed = cluster.get("sandboxtemplate", "sandbox-runner")
    spec = {**installed["spec"], "hostUsers": True}
    cluster.apply({**{key: installed[key] for key in ("apiVersion", "kind")}, "metadata": {"name": "host-users"}, "spec": spec})
    sandbox = client.apply("weaker", {"command": WEB_SERVER, "templateRef": {"name": "host-users"}})
    try:
        sandbox.wait_ready()
        status, reason, message = verdict(sandbox)
        assert (status, reason) == ("False", "Weaker")
        assert "agent: no user namespace" in message
    finally:
        sandbox.delete()
        cluster.kubectl("delete", "sandboxtemplate", "host-users", "--wait=false")


@needs_gvisor
def test_under_gvisor_a_runner_syncs_and_shows_it(under_gvisor: blocking.Sandbox) -> None:
    under_gvisor.sync({"index.html": "two", "a/b.txt": "deep"})
    assert under_gvisor.proxy("GET", "/index.html").body == b"two"
    assert under_gvisor.read_file("a/b.txt").content == b"deep"
    assert under_gvisor.preview().url.startswith("http")


@needs_gvisor
def test_under_gvisor_a_runner_logs_and_restarts(under_gvisor: blocking.Sandbox) -> None:
    before = under_gvisor.status().process
    under_gvisor.restart(grace_period_seconds=0)
    under_gvisor.wait_app()
    after = under_gvisor.status().process
    assert after.restarts == before.restarts  # it did not end by itself
    assert after.pid != before.pid
    assert "started" in "".join(under_gvisor.logs())


@needs_gvisor
def test_under_gvisor_exec_meets_another_kernel(under_gvisor: blocking.Sandbox) -> None:
    assert "Starting gVisor" in under_gvisor.exec("dmesg").stdout.decode()


@needs_gvisor
def test_under_gvisor_that_kernel_is_stated(under_gvisor: blocking.Sandbox) -> None:
    status, reason, message = verdict(under_gvisor)
    assert (status, reason) == ("True", "Measured"), message
    assert {said["kernel"] for said in measured(under_gvisor).values()} == {"gVisor"}
    assert "kernel gVisor" in message
