"""templates/sandbox-runner.yaml, rendered: what a sandbox is made of, with everything that keeps it in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox_operator.model.effective import effective
from sandbox_operator.model.record import read
from sandbox_operator.model.runner import RunnerSpec
from sandbox_operator.model.template import TemplateSpec
from sandbox_operator.render.graph import compile_template
from sandbox_operator.render.schema import Runtime, schema
from sandbox_protocol.refs import Refs

UID = "0f0e0d0c-0b0a-4908-8706-050403020100"
NAMESPACE = f"sandbox-{UID}"
ROOT = Path(__file__).parents[4]
SHIPPED = yaml.safe_load((ROOT / "templates/sandbox-runner.yaml").read_text())["spec"]
IMAGE = f"localhost/sandbox-runner@sha256:{'1' * 64}"
SHIPPED["agentImage"] = SHIPPED["defaults"]["image"] = IMAGE


def rendered(
    spec: dict[str, Any] | None = None, *, capabilities: frozenset[str] = frozenset(), **changes: Any
) -> dict[str, dict[str, Any]]:
    template = read(TemplateSpec, {**SHIPPED, **changes})
    runtime = Runtime(Refs(UID), "team", "shop", "sandbox-system", ("10.96.0.1:443",), "rev1", capabilities)
    wished = effective(read(RunnerSpec, spec or {}), template)
    objects = compile_template(template.resources).render(schema(wished, template, runtime))
    return {f"{entry.object['kind']}/{entry.object['metadata']['name']}": entry.object for entry in objects}


def pod(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = objects["Deployment/runner"]["spec"]["template"]["spec"]
    return spec


def containers(objects: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in [*pod(objects)["initContainers"], *pod(objects)["containers"]]}


def test_an_empty_spec_makes_these_objects_under_their_fixed_names() -> None:
    assert sorted(rendered()) == [
        "Deployment/runner",
        "LimitRange/limits",
        f"Namespace/{NAMESPACE}",
        "NetworkPolicy/isolation",
        "PersistentVolumeClaim/workspace",
        "ResourceQuota/limits",
        "RoleBinding/data-plane",
        "Service/control",
        "Service/preview",
        "ServiceAccount/runner",
    ]


def test_a_reference_grant_is_made_only_where_the_gateway_api_is() -> None:
    assert "ReferenceGrant/preview" in rendered(capabilities=frozenset({"gateway.networking.k8s.io/v1beta1/ReferenceGrant"}))


def test_a_pod_names_no_credential_to_pull_with_unless_there_is_one() -> None:
    assert pod(rendered())["imagePullSecrets"] == []


def test_everything_lies_in_the_runtime_namespace() -> None:
    assert {entry["metadata"].get("namespace", NAMESPACE) for entry in rendered().values()} == {NAMESPACE}


def test_the_namespace_enforces_the_restricted_standard_of_a_pinned_version() -> None:
    labels = rendered()[f"Namespace/{NAMESPACE}"]["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert labels[f"pod-security.kubernetes.io/{mode}-version"].startswith("v1.")


def test_the_pod_gives_nothing_away() -> None:
    spec = pod(rendered())
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["hostUsers"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & spec.keys()
    for name, container in containers(rendered()).items():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"memory", "ephemeral-storage"} <= container["resources"]["limits"].keys(), name


def test_a_look_up_ends_at_once_where_there_is_no_dns() -> None:
    without = pod(rendered())
    assert (without["dnsPolicy"], without["dnsConfig"]) == ("None", {"nameservers": ["127.0.0.1"]})
    with_dns = pod(rendered(egress={"profile": "public"}))
    assert (with_dns["dnsPolicy"], with_dns["dnsConfig"]) == ("ClusterFirst", {})


def test_only_the_agent_sees_the_control_secret_and_the_whole_volume() -> None:
    mounts = {name: {mount["name"]: mount for mount in entry["volumeMounts"]} for name, entry in containers(rendered()).items()}
    assert [name for name, entry in mounts.items() if "control" in entry] == ["agent"]
    assert "subPath" not in mounts["agent"]["workspace"]
    assert mounts["app"]["launcher"]["readOnly"] is True


def test_all_that_an_app_can_write_lies_on_its_volume() -> None:
    writable = [mount for mount in containers(rendered())["app"]["volumeMounts"] if not mount.get("readOnly")]
    assert {mount["name"] for mount in writable} == {"workspace"}
    assert {mount["mountPath"]: mount["subPath"] for mount in writable} == {
        "/workspace": "tree",
        "/home/sandbox": "home",
        "/tmp": "tmp",
    }
    # emptied at each start
    assert "--scratch=/tmp" in containers(rendered())["app"]["command"]


def test_the_agent_is_a_sidecar_that_starts_after_the_gate_and_before_the_app() -> None:
    first, second = pod(rendered())["initContainers"]
    assert (first["name"], second["name"], second["restartPolicy"]) == ("gate", "agent", "Always")
    assert "restartPolicy" not in first


def test_every_container_runs_an_image_by_digest() -> None:
    assert {entry["image"] for entry in containers(rendered()).values()} == {IMAGE}
    assert read(TemplateSpec, SHIPPED).bounds.require_digest
    assert read(TemplateSpec, SHIPPED).bounds.images == ()


def test_one_writer_of_the_workspace_at_a_time() -> None:
    deployment = rendered()["Deployment/runner"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert rendered({"operatingMode": "Suspended"})["Deployment/runner"]["spec"]["replicas"] == 0


def test_both_services_lead_to_pods_that_are_not_ready() -> None:
    for name, port in (("control", 7070), ("preview", 7080)):
        spec = rendered()[f"Service/{name}"]["spec"]
        assert spec["publishNotReadyAddresses"] is True
        assert [entry["port"] for entry in spec["ports"]] == [port]
        assert spec["selector"] == {"infrastructure.appstudio.dev/runner-uid": UID}


def test_who_comes_in_at_which_port() -> None:
    policy = rendered()["NetworkPolicy/isolation"]["spec"]
    assert policy["podSelector"] == {}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    opened = {}
    for rule in policy["ingress"]:
        (peer,) = rule["from"]
        assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "sandbox-system"}}
        opened[peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]] = {port["port"] for port in rule["ports"]}
    assert opened == {"sandbox-apiserver": {7070, 7080}, "sandbox-controller": {7070}, "sandbox-preview": {7080}}


def test_the_data_plane_is_bound_to_the_api_server_alone() -> None:
    binding = rendered()["RoleBinding/data-plane"]
    assert binding["roleRef"]["name"] == "sandbox-data-plane"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "sandbox-apiserver", "namespace": "sandbox-system"}]


def test_the_gate_is_told_what_must_be_out_of_reach() -> None:
    gate = {entry["name"]: entry["value"] for entry in containers(rendered())["gate"]["env"]}
    assert gate["SANDBOX_GATE_TARGETS"] == "10.96.0.1:443"


def test_the_agent_is_told_about_the_app_and_its_limits() -> None:
    objects = rendered({"command": ["npm", "run", "dev"], "port": 5173}, limits={"sync": {"bodyBytes": 5}, "logBytes": 2000000})
    agent = {entry["name"]: entry["value"] for entry in containers(objects)["agent"]["env"]}
    assert json.loads(agent["SANDBOX_APP"]) == {"command": ["npm", "run", "dev"], "port": 5173, "workingDir": "/workspace"}
    assert json.loads(agent["SANDBOX_LIMITS"]) == {"body_bytes": 5, "log_bytes": 2000000}


@pytest.mark.parametrize("text", ["$(HOME)", "$$(HOME)", "100 $", "$$"])
def test_values_reach_the_app_and_the_agent_literally(text: str) -> None:
    """The kubelet expands $(NAME) and halves $$; doubling every dollar sign undoes both."""

    def kubelet(value: str) -> str:
        assert "$(" not in value.replace("$$", "")
        return value.replace("$$", "$")

    objects = rendered({"env": [{"name": "A", "value": text}], "command": ["echo", text]})
    app = {entry["name"]: entry.get("value") for entry in containers(objects)["app"]["env"]}
    agent = {entry["name"]: entry["value"] for entry in containers(objects)["agent"]["env"]}
    assert kubelet(app["A"]) == text
    assert json.loads(kubelet(agent["SANDBOX_APP"]))["command"] == ["echo", text]


def test_values_from_secrets_come_by_the_secret_env_and_a_change_restarts_the_app() -> None:
    objects = rendered({"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k"}}}]})
    assert {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "env", "key": "TOKEN", "optional": True}}} in containers(
        objects
    )["app"]["env"]
    annotations = objects["Deployment/runner"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["infrastructure.appstudio.dev/env-revision"] == "rev1"


def test_no_variable_is_set_twice() -> None:
    objects = rendered({"env": [{"name": "HOME", "value": "/workspace"}]})
    names = [entry["name"] for entry in containers(objects)["app"]["env"]]
    assert len(names) == len(set(names))


def test_storage_class_and_runtime_class_are_left_to_the_cluster_unless_named() -> None:
    plain = rendered()
    assert "storageClassName" not in plain["PersistentVolumeClaim/workspace"]["spec"]
    assert pod(plain)["runtimeClassName"] is None
    assert pod(rendered(hostUsers=True))["hostUsers"] is True
    named = rendered({"storage": {"storageClassName": "fast", "size": "2Gi"}}, runtimeClassName="gvisor")
    assert named["PersistentVolumeClaim/workspace"]["spec"]["storageClassName"] == "fast"
    assert named["ResourceQuota/limits"]["spec"]["hard"]["requests.storage"] == "2Gi"
    assert pod(named)["runtimeClassName"] == "gvisor"


def test_the_app_is_started_with_its_limits_and_confined() -> None:
    command = containers(rendered(limits={"pids": 200, "openFiles": 300}))["app"]["command"]
    assert command[:2] == ["/opt/sandbox/launcher", "launcher"]
    assert set(command) >= {"--processes=200", "--open-files=300", "--no-new-privileges", "--landlock"}


def test_nothing_that_the_user_sets_is_part_of_the_app_s_first_command() -> None:
    variables = [{"name": "GODEBUG", "value": "x"}, {"name": "SANDBOX_NPROC", "value": "0"}]
    app = containers(rendered({"env": variables}))["app"]
    assert app["command"] == containers(rendered())["app"]["command"]
    assert app["env"][-2:] == variables


def test_the_gvisor_template_differs_from_the_shipped_one_in_its_runtime_alone() -> None:
    overlay = yaml.safe_load((ROOT / "deploy/gvisor/kustomization.yaml").read_text())
    (patch,) = overlay["patches"]
    changes = {change["path"].removeprefix("/spec/"): change["value"] for change in yaml.safe_load(patch["patch"])}
    assert overlay["resources"] == ["../../templates"]
    assert changes.keys() == {"description", "runtimeClassName", "hostUsers"}
    plain, made = pod(rendered()), pod(rendered(**changes))
    assert {name for name in plain if plain[name] != made[name]} == {"runtimeClassName", "hostUsers"}
    assert (made["runtimeClassName"], made["hostUsers"]) == ("gvisor", True)


def test_expressions_refer_to_nothing_that_kro_does_not_have() -> None:
    """Inside kro an expression sees schema and other resources, so the operator's own facts must be under schema.spec."""
    template = read(TemplateSpec, SHIPPED)
    made = schema(effective(read(RunnerSpec, {}), template), template, Runtime(Refs(UID), "t", "s", "sandbox-system", ()))
    assert made.keys() == {"metadata", "spec"}
