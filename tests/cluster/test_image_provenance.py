"""In a runtime namespace run the images that the operator allowed and no others, whoever asks: each attack is made by the
administrator of the cluster or in the name of Kubernetes' own controllers, is refused there, and succeeds in an ordinary
namespace."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from devcluster.kubectl import KubectlError
from sandbox_client import blocking
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.harness.signing import download, payload, pem, sign

CONTROLLER = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:sandbox-controller"
PROBE = "localhost/netprobe:dev"
SIGNATURES = ("image-signatures", f"--namespace={names.SYSTEM_NAMESPACE}")
LABELS = {"pod-security.kubernetes.io/enforce": "restricted"}
LOCKED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}

Attack = Callable[[Cluster, str, str], Any]
"""Made in the namespace, which holds the pod; raises KubectlError when it is refused."""


def container(name: str, image: str, **fields: Any) -> dict[str, Any]:
    limits = {"memory": "32Mi", "ephemeral-storage": "16Mi"}
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "Never",
        "securityContext": LOCKED,
        "resources": {"limits": limits},
        **fields,
    }


def pod(image: str, name: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name or f"attack-{secrets.token_hex(3)}"},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container("app", image, command=["sleep", "1000"])],
            **fields,
        },
    }


# who passes the policy sandbox-workloads with such an object: the one about images must refuse it by itself
MAKERS = {"Pod": "replicaset-controller", "ReplicaSet": "deployment-controller"}


def create(cluster: Cluster, namespace: str, body: dict[str, Any]) -> None:
    maker = f"--as=system:serviceaccount:kube-system:{MAKERS[body['kind']]}"
    cluster.kubectl("create", "-f", "-", f"--namespace={namespace}", maker, stdin=json.dumps(body))


def patch(cluster: Cluster, *what: str, patch: Any, kind: str = "strategic") -> None:
    cluster.kubectl("patch", *what, f"--type={kind}", "--patch", json.dumps(patch))


@pytest.fixture(scope="module")
def runtime(cluster: Cluster, runner: blocking.Sandbox) -> tuple[str, str]:
    """Namespace and pod of a runner."""
    return cluster.refs(runner).namespace, cluster.pod(runner)


@pytest.fixture(scope="module")
def plain(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Namespace and pod without the wall, under the same Pod Security Standard."""
    name = f"no-wall-{secrets.token_hex(3)}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LABELS}})
    create(cluster, name, pod(PROBE, "runner"))
    yield name, "runner"
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def another_image(cluster: Cluster, namespace: str, _: str) -> None:
    create(cluster, namespace, pod(PROBE))


def another_digest_of_the_allowed_repository(cluster: Cluster, namespace: str, _: str) -> None:
    repository = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["defaults"]["image"].partition("@")[0]
    create(cluster, namespace, pod(f"{repository}@sha256:{'0' * 64}"))


def the_allowed_image_by_a_tag(cluster: Cluster, namespace: str, _: str) -> None:
    repository = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["defaults"]["image"].partition("@")[0]
    create(cluster, namespace, pod(f"{repository}:dev"))


def another_image_beside_the_allowed_one(cluster: Cluster, namespace: str, _: str) -> None:
    image = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["defaults"]["image"]
    create(cluster, namespace, pod(image, initContainers=[container("first", PROBE, command=["/netprobe"])]))


def an_edit_of_a_running_pods_image(cluster: Cluster, namespace: str, name: str) -> None:
    patch(
        cluster,
        "pod",
        name,
        f"--namespace={namespace}",
        patch={"spec": {"containers": [{"name": "app", "image": "evil.test/a"}]}},
    )


def a_debug_container(cluster: Cluster, namespace: str, name: str) -> None:
    debugger = {"name": f"debug-{secrets.token_hex(3)}", "image": PROBE, "securityContext": LOCKED}
    where = ["pod", name, f"--namespace={namespace}", "--subresource=ephemeralcontainers"]
    patch(cluster, *where, patch={"spec": {"ephemeralContainers": [debugger]}})


def a_debug_container_of_the_pods_own_image(cluster: Cluster, namespace: str, name: str) -> None:
    image = cluster.get("pod", name, f"--namespace={namespace}")["spec"]["containers"][0]["image"]
    debugger = {"name": f"debug-{secrets.token_hex(3)}", "image": image, "securityContext": LOCKED}
    where = ["pod", name, f"--namespace={namespace}", "--subresource=ephemeralcontainers"]
    patch(cluster, *where, patch={"spec": {"ephemeralContainers": [debugger]}})


def annotated(cluster: Cluster, namespace: str, annotation: str) -> None:
    cluster.kubectl("annotate", "namespace", namespace, "--overwrite", f"{annotation}={PROBE}")


def annotated_by_its_status(cluster: Cluster, namespace: str, annotation: str) -> None:
    change = {"metadata": {"annotations": {annotation: "evil.test/a"}}}
    patch(cluster, "namespace", namespace, "--subresource=status", patch=change, kind="merge")


def without_its_annotation(cluster: Cluster, namespace: str, annotation: str) -> None:
    cluster.kubectl("annotate", "namespace", namespace, f"{annotation}-")


def the_owner_of_the_namespace_by_its_status(cluster: Cluster, namespace: str, _: str) -> None:
    change = {"metadata": {"labels": {names.LABEL_RUNNER_UID: None, "other": "x"}}}
    patch(cluster, "namespace", namespace, "--subresource=status", patch=change, kind="merge")


ATTACKS = [
    (another_image, "not localhost/netprobe:dev"),
    (another_digest_of_the_allowed_repository, "@sha256:0000"),
    (the_allowed_image_by_a_tag, "sandbox-runner:dev"),
    (another_image_beside_the_allowed_one, "not localhost/netprobe:dev"),
    (an_edit_of_a_running_pods_image, "do not change; change spec.image of its SandboxRunner"),
    (a_debug_container, "takes no debug containers"),
    (a_debug_container_of_the_pods_own_image, "takes no debug containers"),
    (the_owner_of_the_namespace_by_its_status, "set by the sandbox controller alone"),
]


@pytest.mark.parametrize(("attack", "refusal"), ATTACKS, ids=[attack.__name__ for attack, _ in ATTACKS])
def test_the_administrator_runs_no_other_image_in_a_runtime(
    cluster: Cluster, runtime: tuple[str, str], attack: Attack, refusal: str
) -> None:
    with pytest.raises(KubectlError) as caught:
        attack(cluster, *runtime)
    assert refusal in str(caught.value)


@pytest.mark.parametrize("attack", [attack for attack, _ in ATTACKS], ids=lambda attack: attack.__name__)
def test_the_same_succeeds_where_the_wall_is_not(cluster: Cluster, plain: tuple[str, str], attack: Attack) -> None:
    attack(cluster, *plain)


@pytest.mark.parametrize(
    "attack", [annotated, annotated_by_its_status, without_its_annotation], ids=lambda attack: attack.__name__
)
def test_the_administrator_does_not_change_the_list_of_images(
    cluster: Cluster, runtime: tuple[str, str], plain: tuple[str, str], attack: Attack
) -> None:
    for namespace in (runtime[0], plain[0]):
        attack(cluster, namespace, "other.test/annotation")
    before = cluster.get("namespace", runtime[0])["metadata"]["annotations"][names.ANNOTATION_IMAGES]
    with pytest.raises(KubectlError, match="set by the sandbox controller alone"):
        attack(cluster, runtime[0], names.ANNOTATION_IMAGES)
    assert cluster.get("namespace", runtime[0])["metadata"]["annotations"][names.ANNOTATION_IMAGES] == before


@pytest.fixture
def unlisted(cluster: Cluster) -> Iterator[str]:
    """A namespace like a runtime's without the list, as only the controller could make it (or lose the list of)."""
    name = f"sandbox-{uuid.uuid4()}"
    labels = {**LABELS, names.LABEL_RUNNER_UID: name.removeprefix("sandbox-")}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.kubectl("create", "-f", "-", f"--as={CONTROLLER}", stdin=json.dumps(body))
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_a_runtime_without_the_list_runs_no_image_at_all(cluster: Cluster, unlisted: str) -> None:
    image = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["defaults"]["image"]
    for refused in (PROBE, image):
        with pytest.raises(KubectlError, match="the sandbox controller allows no image in this namespace"):
            create(cluster, unlisted, pod(refused))
    cluster.kubectl("annotate", "namespace", unlisted, f"{names.ANNOTATION_IMAGES}={image}", f"--as={CONTROLLER}")
    wait_for(lambda: create(cluster, unlisted, pod(image)))


def wait_for(attempt: Callable[[], None]) -> None:
    """An admission policy sees a namespace's new annotation a moment later."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return attempt()
        except KubectlError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def image_volume(image: str) -> dict[str, Any]:
    return pod(image, volumes=[{"name": "v", "image": {"reference": "evil.test/a:v1", "pullPolicy": "Never"}}])


def test_another_image_is_not_mounted_as_a_volume_either(
    cluster: Cluster, runtime: tuple[str, str], plain: tuple[str, str]
) -> None:
    image = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["defaults"]["image"]
    create(cluster, plain[0], image_volume(image))
    with pytest.raises(KubectlError, match=r"not evil\.test/a:v1"):
        create(cluster, runtime[0], image_volume(image))


def test_what_makes_pods_makes_none_of_another_image(cluster: Cluster, runtime: tuple[str, str]) -> None:
    namespace = runtime[0]
    made = pod(PROBE)
    labels = {"app": "attack"}
    body = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "attack"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": made["spec"]},
        },
    }
    create(cluster, namespace, body)
    try:
        where = ["replicaset/attack", f"--namespace={namespace}"]
        cluster.kubectl("wait", *where, "--for=condition=ReplicaFailure", "--timeout=30s")
        (failure,) = cluster.get(*where)["status"]["conditions"]
        assert "not localhost/netprobe:dev" in failure["message"]
    finally:
        cluster.kubectl("delete", "replicaset", "attack", f"--namespace={namespace}")


def test_the_list_is_what_the_runners_pod_runs(cluster: Cluster, runtime: tuple[str, str]) -> None:
    listed = cluster.get("namespace", runtime[0])["metadata"]["annotations"][names.ANNOTATION_IMAGES].split()
    spec = cluster.get("pod", runtime[1], f"--namespace={runtime[0]}")["spec"]
    assert {entry["image"] for entry in [*spec["initContainers"], *spec["containers"]]} == set(listed)
    assert all("@sha256:" in image for image in listed)


def test_a_pod_made_before_the_list_changed_can_still_be_labelled(cluster: Cluster, runtime: tuple[str, str]) -> None:
    where = ["pod", runtime[1], f"--namespace={runtime[0]}"]
    patch(cluster, *where, patch={"metadata": {"labels": {"seen": "yes"}}})


def test_a_runner_gets_no_image_beyond_its_template(client: blocking.Client) -> None:
    sandbox = client.apply("refused", {"image": f"registry.test.evil.test/a@sha256:{'0' * 64}"})
    with pytest.raises(Exception, match="is not allowed by template sandbox-runner"):
        sandbox.wait_ready()


def test_the_installed_template_asks_for_signatures(cluster: Cluster) -> None:
    bounds = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["bounds"]
    assert bounds["requireDigest"] is True
    assert bounds["signatures"]["keys"]
    assert bounds.get("images", []) == []


@pytest.fixture
def trusting(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """``trusting(key)``: name of a copy of the installed template that asks for signatures by the key; again: changes it."""
    template = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)
    name = f"signed-{secrets.token_hex(3)}"

    def apply(key: ec.EllipticCurvePrivateKey) -> str:
        bounds = {**template["spec"]["bounds"], "signatures": {"keys": [{"name": "release", "publicKey": pem(key)}]}}
        cluster.apply(
            {
                "apiVersion": template["apiVersion"],
                "kind": template["kind"],
                "metadata": {"name": name},
                "spec": {**template["spec"], "bounds": bounds},
            }
        )
        return name

    given = cluster.get("configmap", *SIGNATURES)["data"]
    yield apply
    cluster.kubectl("delete", "sandboxtemplate", name)
    patch(cluster, "configmap", *SIGNATURES, patch={"data": given}, kind="merge")


def test_an_image_runs_while_a_trusted_key_has_signed_it(
    cluster: Cluster, client: blocking.Client, namespace: str, trusting: Callable[..., str]
) -> None:
    release, stranger = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    repository, _, digest = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["defaults"]["image"].partition("@")
    sandbox = client.apply("signed", {"templateRef": {"name": trusting(stranger)}})
    runtime = cluster.refs(sandbox).namespace

    def becomes(what: str) -> None:
        cluster.kubectl("wait", "sandboxrunner/signed", f"--namespace={namespace}", f"--for={what}", "--timeout=90s")

    def refused() -> None:
        becomes("jsonpath={.status.conditions[?(@.type=='Ready')].reason}=ImageNotSigned")
        cluster.kubectl("wait", "pods", "--all", f"--namespace={runtime}", "--for=delete", "--timeout=60s")
        assert cluster.get("namespace", runtime)["metadata"]["annotations"][names.ANNOTATION_IMAGES] == ""

    refused()
    ready = next(entry for entry in sandbox.refresh()["status"]["conditions"] if entry["type"] == "Ready")
    assert "has no valid signature. ConfigMap sandbox-system/image-signatures, key sha256-" in ready["message"]
    assert "one was made by none of the keys release" in ready["message"]
    with pytest.raises(KubectlError, match="sandbox-images"):
        create(cluster, runtime, pod(f"{repository}@{digest}"))
    content = payload(repository, digest)
    key = f"{digest.replace(':', '-')}.sig"
    given = cluster.get("configmap", *SIGNATURES)["data"][key]
    added = {"data": {key: given + download(content, sign(release, content))}}
    patch(cluster, "configmap", *SIGNATURES, patch=added, kind="merge")
    trusting(release)
    becomes("condition=Ready")
    trusting(stranger)
    refused()
    cluster.kubectl("delete", "sandboxrunner", "signed", f"--namespace={namespace}", "--timeout=90s")
