"""Somebody with rights in a runtime namespace, up to the cluster's administrator, changes what keeps its sandbox in: what would
open it unseen, or what nothing brings back, is refused; the rest is put right."""

from __future__ import annotations

import json
import secrets
import time
import uuid
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
from tests.harness.fixtures import GVISOR
from tests.walls import places
from tests.walls.frame import Outcome, Walls, stopped, through

NETWORK = "ValidatingAdmissionPolicy `sandbox-network`"
WORKLOADS = "ValidatingAdmissionPolicy `sandbox-workloads`"
RIGHTS = "ValidatingAdmissionPolicy `sandbox-rights`"
WORDS = ("written by the sandbox controller alone", "nobody but a kubelet is given a token of a sandbox's ServiceAccounts")
OPEN_ALL = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}
SHUT_ALL = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
LABELS = {"app": "attack"}
RBAC = "rbac.authorization.k8s.io"
STRANGER = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}

Change = Callable[[Cluster, str], Any]
"""Made in the namespace; raises KubectlError when it is refused."""


def create(cluster: Cluster, namespace: str, api_version: str, kind: str, **fields: Any) -> None:
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": f"attack-{secrets.token_hex(3)}"}, **fields}
    cluster.kubectl("create", "-f", "-", f"--namespace={namespace}", stdin=json.dumps(body))


def patched(cluster: Cluster, namespace: str, what: str, patch: Any, *options: str, kind: str = "merge") -> None:
    cluster.kubectl("patch", what, f"--namespace={namespace}", f"--type={kind}", "--patch", json.dumps(patch), *options)


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


def more_memory(cluster: Cluster, namespace: str) -> None:
    """For the first container of the pod that is there, while it runs."""
    (pod, *_) = cluster.get("pods", f"--namespace={namespace}")["items"]
    resources = {"limits": {"memory": "7Gi"}, "requests": {"memory": "256Mi"}}
    change = {"spec": {"containers": [{"name": pod["spec"]["containers"][0]["name"], "resources": resources}]}}
    patched(cluster, namespace, f"pod/{pod['metadata']['name']}", change, "--subresource=resize", kind="strategic")


def bind(cluster: Cluster, namespace: str, role: str, subject: dict[str, str]) -> None:
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
    create(cluster, namespace, f"{RBAC}/v1", "RoleBinding", roleRef=reference, subjects=[subject])


def another_key(cluster: Cluster, namespace: str) -> None:
    """Token and certificate of the attacker's own making, in a runtime good for this very runner."""
    labels = cluster.get("namespace", namespace)["metadata"]["labels"]
    refs = Refs(labels.get(names.LABEL_RUNNER_UID, str(uuid.uuid4())))
    patched(cluster, namespace, "secret/control", {"data": control_secret.fresh(refs, datetime.now(UTC))})


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
# gVisor's profile has its own kernel instead of users of its own: deploy/gvisor
NEARER_TO_THE_NODE: dict[str, Change] = (
    {"let the pod use the node's kernel": lambda cluster, where: of_the_pods(cluster, where, runtimeClassName=None)}
    if GVISOR
    else {"let the pod use the node's users": lambda cluster, where: of_the_pods(cluster, where, hostUsers=True)}
)
RUN: dict[str, Change] = {
    **NEARER_TO_THE_NODE,
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
    "give the running pod more memory": more_memory,
    "add a volume": lambda cluster, where: create(
        cluster,
        where,
        "v1",
        "PersistentVolumeClaim",
        spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    ),
    "delete the volume": lambda cluster, where: cluster.kubectl(
        "delete", "pvc", names.PVC, f"--namespace={where}", "--wait=false"
    ),
}
GIVEN: dict[str, Change] = {
    "let a stranger read its Secrets": lambda cluster, where: bind(cluster, where, "edit", STRANGER),
    "give the runner's account every right": lambda cluster, where: bind(
        cluster, where, "cluster-admin", {"kind": "ServiceAccount", "name": names.SERVICE_ACCOUNT, "namespace": where}
    ),
    "add a Role that reads its Secrets": lambda cluster, where: create(
        cluster, where, f"{RBAC}/v1", "Role", rules=[{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    ),
    "give a stranger the data plane's binding": lambda cluster, where: patched(
        cluster, where, "rolebinding/data-plane", {"subjects": [STRANGER]}
    ),
    "ask for a token of the runner's account": lambda cluster, where: cluster.kubectl(
        "create", "token", names.SERVICE_ACCOUNT, f"--namespace={where}"
    ),
    "have a token of the runner's account put into a Secret": lambda cluster, where: cluster.kubectl(
        "create",
        "-f",
        "-",
        f"--namespace={where}",
        stdin=json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": f"attack-{secrets.token_hex(3)}",
                    "annotations": {"kubernetes.io/service-account.name": names.SERVICE_ACCOUNT},
                },
                "type": "kubernetes.io/service-account-token",
            }
        ),
    ),
    "let its ServiceAccount hand out tokens": lambda cluster, where: patched(
        cluster, where, "serviceaccount/runner", {"automountServiceAccountToken": True}
    ),
    "give its ServiceAccount a role of the cloud": lambda cluster, where: cluster.kubectl(
        "annotate", "serviceaccount", "runner", f"--namespace={where}", "eks.amazonaws.com/role-arn=arn:aws:iam::1:role/a"
    ),
    "give its ServiceAccount credentials of a registry": lambda cluster, where: patched(
        cluster, where, "serviceaccount/runner", {"imagePullSecrets": [{"name": "theirs"}]}
    ),
    "add a ServiceAccount": lambda cluster, where: create(cluster, where, "v1", "ServiceAccount"),
    "put its own token and key into the Secret": another_key,
    "make the Secret one that can never change": lambda cluster, where: patched(
        cluster, where, "secret/control", {"immutable": True}
    ),
    "lay out variables for the app": lambda cluster, where: cluster.kubectl(
        "create", "secret", "generic", names.ENV_SECRET, f"--namespace={where}", "--from-literal=A=b"
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
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": names.PVC, "namespace": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": names.SERVICE_ACCOUNT, "namespace": name}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": names.CONTROL_SECRET, "namespace": name}},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": names.DATA_PLANE_BINDING, "namespace": name},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "sandbox-data-plane"},
            "subjects": [],
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "running", "namespace": name}, "spec": pod_spec(cluster)},
    )
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def attempt(cluster: Cluster, namespace: str, change: Change) -> Outcome:
    try:
        change(cluster, namespace)
    except KubectlError as error:
        if not any(words in str(error) for words in WORDS):
            raise
        return stopped("403, the policy's words")
    return through("done")


Refused = Callable[[str, str, Change], None]


@pytest.fixture
def refused(walls: Walls, cluster: Cluster, runner: blocking.Sandbox, plain: str) -> Refused:
    """``refused(attack, wall, change)``: the administrator tries the change in a sandbox, and where there is no wall."""
    return lambda attack, wall, change: walls.refuse(
        f"the administrator: {attack}",
        wall=wall,
        inside=lambda: attempt(cluster, cluster.refs(runner).namespace, change),
        outside=lambda: attempt(cluster, plain, change),
    )


@pytest.mark.parametrize("attack", OPENED)
def test_the_administrator_opens_no_way_into_a_sandbox(refused: Refused, attack: str) -> None:
    refused(attack, NETWORK, OPENED[attack])


@pytest.mark.parametrize("attack", RUN)
def test_the_administrator_runs_nothing_else_in_a_sandbox(refused: Refused, attack: str) -> None:
    refused(attack, WORKLOADS, RUN[attack])


@pytest.mark.parametrize("attack", GIVEN)
def test_the_administrator_gives_no_rights_in_a_sandbox(refused: Refused, attack: str) -> None:
    refused(attack, RIGHTS, GIVEN[attack])


def test_the_administrator_adds_no_policy_of_another_network_plugin(cluster: Cluster, refused: Refused) -> None:
    if not cluster.kubectl("api-resources", "--api-group=cilium.io", "--output=name").strip():
        pytest.skip("no Cilium here")
    spec = {"endpointSelector": {}, "egress": [{"toEntities": ["all"]}], "ingress": [{"fromEntities": ["all"]}]}

    def change(cluster: Cluster, where: str) -> None:
        create(cluster, where, "cilium.io/v2", "CiliumNetworkPolicy", spec=spec)

    refused("add a CiliumNetworkPolicy that opens everything", NETWORK, change)


def fields(cluster: Cluster, namespace: str, what: str) -> Any:
    """What the wall is made of: all but what every write changes; of the namespace itself, its labels."""
    if what == "namespace":
        return cluster.get("namespace", namespace)["metadata"]["labels"]
    live = cluster.get(what, f"--namespace={namespace}")
    return {key: value for key, value in live.items() if key not in {"metadata", "status"}}


# what is deleted is made again: see test_controller, and of a Secret test_rotation
REPAIRED: dict[str, tuple[str, Change]] = {
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
    "lift the quota": (
        "resourcequota/limits",
        lambda cluster, where: patched(cluster, where, "resourcequota/limits", {"spec": {"hard": {"pods": "99"}}}),
    ),
    "leave the quota without a bound of pods": (
        "resourcequota/limits",
        lambda cluster, where: patched(cluster, where, "resourcequota/limits", {"spec": {"hard": {"pods": None}}}),
    ),
    "leave containers without a limit": (
        "limitrange/limits",
        lambda cluster, where: patched(cluster, where, "limitrange/limits", {"spec": {"limits": []}}),
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
