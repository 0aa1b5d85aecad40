"""The whole of a reconcile over a cluster in memory: what is made, what is said, and how often."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox_operator.controller.agent import AgentStatus
from sandbox_operator.controller.apply import Applier
from sandbox_operator.controller.census import Census
from sandbox_operator.controller.deletion import Deleter
from sandbox_operator.controller.env_secret import EnvReader
from sandbox_operator.controller.events import Recorder
from sandbox_operator.controller.pods import Why
from sandbox_operator.controller.prepare import Preparer, Sources, Surroundings
from sandbox_operator.controller.provenance import Provenance
from sandbox_operator.controller.pull_secret import PullSecrets
from sandbox_operator.controller.reconcile import Parts, Reconciler
from sandbox_operator.controller.reporting import Reporter
from sandbox_operator.controller.templates import Templates
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.discovery import Discovery
from sandbox_operator.kube.store import Store
from sandbox_operator.kube.target import OwnCluster
from sandbox_protocol import names
from tests.harness.signing import download, payload, pem, sign

UID = "0f0e0d0c-0b0a-4908-8706-050403020100"
NAMESPACE = f"sandbox-{UID}"
KEY = ("team", "shop")
TEMPLATE = yaml.safe_load((Path(__file__).parents[4] / "templates/sandbox-runner.yaml").read_text())
IMAGE = f"localhost/sandbox-runner@sha256:{'1' * 64}"
TEMPLATE["spec"]["agentImage"] = TEMPLATE["spec"]["defaults"]["image"] = IMAGE
PULL = {"name": "gate", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}, "image": "x"}
SERVING = {
    "initContainerStatuses": [
        {"name": "gate", "state": {"terminated": {"exitCode": 0}}},
        {"name": "agent", "ready": True, "state": {"running": {}}},
    ],
    "containerStatuses": [{"name": "app", "ready": False, "state": {"running": {}}, "imageID": "reg.test/a@sha256:1"}],
}


class FakeAgents:
    def __init__(self) -> None:
        self.answer: AgentStatus | None = None
        self.asked = 0

    async def status(self, _: Any) -> AgentStatus | None:
        self.asked += 1
        return self.answer


class NoRegistry:
    """Where no signature is found."""

    async def signatures(self, _: Any) -> list[Any]:
        return []


class Scene:
    """One runner; ``await scene()`` reconciles it once and returns the seconds until the next look."""

    def __init__(self, cluster: Any, children: Any) -> None:
        self.cluster = cluster
        self.agents = FakeAgents()
        self.census = Census()
        self.runners, self.templates = Store(self.census.see), Store()
        self.woken: list[Any] = []
        cluster.on_write = self._seen
        target, discovery = OwnCluster(cluster), Discovery(cluster)
        parts = Parts(
            kube=cluster,
            runners=self.runners,
            census=self.census,
            children=children,
            discovery=discovery,
            templates=Templates(self.templates),
            preparer=Preparer(
                target,
                children,
                Sources(EnvReader(cluster, "sandbox-system"), PullSecrets(cluster, "sandbox-system")),
                Surroundings("sandbox-system", ("10.96.0.1:443",), frozenset()),
                Provenance(cluster, "sandbox-system", NoRegistry()),  # type: ignore[arg-type]
            ),
            applier=Applier(cluster, children, discovery),
            deleter=Deleter(cluster, children),
            agents=self.agents,  # type: ignore[arg-type]
            reporter=Reporter(cluster, self.runners, self.templates, Recorder(cluster, "test")),
            preview_host=lambda refs, port: refs.public_host(port, "preview.test"),
        )
        self.reconciler = Reconciler(parts, self.woken.append)
        self.put(resources.TEMPLATES, {**TEMPLATE, "metadata": {"name": "sandbox-runner", "uid": "t", "generation": 1}})
        self.runner()

    def _seen(self, resource: Any, old: Any, new: Any) -> None:
        store = {resources.RUNNERS: self.runners, resources.TEMPLATES: self.templates}.get(resource)
        if store is not None:
            store.put(new) if new is not None else store.drop(old)

    def put(self, resource: Any, live: dict[str, Any]) -> None:
        self.cluster._store(resource, live)

    def runner(self, generation: int = 1, **spec: Any) -> None:
        """The user writes the spec; status and finalizers stay."""
        present = self.cluster.objects.get(("sandboxrunners", *KEY), {})
        metadata = {"name": "shop", "namespace": "team", "uid": UID, "generation": generation}
        self.put(
            resources.RUNNERS,
            {
                "apiVersion": resources.RUNNERS.api_version,
                "kind": "SandboxRunner",
                "metadata": {**present.get("metadata", {}), **metadata},
                "spec": spec,
                "status": present.get("status", {}),
            },
        )

    def pod(self, status: dict[str, Any]) -> None:
        labels = {names.LABEL_RUNNER_UID: UID}
        metadata = {"name": "runner-1", "namespace": NAMESPACE, "uid": "p", "labels": labels, "creationTimestamp": "2026-01-01"}
        self.put(resources.PODS, {"metadata": metadata, "status": status})

    async def __call__(self) -> float | None:
        self.cluster.log.clear()
        return await self.reconciler.reconcile(KEY)

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.cluster.objects["sandboxrunners", *KEY]["status"]
        return status

    def condition(self, kind: str) -> str:
        entry = next(entry for entry in self.status["conditions"] if entry["type"] == kind)
        return f"{entry['status']} {entry['reason']}"

    def message(self, kind: str) -> str:
        return str(next(entry for entry in self.status["conditions"] if entry["type"] == kind)["message"])

    def made(self, plural: str, name: str) -> dict[str, Any]:
        live: dict[str, Any] = self.cluster.objects[plural, NAMESPACE, name]
        return live


@pytest.fixture
def scene(cluster: Any, children: Any) -> Scene:
    return Scene(cluster, children)


async def test_an_empty_spec_gets_its_finalizer_first_then_its_objects_then_its_status(scene: Scene) -> None:
    await scene()
    log = scene.cluster.log
    assert log[:2] == ["patch SandboxRunner shop", f"apply Namespace {NAMESPACE}"]
    assert log.index("apply Deployment runner") < log.index("patch/status SandboxRunner shop")
    assert scene.made("secrets", "control")["data"].keys() == {"token", "tls.crt", "tls.key"}
    assert scene.condition("Provisioned") == "True Applied"
    assert scene.condition("Ready") == "False Starting"
    assert scene.status["refs"]["namespace"] == NAMESPACE
    assert scene.status["preview"]["host"].startswith("3000-")
    assert scene.status["preview"]["host"].endswith(".preview.test")


async def test_the_namespace_says_which_images_its_pods_may_run(scene: Scene) -> None:
    await scene()
    namespace = scene.cluster.objects["namespaces", "", NAMESPACE]
    assert namespace["metadata"]["annotations"][names.ANNOTATION_IMAGES] == IMAGE


def trusting(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    bounds = {**TEMPLATE["spec"]["bounds"], "signatures": {"keys": [{"name": "k", "publicKey": pem(key)}]}}
    return {**TEMPLATE["spec"], "bounds": bounds}


async def test_an_image_without_a_signature_gets_no_pod_and_a_namespace_that_admits_none(scene: Scene) -> None:
    spec = trusting(ec.generate_private_key(ec.SECP256R1()))
    scene.put(resources.TEMPLATES, {"metadata": {"name": "sandbox-runner", "uid": "t", "generation": 2}, "spec": spec})
    assert await scene() == 60
    assert scene.condition("Ready") == scene.condition("Provisioned") == "False ImageNotSigned"
    assert scene.message("Ready").startswith(f"{IMAGE} has no valid signature. ConfigMap sandbox-system/image-signatures, key")
    assert scene.condition("AgentReady") == "False ImageNotSigned"
    assert scene.made("deployments", "runner")["spec"]["replicas"] == 0
    assert scene.cluster.objects["namespaces", "", NAMESPACE]["metadata"]["annotations"][names.ANNOTATION_IMAGES] == ""


async def test_a_key_taken_away_ends_the_pod_and_one_that_signed_brings_it_back(scene: Scene) -> None:
    await scene()
    assert scene.made("deployments", "runner")["spec"]["replicas"] == 1
    key = ec.generate_private_key(ec.SECP256R1())
    scene.put(resources.TEMPLATES, {"metadata": {"name": "sandbox-runner", "uid": "t", "generation": 2}, "spec": trusting(key)})
    await scene()
    assert scene.made("deployments", "runner")["spec"]["replicas"] == 0
    digest = IMAGE.partition("@")[2]
    content = payload("localhost/sandbox-runner", digest)
    data = {f"{digest.replace(':', '-')}.sig": download(content, sign(key, content))}
    scene.put(resources.CONFIG_MAPS, {"metadata": {"name": "image-signatures", "namespace": "sandbox-system"}, "data": data})
    key_anew = trusting(key) | {"description": "another question, so that no minute has to pass"}
    key_anew["bounds"]["signatures"]["identity"] = "any"
    scene.put(resources.TEMPLATES, {"metadata": {"name": "sandbox-runner", "uid": "t", "generation": 3}, "spec": key_anew})
    await scene()
    assert scene.made("deployments", "runner")["spec"]["replicas"] == 1
    assert scene.cluster.objects["namespaces", "", NAMESPACE]["metadata"]["annotations"][names.ANNOTATION_IMAGES] == IMAGE


async def test_a_template_makes_no_image_of_what_a_user_wrote(scene: Scene) -> None:
    bodies = [*TEMPLATE["spec"]["resources"]]
    pod = {"containers": [{"name": "x", "image": "${schema.spec.env[0].value}"}]}
    metadata = {"name": "extra", "namespace": "${runtimeNamespace.metadata.name}"}
    bodies.append({"id": "extra", "template": {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}})
    spec = {**TEMPLATE["spec"], "resources": bodies}
    scene.put(resources.TEMPLATES, {"metadata": {"name": "sandbox-runner", "uid": "t", "generation": 2}, "spec": spec})
    scene.runner(2, env=[{"name": "HOME", "value": "evil.test/a"}])
    await scene()
    assert scene.condition("Provisioned") == "False TemplateInvalid"
    assert "evil.test/a is not allowed by template sandbox-runner" in scene.message("Provisioned")
    assert not [entry for entry in scene.cluster.log if entry.startswith("apply")]


async def test_a_second_look_at_an_unchanged_runner_writes_nothing(scene: Scene) -> None:
    await scene()
    await scene()
    await scene()
    assert scene.cluster.log == []


async def test_the_control_secret_keeps_its_token_over_restarts_of_the_controller(
    scene: Scene, cluster: Any, children: Any
) -> None:
    await scene()
    token = scene.made("secrets", "control")["data"]["token"]
    await scene.reconciler.reconcile(KEY)
    scene.reconciler.forget(UID)
    await scene()
    assert scene.made("secrets", "control")["data"]["token"] == token


async def test_a_ready_runner_waits_for_its_first_sync_in_the_agents_words(scene: Scene) -> None:
    await scene()
    scene.pod(SERVING)
    scene.agents.answer = AgentStatus(Why("AwaitingFirstSync", "waits for its first files"), "", (), None)
    await scene()
    assert "create Event Ready" in scene.cluster.log
    task = scene.reconciler._memories[UID].asking
    assert task is not None
    await task
    assert scene.woken == [KEY]
    await scene()
    assert scene.condition("Ready") == "True Ready"
    assert scene.condition("AppReady") == "False AwaitingFirstSync"
    assert scene.status["image"] == "reg.test/a@sha256:1"
    assert scene.agents.asked == 1


async def heard(scene: Scene, app: Why | None, fine: str = "") -> None:
    """The agent says that, and the controller hears it."""
    scene.reconciler._memories[UID].agent = AgentStatus(app, "", (), None, fine=fine)
    await scene()


async def test_the_agents_word_of_the_app_counts_whatever_the_kubelet_saw_last(scene: Scene) -> None:
    await scene()
    ready = {**SERVING, "containerStatuses": [{"name": "app", "ready": True, "state": {"running": {}}}]}
    scene.pod(ready)
    await heard(scene, Why("StoppedAnswering", "stopped answering on port 3000"))
    assert scene.condition("AppReady") == "False StoppedAnswering"
    scene.pod(SERVING)
    await heard(scene, None, "listens on port 4321, not on PORT (3000), and is served from there")
    assert scene.condition("AppReady") == "True Ready"
    assert scene.message("AppReady").startswith("listens on port 4321")


async def test_an_app_that_fails_is_an_event_once_however_often_it_flaps(scene: Scene) -> None:
    await scene()
    scene.pod(SERVING)
    events = []
    for app in (
        Why("CrashLoop", "ended with 7"),
        Why("Starting", "s"),
        Why("CrashLoop", "ended with 8"),
        None,
        Why("OOMKilled", "m"),
    ):
        await heard(scene, app)
        events += [entry for entry in scene.cluster.log if entry in ("create Event CrashLoop", "create Event OOMKilled")]
    assert events == ["create Event CrashLoop", "create Event OOMKilled"]


async def test_a_reason_that_only_the_pod_knows_is_no_event(scene: Scene) -> None:
    await scene()
    scene.pod(SERVING)
    await heard(scene, Why("BuyNow", "cheap"))
    assert scene.condition("AppReady") == "False BuyNow"
    assert "create Event BuyNow" not in scene.cluster.log


async def test_what_the_pod_before_said_of_its_app_is_forgotten(scene: Scene) -> None:
    await scene()
    scene.pod(SERVING)
    await heard(scene, None)
    assert scene.condition("AppReady") == "True Ready"
    scene.reconciler._memories[UID].pod = "runner-0"
    await scene()
    assert scene.condition("AppReady") == "False NotReady"


@pytest.mark.parametrize(("app", "seconds"), [(None, 30.0), (Why("Starting", ""), 1.0), (Why("CrashLoop", ""), 3.0)])
async def test_an_agent_is_asked_often_while_its_app_is_on_its_way(scene: Scene, app: Why | None, seconds: float) -> None:
    await scene()
    scene.pod(SERVING)
    scene.reconciler._memories[UID].agent = AgentStatus(app, "", (), None)
    assert await scene() == pytest.approx(seconds, abs=0.5)


async def test_the_pods_problem_is_the_runners(scene: Scene) -> None:
    await scene()
    scene.pod({"initContainerStatuses": [PULL]})
    await scene()
    assert scene.condition("Ready") == "False ImagePullBackOff"
    assert "create Event ImagePullBackOff" in scene.cluster.log


async def test_suspending_keeps_the_volume_and_no_pod(scene: Scene) -> None:
    await scene()
    scene.runner(2, operatingMode="Suspended")
    await scene()
    assert scene.cluster.log[0] == "apply Deployment runner"
    assert scene.made("deployments", "runner")["spec"]["replicas"] == 0
    assert scene.made("persistentvolumeclaims", "workspace")
    assert scene.condition("Suspended") == "True Suspended"
    assert scene.condition("Ready") == "False Suspended"


async def test_a_broken_spec_is_said_and_what_runs_is_left_alone(scene: Scene) -> None:
    await scene()
    scene.runner(2, storage={"size": "100Gi"})
    await scene()
    assert [entry for entry in scene.cluster.log if entry.startswith("apply")] == []
    assert scene.condition("Provisioned") == "False SpecInvalid"
    assert "spec.storage.size: 100Gi is more than the template's maximum, 20Gi" in scene.message("Ready")
    assert scene.status["observedGeneration"] == 2


async def test_a_missing_template_is_said(scene: Scene) -> None:
    scene.runner(templateRef={"name": "nowhere"})
    await scene()
    assert scene.condition("Ready") == "False TemplateNotFound"
    assert f"namespaces//{NAMESPACE}" not in {"/".join(key) for key in scene.cluster.objects}


async def test_a_broken_template_is_said_with_resource_and_field_and_nothing_is_made(scene: Scene) -> None:
    spec = {
        **TEMPLATE["spec"],
        "resources": [*TEMPLATE["spec"]["resources"], {"id": "bad", "template": {"x": "${schema.spec.}"}}],
    }
    scene.put(resources.TEMPLATES, {"metadata": {"name": "sandbox-runner", "uid": "t", "generation": 2}, "spec": spec})
    await scene()
    assert scene.condition("Provisioned") == "False TemplateInvalid"
    assert "resource bad, x: ${schema.spec.}" in scene.message("Provisioned")
    assert not any(entry.startswith("apply") for entry in scene.cluster.log)


async def test_a_foreign_namespace_is_never_taken_over(scene: Scene) -> None:
    await scene.cluster.apply(resources.NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": {}}})
    await scene()
    assert scene.condition("Provisioned") == "False ConflictNamespace"
    assert not any(entry.startswith("apply") for entry in scene.cluster.log)
    assert "create Event ConflictNamespace" in scene.cluster.log


async def test_drift_is_repaired_and_told(scene: Scene) -> None:
    await scene()
    scene.cluster.vandalise(resources.NETWORK_POLICIES, "isolation", NAMESPACE)
    await scene()
    assert scene.cluster.log == ["apply NetworkPolicy isolation", "create Event Repaired"]


async def test_env_from_an_unbound_namespace_is_refused_with_the_command(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    get = scene.cluster.get

    async def forbidden(resource: Any, name: str, namespace: str | None = None, **options: Any) -> Any:
        if resource == resources.SECRETS and namespace == "team":
            raise errors.Forbidden(403, "no")
        return await get(resource, name, namespace, **options)

    monkeypatch.setattr(scene.cluster, "get", forbidden)
    scene.runner(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])
    await scene()
    assert scene.condition("Ready") == "False EnvNotReadable"
    assert "kubectl create rolebinding" in scene.message("Ready")


async def test_env_from_a_secret_arrives_and_a_new_value_restarts_the_app(scene: Scene) -> None:
    def secret(value: str) -> dict[str, Any]:
        return {"metadata": {"name": "s", "namespace": "team", "uid": "s"}, "data": {"k": value}}

    def revision() -> str:
        annotations = scene.made("deployments", "runner")["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["infrastructure.appstudio.dev/env-revision"])

    scene.put(resources.SECRETS, secret("QQ=="))
    scene.runner(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])
    await scene()
    assert scene.made("secrets", "env")["data"] == {"A": "QQ=="}
    first = revision()
    await scene()
    assert revision() == first
    scene.put(resources.SECRETS, secret("Qg=="))
    await scene()
    assert scene.made("secrets", "env")["data"] == {"A": "Qg=="}
    assert revision() != first


def pulling(generation: int, *secret_names: str) -> dict[str, Any]:
    spec = {**TEMPLATE["spec"], "imagePullSecrets": [{"name": name} for name in secret_names]}
    return {"metadata": {"name": "sandbox-runner", "uid": "t", "generation": generation}, "spec": spec}


async def test_credentials_of_a_registry_reach_the_pod_and_go_with_the_template_s_wish(scene: Scene) -> None:
    content = base64.b64encode(b'{"auths":{"registry.test":{"auth":"YTph"}}}').decode()
    metadata = {"name": "team-pull", "namespace": "sandbox-system", "uid": "s"}
    docker = {"metadata": metadata, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": content}}
    scene.put(resources.SECRETS, docker)
    scene.put(resources.TEMPLATES, pulling(2, "team-pull"))
    await scene()
    assert scene.made("secrets", "image-pull")["data"] == {".dockerconfigjson": content}
    assert scene.made("secrets", "image-pull")["type"] == "kubernetes.io/dockerconfigjson"
    pod = scene.made("deployments", "runner")["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "image-pull"}]
    assert "image-pull" not in str(pod["containers"]) + str(pod["initContainers"]) + str(pod["volumes"])
    # a controller that has just started knows nothing of what it wrote
    scene.reconciler.forget(UID)
    scene.put(resources.TEMPLATES, pulling(3))
    await scene()
    assert ("secrets", NAMESPACE, "image-pull") not in scene.cluster.objects
    assert scene.made("deployments", "runner")["spec"]["template"]["spec"]["imagePullSecrets"] == []


async def test_credentials_that_are_missing_are_said_and_looked_for_again(scene: Scene) -> None:
    scene.put(resources.TEMPLATES, pulling(2, "absent"))
    assert await scene() == 10
    assert scene.condition("Ready") == "False PullSecretUnusable"
    assert "Secret sandbox-system/absent does not exist" in scene.message("Ready")


async def test_a_runner_is_told_the_languages_of_its_template_also_when_it_names_another(scene: Scene) -> None:
    languages = [{"name": "go", "image": IMAGE.replace("sandbox-runner", "sandbox-go"), "description": "Go."}]
    spec = {**TEMPLATE["spec"], "languages": languages}
    scene.put(resources.TEMPLATES, {"metadata": {"name": "sandbox-runner", "uid": "t", "generation": 2}, "spec": spec})
    scene.runner(2, language="rust")
    await scene()
    assert scene.condition("Ready") == "False SpecInvalid"
    assert scene.status["languages"] == [{"name": "go", "description": "Go."}]
    scene.runner(3, language="go")
    await scene()
    containers = scene.made("deployments", "runner")["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"] == languages[0]["image"]
    namespace = scene.cluster.objects["namespaces", "", NAMESPACE]
    assert languages[0]["image"] in namespace["metadata"]["annotations"][names.ANNOTATION_IMAGES].split()


async def test_a_failing_api_server_is_said_and_tried_again(scene: Scene) -> None:
    scene.cluster.refuse["apply Service control"] = [errors.Unavailable(503, "etcd is away")]
    with pytest.raises(errors.Unavailable):
        await scene()
    assert scene.condition("Provisioned") == "False ApplyFailed"
    await scene()
    assert scene.condition("Provisioned") == "True Applied"


async def test_an_idle_runner_is_suspended_in_its_spec(scene: Scene) -> None:
    scene.runner(lifecycle={"idleTimeout": "30m"})
    await scene()
    scene.reconciler._memories[UID].agent = AgentStatus(None, "", (), datetime.now(UTC) - timedelta(minutes=29))
    again = await scene()
    assert again is not None
    assert again <= 60
    scene.reconciler._memories[UID].agent = AgentStatus(None, "", (), datetime.now(UTC) - timedelta(minutes=31))
    await scene()
    assert scene.cluster.objects["sandboxrunners", *KEY]["spec"]["operatingMode"] == "Suspended"
    assert "create Event IdleTimeout" in scene.cluster.log


async def test_a_shutdown_time_that_has_come_suspends_or_deletes(scene: Scene) -> None:
    past = "2020-01-01T00:00:00Z"
    scene.runner(lifecycle={"shutdownTime": past})
    await scene()
    assert scene.condition("Suspended") == "True ShutdownTime"
    scene.runner(2, lifecycle={"shutdownTime": past, "shutdownPolicy": "Delete"})
    assert await scene() is None
    assert scene.cluster.objects["sandboxrunners", *KEY]["metadata"]["deletionTimestamp"]


async def test_deletion_ends_the_runtime_and_only_then_lets_the_runner_go(scene: Scene) -> None:
    await scene()
    await scene.cluster.delete(resources.RUNNERS, "shop", "team")
    assert await scene() == 1.0
    assert scene.cluster.log[:3] == [
        "patch Deployment runner",
        "delete PersistentVolumeClaim workspace",
        f"delete Namespace {NAMESPACE}",
    ]
    assert ("sandboxrunners", *KEY) in scene.cluster.objects
    del scene.cluster.objects["namespaces", "", NAMESPACE]
    assert await scene() is None
    assert ("sandboxrunners", *KEY) not in scene.cluster.objects


async def test_a_runner_that_is_gone_needs_nothing(scene: Scene) -> None:
    assert await scene.reconciler.reconcile(("team", "other")) is None
