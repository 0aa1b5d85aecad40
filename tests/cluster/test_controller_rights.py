"""What the controller may not do, what nobody else may, and what the CRDs refuse: asked of the real API server."""

from __future__ import annotations

import json
import secrets
import uuid
from typing import Any

import pytest

from devcluster.kubectl import KubectlError
from sandbox_protocol import names
from tests.harness.cluster import Cluster

CONTROLLER = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:sandbox-controller"


def allowed(cluster: Cluster, verb: str, resource: str, name: str = "", *, group: str = "", namespace: str = "") -> bool:
    """As the API server's own authorizer says for the controller."""
    plural, _, subresource = resource.partition("/")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": plural,
        "subresource": subresource,
        "name": name,
        "namespace": namespace,
    }
    review = cluster.create(
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": CONTROLLER, "resourceAttributes": attributes},
        }
    )
    return bool(review["status"]["allowed"])


@pytest.mark.parametrize(
    ("verb", "resource", "name", "group"),
    [
        ("get", "secrets", "", ""),
        ("list", "secrets", "", ""),
        ("get", "secrets", "other", ""),
        ("create", "secrets", "", ""),
        ("create", "pods", "", ""),
        ("delete", "pods", "", ""),
        ("create", "pods/exec", "", ""),
        ("get", "pods/log", "", ""),
        ("update", "nodes", "", ""),
        ("patch", "deployments", "other", "apps"),
        ("create", "clusterrolebindings", "", "rbac.authorization.k8s.io"),
        ("bind", "clusterroles", "cluster-admin", "rbac.authorization.k8s.io"),
        ("escalate", "clusterroles", "", "rbac.authorization.k8s.io"),
        ("impersonate", "users", "", ""),
        ("create", "sandboxrunners", "", names.GROUP),
        ("patch", "sandboxtemplates", "", names.GROUP),
    ],
)
def test_the_controller_may_not(cluster: Cluster, verb: str, resource: str, name: str, group: str) -> None:
    assert not allowed(cluster, verb, resource, name, group=group)


@pytest.mark.parametrize("name", ["control", "env"])
def test_the_controller_reads_its_own_secrets_by_name(cluster: Cluster, name: str) -> None:
    assert allowed(cluster, "list", "secrets", name)


@pytest.mark.parametrize("kind", ["secret generic control", "serviceaccount runner"])
def test_the_controller_writes_in_runtime_namespaces_only(cluster: Cluster, namespace: str, kind: str) -> None:
    what, *rest = kind.split()
    body: dict[str, Any] = {"apiVersion": "v1", "metadata": {"name": rest[-1], "namespace": namespace}}
    body["kind"] = {"secret": "Secret", "serviceaccount": "ServiceAccount"}[what]
    with pytest.raises(KubectlError, match="writes only in namespaces of the form sandbox-<uid>"):
        cluster.kubectl("apply", "--server-side", "-f", "-", f"--as={CONTROLLER}", stdin=json.dumps(body))


@pytest.mark.parametrize("name", ["kube-system", "team-a", "sandbox-system-2", "sandbox-0f0e0d0c"])
def test_the_controller_touches_no_other_namespace(cluster: Cluster, name: str) -> None:
    with pytest.raises(KubectlError, match="sandbox-<uid>"):
        cluster.kubectl("create", "namespace", name, "--dry-run=server", f"--as={CONTROLLER}")


def test_nobody_else_makes_a_namespace_of_our_form(cluster: Cluster) -> None:
    with pytest.raises(KubectlError, match="made by the sandbox controller alone"):
        cluster.kubectl("create", "namespace", f"sandbox-{uuid.uuid4()}")


def test_nobody_else_labels_a_namespace_as_ours(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(KubectlError, match="set by the sandbox controller alone"):
        cluster.kubectl("label", "namespace", namespace, f"{names.LABEL_RUNNER_UID}={uuid.uuid4()}")


def test_namespaces_that_only_sound_alike_are_free(cluster: Cluster) -> None:
    cluster.kubectl("create", "namespace", f"sandbox-{secrets.token_hex(4)}", "--dry-run=server")


def test_no_shipped_role_may_write_the_status(cluster: Cluster) -> None:
    for role in ("view", "edit", "admin"):
        for rule in cluster.get("clusterrole", role)["rules"]:
            if names.GROUP in rule.get("apiGroups", ()):
                assert not [resource for resource in rule["resources"] if resource.endswith("/status")], role


def apply(cluster: Cluster, namespace: str, name: str, spec: dict[str, Any], *options: str) -> None:
    body = {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    cluster.kubectl("apply", "-f", "-", *options, stdin=json.dumps(body))


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"port": 7070}, "belong to the sandbox's agent"),
        ({"port": 0}, "spec.port"),
        ({"workingDir": "/etc"}, "spec.workingDir"),
        ({"workingDir": "/workspace/../etc"}, "must not have . or .."),
        ({"env": [{"name": "SANDBOX_NPROC", "value": "1"}]}, "are reserved"),
        ({"env": [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}, "value or valueFrom"),
        ({"env": [{"name": "A", "valueFrom": {}}]}, "exactly one"),
        ({"storage": {"size": "big"}}, "amount of bytes"),
        ({"lifecycle": {"idleTimeout": "1s"}}, "at least 60s"),
        ({"operatingMode": "Paused"}, "spec.operatingMode"),
        ({"image": "$(whoami)"}, "spec.image"),
        ({"nonsense": 1}, "unknown field"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused_at_once(
    cluster: Cluster, namespace: str, spec: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(KubectlError) as caught:
        apply(cluster, namespace, "refused", spec, "--dry-run=server")
    assert complaint in str(caught.value)


def test_what_cannot_change_is_refused_with_the_next_step(cluster: Cluster, namespace: str) -> None:
    apply(cluster, namespace, "fixed", {"operatingMode": "Suspended", "storage": {"size": "2Gi"}})
    for patch, complaint in (
        ({"templateRef": {"name": "other"}}, "templateRef is immutable; make a new SandboxRunner"),
        ({"storage": {"size": "1Gi"}}, "a volume can grow, not shrink"),
        ({"storage": {"storageClassName": "other"}}, "storageClassName is immutable"),
        ({"runtimeClusterRef": {"name": "other"}}, "runtimeClusterRef is immutable"),
    ):
        with pytest.raises(KubectlError) as caught:
            cluster.kubectl("patch", "sbx", "fixed", "-n", namespace, "--type=merge", "--patch", json.dumps({"spec": patch}))
        assert complaint in str(caught.value)
    cluster.kubectl("delete", "sbx", "fixed", "-n", namespace, "--timeout=60s")


def test_kubectl_shows_columns_and_explains_every_level(cluster: Cluster, namespace: str) -> None:
    apply(cluster, namespace, "shown", {"operatingMode": "Suspended"})
    cluster.kubectl("wait", "sbx/shown", "-n", namespace, "--for=condition=Suspended", "--timeout=60s")
    header, row = cluster.kubectl("get", "sbx", "shown", "-n", namespace).splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "APP", "MODE", "PREVIEW", "AGE"]
    assert row.split()[1:3] == ["False", "Suspended"]
    assert row.split().count("Suspended") >= 2
    assert "shown" in cluster.kubectl("get", "appstudio", "-n", namespace, "-o", "name")
    assert "without a shell" in " ".join(cluster.kubectl("explain", "sbx.spec.command").split())
    cluster.kubectl("delete", "sbx", "shown", "-n", namespace, "--timeout=60s")
