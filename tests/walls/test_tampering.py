"""Somebody with rights in a runtime namespace, up to the cluster's administrator, changes what keeps its sandbox in: what would
open the network unseen is refused, the rest is put right."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from devcluster.kubectl import KubectlError
from sandbox_client import blocking
from sandbox_operator.controller import control_secret
from sandbox_protocol import names
from sandbox_protocol.refs import Refs
from tests.harness.cluster import Cluster
from tests.walls import places
from tests.walls.frame import Outcome, Walls, stopped, through

NETWORK = "ValidatingAdmissionPolicy `sandbox-network`"
WORKLOADS = "ValidatingAdmissionPolicy `sandbox-workloads`"
OPEN_ALL = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}
SHUT_ALL = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
LABELS = {"app": "attack"}

Change = Callable[[Cluster, str], Any]
"""Made in the namespace; raises KubectlError when it is refused."""


def create(cluster: Cluster, namespace: str, api_version: str, kind: str, **fields: Any) -> None:
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": f"attack-{secrets.token_hex(3)}"}, **fields}
    cluster.kubectl("create", "-f", "-", f"--namespace={namespace}", stdin=json.dumps(body))


def patched(cluster: Cluster, namespace: str, what: str, patch: Any, kind: str = "merge") -> None:
    cluster.kubectl("patch", what, f"--namespace={namespace}", f"--type={kind}", "--patch", json.dumps(patch))


def of_the_pods(cluster: Cluster, namespace: str, **fields: Any) -> None:
    """Another field in the pod template of the runner's Deployment."""
    patched(cluster, namespace, "deployment/runner", {"spec": {"template": {"spec": fields}}})


def pod_spec(cluster: Cluster) -> dict[str, Any]:
    """Of the image that sandboxes run, with the runner's secret; admitted under the Pod Security Standard `restricted`."""
    image = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["defaults"]["image"]
    spec: dict[str, Any] = places.pod_object(image, "", {})["spec"]
    (container,) = spec["containers"]
    mounted = {**container, "volumeMounts": [{"name": "control", "mountPath": "/stolen"}]}
    return {**spec, "containers": [mounted], "volumes": [{"name": "control", "secret": {"secretName": names.CONTROL_SECRET}}]}


OPENED: dict[str, Change] = {
    "open the network policy": lambda cluster, where: patched(cluster, where, "networkpolicy/isolation", {"spec": OPEN_ALL}),
    "add a network policy that opens everything": lambda cluster, where: create(
        cluster, where, "networking.k8s.io/v1", "NetworkPolicy", spec=OPEN_ALL
    ),
    "add a Service of the app": lambda cluster, where: create(
        cluster,
        where,
        "v1",
        "Service",
        spec={"selector": {"app.kubernetes.io/name": "sandbox-runner"}, "ports": [{"port": 3000}]},
    ),
    "give a Service an address of the outside": lambda cluster, where: patched(
        cluster, where, "service/preview", {"spec": {"externalIPs": ["198.51.100.7"]}}
    ),
    "add an Ingress of the preview port": lambda cluster, where: create(
        cluster,
        where,
        "networking.k8s.io/v1",
        "Ingress",
        spec={"defaultBackend": {"service": {"name": "preview", "port": {"number": 7080}}}},
    ),
    "delete the network policy": lambda cluster, where: cluster.kubectl(
        "delete", "networkpolicy", names.NETWORK_POLICY, f"--namespace={where}"
    ),
}
RUN: dict[str, Change] = {
    "mount the control Secret in the app": lambda cluster, where: patched(
        cluster,
        where,
        "deployment/runner",
        [
            {
                "op": "add",
                "path": "/spec/template/spec/containers/0/volumeMounts/-",
                "value": {"name": "control", "mountPath": "/seen"},
            }
        ],
        kind="json",
    ),
    "let the app see the agent's processes": lambda cluster, where: of_the_pods(cluster, where, shareProcessNamespace=True),
    "let the pod use the node's network": lambda cluster, where: of_the_pods(cluster, where, hostNetwork=True, hostUsers=True),
    "let the pod use the node's users": lambda cluster, where: of_the_pods(cluster, where, hostUsers=True),
    "mount a ServiceAccount token": lambda cluster, where: of_the_pods(cluster, where, automountServiceAccountToken=True),
    "run a pod with the control Secret": lambda cluster, where: create(cluster, where, "v1", "Pod", spec=pod_spec(cluster)),
    "run a Job with the control Secret": lambda cluster, where: create(
        cluster,
        where,
        "batch/v1",
        "Job",
        spec={"template": {"spec": {**pod_spec(cluster), "restartPolicy": "Never"}}},
    ),
    "run a Deployment with the control Secret": lambda cluster, where: create(
        cluster,
        where,
        "apps/v1",
        "Deployment",
        spec={
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": pod_spec(cluster)},
        },
    ),
    "lead the preview Service to another pod": lambda cluster, where: cluster.kubectl(
        "create",
        "-f",
        "-",
        f"--namespace={where}",
        stdin=json.dumps(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": f"attack-{secrets.token_hex(3)}", "labels": {"kubernetes.io/service-name": "preview"}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.200.0.9"]}],
                "ports": [{"name": "preview", "port": 7080}],
            }
        ),
    ),
}


@pytest.fixture(scope="module")
def plain(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A namespace with the same objects and no wall."""
    name = f"no-wall-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    cluster.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": names.NETWORK_POLICY, "namespace": name},
            "spec": SHUT_ALL,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "preview", "namespace": name},
            "spec": {"ports": [{"port": 7080}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "runner", "namespace": name},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": pod_spec(cluster)},
            },
        },
    )
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def attempt(cluster: Cluster, namespace: str, change: Change) -> Outcome:
    try:
        change(cluster, namespace)
    except KubectlError as error:
        if "written by the sandbox controller alone" not in str(error):
            raise
        return stopped("403, the policy's words")
    return through("done")


@pytest.mark.parametrize("attack", OPENED)
def test_the_administrator_opens_no_way_into_a_sandbox(
    walls: Walls, cluster: Cluster, runner: blocking.Sandbox, plain: str, attack: str
) -> None:
    walls.refuse(
        f"the administrator: {attack}",
        wall=NETWORK,
        inside=lambda: attempt(cluster, cluster.refs(runner).namespace, OPENED[attack]),
        outside=lambda: attempt(cluster, plain, OPENED[attack]),
    )


@pytest.mark.parametrize("attack", RUN)
def test_the_administrator_runs_nothing_else_in_a_sandbox(
    walls: Walls, cluster: Cluster, runner: blocking.Sandbox, plain: str, attack: str
) -> None:
    walls.refuse(
        f"the administrator: {attack}",
        wall=WORKLOADS,
        inside=lambda: attempt(cluster, cluster.refs(runner).namespace, RUN[attack]),
        outside=lambda: attempt(cluster, plain, RUN[attack]),
    )


def test_the_administrator_adds_no_policy_of_another_network_plugin(
    walls: Walls, cluster: Cluster, runner: blocking.Sandbox, plain: str
) -> None:
    if not cluster.kubectl("api-resources", "--api-group=cilium.io", "--output=name").strip():
        pytest.skip("no Cilium here")
    spec = {"endpointSelector": {}, "egress": [{"toEntities": ["all"]}], "ingress": [{"fromEntities": ["all"]}]}

    def change(cluster: Cluster, where: str) -> None:
        create(cluster, where, "cilium.io/v2", "CiliumNetworkPolicy", spec=spec)

    walls.refuse(
        "the administrator: add a CiliumNetworkPolicy that opens everything",
        wall=NETWORK,
        inside=lambda: attempt(cluster, cluster.refs(runner).namespace, change),
        outside=lambda: attempt(cluster, plain, change),
    )


def fields(cluster: Cluster, namespace: str, what: str) -> Any:
    """What the wall is made of: all but what every write changes; of the namespace itself, its labels."""
    if what == "namespace":
        return cluster.get("namespace", namespace)["metadata"]["labels"]
    live = cluster.get(what, f"--namespace={namespace}")
    return {key: value for key, value in live.items() if key not in {"metadata", "status"}}


def another_key(cluster: Cluster, namespace: str) -> None:
    """Token and certificate of the attacker's own making, good for this very runner."""
    uid = cluster.get("namespace", namespace)["metadata"]["labels"][names.LABEL_RUNNER_UID]
    patched(cluster, namespace, "secret/control", {"data": control_secret.fresh(Refs(uid), datetime.now(UTC))})


# a Secret that is deleted is not put right but made anew: see test_rotation
REPAIRED: dict[str, tuple[str, Change]] = {
    "put its own token and key into the Secret": ("secret/control", another_key),
    "lower the Pod Security Standard": (
        "namespace",
        lambda cluster, where: cluster.kubectl(
            "label", "namespace", where, "pod-security.kubernetes.io/enforce=privileged", "--overwrite"
        ),
    ),
    "run two of the same": (
        "deployment/runner",
        lambda cluster, where: patched(cluster, where, "deployment/runner", {"spec": {"replicas": 2}}),
    ),
    "let its ServiceAccount hand out tokens": (
        "serviceaccount/runner",
        lambda cluster, where: patched(cluster, where, "serviceaccount/runner", {"automountServiceAccountToken": True}),
    ),
    "give a stranger the data plane's binding": (
        "rolebinding/data-plane",
        lambda cluster, where: patched(
            cluster,
            where,
            "rolebinding/data-plane",
            {"subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]},
        ),
    ),
    "lift the quota": (
        "resourcequota/limits",
        lambda cluster, where: patched(cluster, where, "resourcequota/limits", {"spec": {"hard": {"pods": "99"}}}),
    ),
}


@pytest.mark.parametrize("attack", REPAIRED)
def test_what_the_administrator_changed_is_put_right(
    walls: Walls, cluster: Cluster, runner: blocking.Sandbox, attack: str, record_property: Callable[[str, object], None]
) -> None:
    what, change = REPAIRED[attack]
    namespace = cluster.refs(runner).namespace
    before = fields(cluster, namespace, what)

    def inside() -> Outcome:
        change(cluster, namespace)
        changed = time.monotonic()
        while time.monotonic() - changed < 30:
            try:
                if fields(cluster, namespace, what) == before:
                    seconds = time.monotonic() - changed
                    record_property("seconds", seconds)
                    print(f"{attack}: put right after {seconds:.2f} s, as kubectl sees it")
                    return stopped("put right")
            except KubectlError:  # deleted, and not made again yet
                pass
        return through("left so")

    walls.refuse(f"the administrator: {attack}", wall="controller", inside=inside, outside="nobody else would put it right")


def test_the_sandbox_still_answers_after_all_that(runner: blocking.Sandbox) -> None:
    runner.wait_ready()
    assert runner.status()
