"""Applying: only what changed or drifted, in waves, and nothing that is not ours."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox_operator.controller import apply as apply_module
from sandbox_operator.controller.apply import Applier, Ledger, Outcome
from sandbox_operator.controller.objects import stamped
from sandbox_operator.errors import Rejected, RetryLater, TemplateInvalid, Unowned
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.discovery import Discovery, UnknownKindError
from sandbox_operator.kube.resources import Resource
from sandbox_protocol.refs import Refs

REFS = Refs("0f0e0d0c-0b0a-4908-8706-050403020100")
NAMESPACE = REFS.namespace


def body(kind: str, name: str, api_version: str = "v1", **rest: Any) -> dict[str, Any]:
    metadata = {"name": name} if kind == "Namespace" else {"name": name, "namespace": NAMESPACE}
    return stamped({"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}, REFS)


BODIES = [
    body("Deployment", "runner", "apps/v1"),
    body("Service", "control"),
    body("PersistentVolumeClaim", "workspace"),
    body("ResourceQuota", "limits"),
    body("Namespace", NAMESPACE),
]


class Scene:
    def __init__(self, cluster: Any, children: Any) -> None:
        self.cluster = cluster
        self.children = children
        self.ledger = Ledger()
        self.applier = Applier(cluster, children, Discovery(cluster))

    async def apply(self, bodies: list[dict[str, Any]] | None = None) -> Outcome:
        self.cluster.log.clear()
        return await self.applier.apply(BODIES if bodies is None else bodies, REFS, self.ledger)

    def place(self, resource: Resource, name: str, **metadata: Any) -> None:
        """An object that is there before us."""
        namespace = NAMESPACE if resource.namespaced else ""
        live = {"metadata": {"name": name, "namespace": namespace, "uid": "foreign", "resourceVersion": "1", **metadata}}
        self.cluster.objects[resource.plural, namespace, name] = live


@pytest.fixture
def scene(cluster: Any, children: Any) -> Scene:
    return Scene(cluster, children)


async def test_the_namespace_comes_first_and_the_pod_last(scene: Scene) -> None:
    await scene.apply()
    assert scene.cluster.log[0] == f"apply Namespace {NAMESPACE}"
    assert scene.cluster.log[-2:] == ["apply ResourceQuota limits", "apply Deployment runner"]


async def test_what_is_as_it_should_be_is_not_written_again(scene: Scene) -> None:
    await scene.apply()
    outcome = await scene.apply()
    assert scene.cluster.log == []
    assert outcome.repaired == ()


async def test_only_what_changed_is_written(scene: Scene) -> None:
    await scene.apply()
    outcome = await scene.apply([*BODIES[:1], body("Service", "control", spec={"x": 1}), *BODIES[2:]])
    assert scene.cluster.log == ["apply Service control"]
    assert outcome.repaired == ()


async def test_a_change_by_somebody_else_is_undone_and_told(scene: Scene) -> None:
    await scene.apply()
    scene.cluster.vandalise(resources.SERVICES, "control", NAMESPACE)
    outcome = await scene.apply()
    assert scene.cluster.log == ["apply Service control"]
    assert [str(key) for key in outcome.repaired] == [f"Service {NAMESPACE}/control"]


async def test_a_deleted_object_is_made_again(scene: Scene) -> None:
    await scene.apply()
    await scene.apply()  # the watch has shown everything by now
    del scene.cluster.objects["services", NAMESPACE, "control"]
    outcome = await scene.apply()
    assert [str(key) for key in outcome.repaired] == [f"Service {NAMESPACE}/control"]


async def test_an_object_that_the_watch_has_not_shown_yet_is_not_taken_for_deleted(scene: Scene) -> None:
    scene.children.behind = True
    await scene.apply()
    await scene.apply()
    assert scene.cluster.log == []


@pytest.mark.parametrize(
    ("resource", "name", "reason"),
    [(resources.NAMESPACES, NAMESPACE, "ConflictNamespace"), (resources.SERVICES, "control", "ConflictService")],
    ids=["namespace", "child"],
)
async def test_what_is_not_ours_is_refused_and_nothing_at_all_is_written(
    scene: Scene, resource: Resource, name: str, reason: str
) -> None:
    scene.place(resource, name, labels={"infrastructure.appstudio.dev/runner-uid": "1f0e0d0c-0b0a-4908-8706-050403020100"})
    with pytest.raises(Unowned) as caught:
        await scene.apply()
    assert caught.value.reason == reason
    assert scene.cluster.log == []


async def test_an_unlabelled_namespace_is_seen_although_no_watch_shows_it(scene: Scene) -> None:
    scene.children.behind = True
    scene.place(resources.NAMESPACES, NAMESPACE)
    with pytest.raises(Unowned):
        await scene.apply()


async def test_a_namespace_that_is_going_is_waited_for(scene: Scene) -> None:
    await scene.apply()
    await scene.cluster.delete(resources.NAMESPACES, NAMESPACE)
    with pytest.raises(RetryLater, match="being deleted"):
        await scene.apply()


async def test_an_object_replaced_between_looking_and_writing_is_not_overwritten(scene: Scene) -> None:
    await scene.apply()
    scene.cluster.refuse["apply Service control"] = [errors.Conflict(409, "uid mismatch")]
    with pytest.raises(RetryLater):
        await scene.apply([*BODIES[:1], body("Service", "control", spec={"x": 1}), *BODIES[2:]])


async def test_what_the_api_server_refuses_is_told_and_the_rest_of_its_wave_is_whole(scene: Scene) -> None:
    scene.cluster.refuse["apply Service control"] = [errors.Invalid(422, "spec.ports: required")]
    with pytest.raises(Rejected) as caught:
        await scene.apply()
    assert (caught.value.reason, "spec.ports: required" in caught.value.message) == ("ApplyRefused", True)
    assert "apply PersistentVolumeClaim workspace" in scene.cluster.log
    assert "apply Deployment runner" not in scene.cluster.log


async def test_a_volume_waits_for_the_quota_to_be_counted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply_module, "_QUOTA_PAUSE", 0)
    scene.cluster.refuse["apply PersistentVolumeClaim workspace"] = [errors.Forbidden(403, "status unknown for quota")] * 3
    await scene.apply()
    assert scene.cluster.log.count("apply PersistentVolumeClaim workspace") == 4


async def test_what_the_template_no_longer_has_is_removed_but_never_a_volume(scene: Scene) -> None:
    await scene.apply()
    await scene.apply([entry for entry in BODIES if entry["kind"] not in {"Service", "PersistentVolumeClaim"}])
    assert scene.cluster.log == ["delete Service control"]


async def test_a_kind_that_nobody_serves_is_a_fault_of_the_template(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(*_: Any) -> Resource:
        raise UnknownKindError("no Widget of example.test/v1 in this cluster")

    monkeypatch.setattr(Discovery, "resource", nobody)
    with pytest.raises(TemplateInvalid, match="no Widget"):
        await scene.apply([body("Widget", "w", "example.test/v1")])
