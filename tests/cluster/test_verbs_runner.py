"""The life of a SandboxRunner as its user sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox_client import Forbidden, NeverReady, NotFound, blocking
from sandbox_client.api import json_request, path
from sandbox_client.kubeconfig import Connection
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory, UserFactory
from tests.harness.requests import send

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_an_empty_spec_becomes_ready_and_deleting_it_removes_its_namespace(
    cluster: Cluster, namespace: str, client: blocking.Client
) -> None:
    cluster.kubectl("apply", "--namespace", namespace, "-f", EXAMPLES / "empty.yaml")
    sandbox = client.get("empty")
    sandbox.wait_ready()
    runtime = cluster.refs(sandbox).namespace
    assert cluster.get("namespace", runtime)["status"]["phase"] == "Active"
    assert sandbox.status().process.state == "AwaitingFirstSync"
    cluster.kubectl("delete", "--namespace", namespace, "sandboxrunner", "empty", "--timeout=60s")
    assert cluster.kubectl("get", "namespace", runtime, "--ignore-not-found") == ""
    with pytest.raises(NotFound):
        sandbox.refresh()


def test_suspending_ends_the_pod_and_keeps_the_files(cluster: Cluster, make_runner: RunnerFactory) -> None:
    sandbox = make_runner("sleeper")
    sandbox.sync({"kept.txt": "still here"})
    revision = sandbox.manifest().revision
    sandbox.suspend()
    sandbox.wait_ready(condition="Suspended")
    assert cluster.get("pods", "--namespace", cluster.refs(sandbox).namespace)["items"] == []
    with pytest.raises(NeverReady, match="Suspended"):
        sandbox.wait_ready()
    sandbox.resume()
    sandbox.wait_ready()
    assert sandbox.manifest().revision == revision
    assert sandbox.read("kept.txt") == {"kept.txt": b"still here"}
    sandbox.wait_app()


def test_a_template_that_does_not_exist_is_said_in_words(client: blocking.Client) -> None:
    sandbox = client.apply("lost", {"templateRef": {"name": "no-such-template"}})
    with pytest.raises(NeverReady, match="no-such-template"):
        sandbox.wait_ready(timeout=60)
    sandbox.delete()


@pytest.mark.parametrize("role", ["edit", "admin"])
def test_users_cannot_write_a_runner_s_status(user: UserFactory, runner: blocking.Sandbox, role: str) -> None:
    with pytest.raises(Forbidden, match="status"):
        _patch_status(user(role), runner, {"refs": {"namespace": "kube-system"}})


def test_a_forged_status_moves_nothing(cluster: Cluster, namespace: str, runner: blocking.Sandbox) -> None:
    """Not even one that an administrator wrote, and that points at objects which look like a runtime's own."""
    victim = f"{namespace}-victim"
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": victim}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": names.CONTROL_SECRET, "namespace": victim},
            "stringData": {names.SECRET_TOKEN: "stolen"},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": names.CONTROL_SERVICE, "namespace": victim},
            "spec": {"selector": {"app": "nothing"}, "ports": [{"port": names.CONTROL_PORT}]},
        },
    )
    refs = {"namespace": victim, "controlService": "control", "controlSecret": "control", "previewService": "control"}
    _patch_status(cluster.admin, runner, {"refs": refs, "preview": {"host": "evil.example"}})
    # the victim's Service has no endpoints: had anything followed the status, this would have failed
    runner.sync({"after-forgery.txt": "arrived"})
    assert cluster.exec(runner, "cat", "/workspace/after-forgery.txt") == "arrived"
    assert cluster.refs(runner).preview_id in runner.preview().url
    # the controller writes what is true again as soon as anything changes
    runner.suspend()
    runner.wait_ready(condition="Suspended")
    assert runner.resource["status"]["refs"]["namespace"] == cluster.refs(runner).namespace
    runner.resume()
    runner.wait_ready()
    cluster.kubectl("delete", "namespace", victim, "--wait=false")


def _patch_status(connection: Connection, sandbox: blocking.Sandbox, status: dict[str, object]) -> None:
    where = path("apis", names.GROUP, names.VERSION, "namespaces", sandbox.namespace, names.PLURAL, sandbox.name, "status")
    send(connection, json_request("PATCH", where, {"status": status}, content_type="application/merge-patch+json"))
