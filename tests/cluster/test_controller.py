"""What the controller promises against the real API server: drift undone, nothing foreign touched, every problem in words."""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from devcluster.kubectl import KubectlError
from sandbox_protocol import names
from sandbox_protocol.refs import Refs
from tests.harness.cluster import Cluster

CONTROLLER = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:sandbox-controller"
TemplateFactory = Callable[[Callable[[dict[str, Any]], None]], str]


class Runner:
    """One SandboxRunner of the administrator's; ``wait`` fails with its conditions."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self.cluster, self.namespace, self.name = cluster, namespace, name

    @property
    def object(self) -> Any:
        return self.cluster.get("sandboxrunner", self.name, "--namespace", self.namespace)

    @property
    def runtime(self) -> str:
        return Refs(self.object["metadata"]["uid"]).namespace

    def condition(self, kind: str) -> Any:
        return next(entry for entry in self.object["status"]["conditions"] if entry["type"] == kind)

    def wait(self, what: str) -> None:
        try:
            self.cluster.kubectl(
                "wait", "sandboxrunner", self.name, "--namespace", self.namespace, f"--for={what}", "--timeout=90s"
            )
        except KubectlError as error:
            pytest.fail(f"{error}\n{json.dumps(self.object.get('status'), indent=1)}", pytrace=False)

    def wait_reason(self, kind: str, reason: str) -> str:
        """The message that comes with it."""
        self.wait(f"jsonpath={{.status.conditions[?(@.type=='{kind}')].reason}}={reason}")
        return str(self.condition(kind)["message"])

    def patch(self, patch: Mapping[str, Any], *options: str) -> None:
        arguments = ["--namespace", self.namespace, "--type=merge", "--patch", json.dumps(patch), *options]
        self.cluster.kubectl("patch", "sandboxrunner", self.name, *arguments)

    def delete(self) -> None:
        self.cluster.kubectl("delete", "sandboxrunner", self.name, "--namespace", self.namespace, "--timeout=90s")

    def child(self, *what: str) -> Any:
        return self.cluster.get(*what, "--namespace", self.runtime)


@pytest.fixture
def apply_runner(cluster: Cluster, namespace: str) -> Iterator[Callable[..., Runner]]:
    made: list[Runner] = []

    def apply(spec: Mapping[str, Any] | None = None) -> Runner:
        name = f"c-{secrets.token_hex(3)}"
        cluster.apply(
            {
                "apiVersion": f"{names.GROUP}/{names.VERSION}",
                "kind": names.KIND,
                "metadata": {"name": name, "namespace": namespace},
                "spec": spec or {},
            }
        )
        made.append(Runner(cluster, namespace, name))
        return made[-1]

    yield apply
    for runner in made:
        cluster.kubectl("delete", "sandboxrunner", runner.name, "--namespace", namespace, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def shared(cluster: Cluster, namespace: str) -> Runner:
    """Suspended, so that it costs no pod: for everything that is about objects."""
    body = {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": names.KIND,
        "metadata": {"name": "objects", "namespace": namespace},
        "spec": {"operatingMode": "Suspended"},
    }
    cluster.apply(body)
    runner = Runner(cluster, namespace, "objects")
    runner.wait("condition=Suspended")
    return runner


@pytest.fixture
def make_template(cluster: Cluster) -> Iterator[TemplateFactory]:
    """A copy of the installed template, changed by the given function."""
    made: list[str] = []

    def make(change: Callable[[dict[str, Any]], None]) -> str:
        spec = copy.deepcopy(cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"])
        change(spec)
        made.append(f"test-{secrets.token_hex(3)}")
        body = {
            "apiVersion": f"{names.GROUP}/{names.VERSION}",
            "kind": names.TEMPLATE_KIND,
            "metadata": {"name": made[-1]},
            "spec": spec,
        }
        cluster.apply(body)
        return made[-1]

    yield make
    for name in made:
        cluster.kubectl("delete", "sandboxtemplate", name)


CHILDREN = [
    "resourcequota/limits",
    "limitrange/limits",
    "serviceaccount/runner",
    "rolebinding/data-plane",
    "service/control",
    "service/preview",
    "deployment/runner",
    "secret/control",
]


@pytest.mark.parametrize("child", CHILDREN)
def test_a_deleted_child_is_made_again(cluster: Cluster, shared: Runner, child: str) -> None:
    before = shared.child(child)["metadata"]["uid"]
    cluster.kubectl("delete", child, "--namespace", shared.runtime)
    cluster.kubectl("wait", child, "--namespace", shared.runtime, "--for=create", "--timeout=30s")
    after = shared.child(child)["metadata"]
    assert after["uid"] != before
    assert after["labels"][names.LABEL_RUNNER_UID] == shared.object["metadata"]["uid"]


@pytest.mark.parametrize(
    ("child", "patch", "expected"),
    [
        ("deployment/runner", {"spec": {"replicas": 3}}, "{.spec.replicas}=0"),
        ("resourcequota/limits", {"spec": {"hard": {"pods": "99"}}}, "{.spec.hard.pods}=2"),
        ("limitrange/limits", {"spec": {"limits": []}}, "{.spec.limits[0].default.memory}=256Mi"),
        ("serviceaccount/runner", {"automountServiceAccountToken": True}, "{.automountServiceAccountToken}=false"),
        ("rolebinding/data-plane", {"subjects": []}, "{.subjects[0].name}=sandbox-apiserver"),
        ("secret/control", {"data": {names.SECRET_TOKEN: "YQ=="}}, None),
    ],
)
def test_a_changed_child_is_put_right(
    cluster: Cluster, shared: Runner, child: str, patch: dict[str, Any], expected: str | None
) -> None:
    before = shared.child(child)
    body = {"apiVersion": before["apiVersion"], "kind": before["kind"], "metadata": {"name": before["metadata"]["name"]}, **patch}
    # in the controller's own name, as admission lets nobody else change some of these
    how = ["--server-side", "--force-conflicts", "--field-manager=somebody", f"--as={CONTROLLER}"]
    cluster.kubectl("apply", "-f", "-", "--namespace", shared.runtime, *how, stdin=json.dumps(body))
    wanted = expected or f"{{.data.{names.SECRET_TOKEN}}}={before['data'][names.SECRET_TOKEN]}"
    cluster.kubectl("wait", child, "--namespace", shared.runtime, f"--for=jsonpath={wanted}", "--timeout=30s")


@pytest.mark.parametrize("kind", ["secrets", "rolebindings", "serviceaccounts", "persistentvolumeclaims", "deployments"])
def test_an_administrator_writes_everything_again_as_it_is(cluster: Cluster, shared: Runner, kind: str) -> None:
    """What Kubernetes' manual tells to do after a change of the key that encrypts etcd."""
    listed = shared.child(kind)
    assert listed["items"]
    cluster.kubectl("replace", "-f", "-", stdin=json.dumps(listed))


def test_a_weakened_namespace_is_put_right(cluster: Cluster, shared: Runner) -> None:
    label = "pod-security.kubernetes.io/enforce"
    cluster.kubectl("label", "namespace", shared.runtime, f"{label}=privileged", "--overwrite")
    escaped = label.replace(".", r"\.")
    cluster.kubectl(
        "wait", f"namespace/{shared.runtime}", f"--for=jsonpath={{.metadata.labels.{escaped}}}=restricted", "--timeout=30s"
    )


def test_a_forged_status_is_put_right_and_moves_nothing(cluster: Cluster, shared: Runner) -> None:
    forged = {"status": {"refs": {"namespace": "kube-system"}, "preview": {"host": "evil.test"}}}
    shared.patch(forged, "--subresource=status")
    shared.wait(f"jsonpath={{.status.refs.namespace}}={shared.runtime}")
    host = Refs(shared.object["metadata"]["uid"]).public_host(3000, "preview.localhost")
    shared.wait(f"jsonpath={{.status.preview.host}}={host}")


def test_a_namespace_laid_out_before_us_is_refused_and_left_alone(
    cluster: Cluster, apply_runner: Callable[..., Runner], make_template: TemplateFactory
) -> None:
    name = make_template(lambda spec: None)
    cluster.kubectl("delete", "sandboxtemplate", name)  # so that the runner waits while its namespace is laid out
    runner = apply_runner({"templateRef": {"name": name}})
    runner.wait_reason("Provisioned", "TemplateNotFound")
    # nobody else may: see the admission tests
    cluster.kubectl("create", "namespace", runner.runtime, f"--as={CONTROLLER}")
    template = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)
    cluster.apply({**template, "metadata": {"name": name}})
    message = runner.wait_reason("Provisioned", "ConflictNamespace")
    assert runner.runtime in message
    namespace = cluster.get("namespace", runner.runtime)
    assert names.LABEL_RUNNER_UID not in namespace["metadata"]["labels"]
    assert runner.child("deployments,services,secrets")["items"] == []
    events = cluster.get("events", "--namespace", runner.namespace)["items"]
    assert "ConflictNamespace" in {event["reason"] for event in events if event["involvedObject"]["name"] == runner.name}
    runtime = runner.runtime
    runner.delete()
    assert cluster.get("namespace", runtime)["status"]["phase"] == "Active"
    cluster.kubectl("delete", "namespace", runtime, "--timeout=60s")


def test_a_new_runner_of_an_old_name_never_meets_the_old_runtime(apply_runner: Callable[..., Runner], cluster: Cluster) -> None:
    runner = apply_runner({"operatingMode": "Suspended"})
    runner.wait("condition=Suspended")
    old, body = runner.runtime, runner.object
    cluster.kubectl("delete", "sandboxrunner", runner.name, "--namespace", runner.namespace, "--timeout=90s")
    cluster.apply(
        {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": {"name": runner.name, "namespace": runner.namespace}}
    )
    runner.wait("condition=Provisioned")
    assert runner.runtime != old
    assert cluster.kubectl("get", "namespace", old, "--ignore-not-found") == ""


def test_a_wish_beyond_the_bounds_is_told_by_field(apply_runner: Callable[..., Runner]) -> None:
    runner = apply_runner({"image": "registry.test/evil", "storage": {"size": "1000Gi"}, "operatingMode": "Suspended"})
    message = runner.wait_reason("Provisioned", "SpecInvalid")
    assert "spec.image: registry.test/evil is not allowed by template sandbox-runner" in message
    assert "spec.storage.size: 1000Gi is more than the template's maximum" in message


def test_a_broken_template_is_told_by_resource_and_field_on_both_objects(
    cluster: Cluster, apply_runner: Callable[..., Runner], make_template: TemplateFactory
) -> None:
    def broken(spec: dict[str, Any]) -> None:
        spec["resources"].append({"id": "extra", "template": {"kind": "ConfigMap", "data": {"x": "${schema.spec.port +}"}}})

    name = make_template(broken)
    cluster.kubectl("wait", "sandboxtemplate", name, "--for=condition=Ready=false", "--timeout=30s")
    runner = apply_runner({"templateRef": {"name": name}})
    message = runner.wait_reason("Provisioned", "TemplateInvalid")
    assert "resource extra, data.x: ${schema.spec.port +}" in message
    assert cluster.kubectl("get", "namespace", runner.runtime, "--ignore-not-found") == ""


def test_an_image_that_cannot_be_pulled_is_told(apply_runner: Callable[..., Runner], make_template: TemplateFactory) -> None:
    absent = f"localhost:1/absent@sha256:{'0' * 64}"

    def unsigned(spec: dict[str, Any]) -> None:
        spec["agentImage"] = absent
        spec["bounds"].pop("signatures", None)

    runner = apply_runner({"templateRef": {"name": make_template(unsigned)}})
    assert absent in runner.wait_reason("Ready", "ImagePullBackOff")


def test_a_pod_that_fits_nowhere_is_told(apply_runner: Callable[..., Runner], make_template: TemplateFactory) -> None:
    def large(spec: dict[str, Any]) -> None:
        spec["bounds"]["resources"]["max"]["cpu"] = "5000"

    wish = {"requests": {"cpu": "4000"}, "limits": {"cpu": "4000"}}
    runner = apply_runner({"templateRef": {"name": make_template(large)}, "resources": wish})
    assert "Insufficient cpu" in runner.wait_reason("Ready", "Unschedulable")


def test_a_quota_that_is_used_up_is_told(cluster: Cluster, apply_runner: Callable[..., Runner]) -> None:
    runner = apply_runner({"operatingMode": "Suspended"})
    runner.wait("condition=Suspended")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight", "namespace": runner.runtime}}
    cluster.apply({**quota, "spec": {"hard": {"pods": "0"}}})
    cluster.kubectl(
        "wait", "resourcequota/tight", "--namespace", runner.runtime, "--for=jsonpath={.status.hard.pods}=0", "--timeout=30s"
    )
    runner.patch({"spec": {"operatingMode": "Running"}})
    assert "exceeded quota: tight" in runner.wait_reason("Ready", "QuotaExceeded")


def test_a_container_whose_first_process_cannot_start_is_told(
    apply_runner: Callable[..., Runner], make_template: TemplateFactory
) -> None:
    def launched_by_something_absent(spec: dict[str, Any]) -> None:
        runner = next(entry for entry in spec["resources"] if entry["id"] == "runner")
        pod = runner["template"]["spec"]["template"]["spec"]
        pod["containers"][0]["command"] = ["/opt/sandbox/absent", "launcher"]

    runner = apply_runner({"templateRef": {"name": make_template(launched_by_something_absent)}})
    assert "/opt/sandbox/absent" in runner.wait_reason("AppReady", "LauncherNotStarted")


def test_values_from_a_secret_or_configmap_need_the_binding_then_arrive_and_come_back_when_deleted(
    cluster: Cluster, apply_runner: Callable[..., Runner], namespace: str
) -> None:
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "mine", "namespace": namespace},
            "stringData": {"k": "s3cret"},
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain", "namespace": namespace}, "data": {"k": "known"}},
    )
    sources = {
        "TOKEN": {"secretKeyRef": {"name": "mine", "key": "k"}},
        "KNOWN": {"configMapKeyRef": {"name": "plain", "key": "k"}},
    }
    env = [{"name": name, "valueFrom": source} for name, source in sources.items()]
    runner = apply_runner({"operatingMode": "Suspended", "env": env})
    message = runner.wait_reason("Provisioned", "EnvNotReadable")
    command = message[message.index("kubectl ") :].split()[1:]
    cluster.kubectl(*command)  # the message says exactly what to do
    runner.patch({"metadata": {"annotations": {"touched": "1"}}})
    runner.wait("condition=Provisioned")
    assert runner.child("secret/env")["data"].keys() == {"TOKEN", "KNOWN"}
    container = runner.child("deployment/runner")["spec"]["template"]["spec"]["containers"][0]
    assert {"secretKeyRef": {"key": "TOKEN", "name": "env", "optional": True}} in [
        entry.get("valueFrom") for entry in container["env"]
    ]
    assert "s3cret" not in json.dumps(runner.child("deployment/runner"))
    values = runner.child("secret/env")["data"]
    cluster.kubectl("delete", "secret/env", "--namespace", runner.runtime)
    cluster.kubectl("wait", "secret/env", "--namespace", runner.runtime, "--for=create", "--timeout=30s")
    assert runner.child("secret/env")["data"] == values


def test_a_shutdown_time_that_has_passed_suspends_and_says_so(apply_runner: Callable[..., Runner]) -> None:
    runner = apply_runner({"lifecycle": {"shutdownTime": "2020-01-01T00:00:00Z"}})
    assert "2020-01-01T00:00:00Z has passed" in runner.wait_reason("Suspended", "ShutdownTime")
    assert runner.child("deployment/runner")["spec"]["replicas"] == 0


def test_a_shutdown_time_can_delete(cluster: Cluster, apply_runner: Callable[..., Runner]) -> None:
    runner = apply_runner({"lifecycle": {"shutdownTime": "2020-01-01T00:00:00Z", "shutdownPolicy": "Delete"}})
    cluster.kubectl("wait", "sandboxrunner", runner.name, "--namespace", runner.namespace, "--for=delete", "--timeout=60s")
