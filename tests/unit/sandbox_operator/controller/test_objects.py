from __future__ import annotations

from typing import Any

import pytest

from sandbox_operator.controller import objects
from sandbox_operator.errors import TemplateInvalid
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

UID = "0f0e0d0c-0b0a-4908-8706-050403020100"
REFS = Refs(UID)


def body(kind: str, name: str = "x", namespace: str | None = REFS.namespace, **metadata: Any) -> dict[str, Any]:
    placed = {"namespace": namespace} if namespace is not None else {}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **placed, **metadata}}


def test_every_object_is_labelled_with_its_runner() -> None:
    made = objects.stamped(body("Secret", labels={names.LABEL_RUNNER_UID: "forged", "a": "b"}), REFS)
    assert made["metadata"]["labels"] == {"a": "b", names.LABEL_RUNNER_UID: UID, names.LABEL_MANAGED_BY: names.FIELD_MANAGER}
    assert objects.is_ours(made, REFS)


@pytest.mark.parametrize(
    "wrong",
    [
        body("Secret", namespace="kube-system"),
        body("ClusterRole", namespace=None),
        body("Namespace", "kube-system", namespace=None),
        body("Namespace", REFS.namespace, namespace=REFS.namespace),
        body("Namespace", f"sandbox-{UID[:-1]}1", namespace=None),
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": REFS.namespace}},
        {"kind": "Secret", "metadata": {"name": "x"}},
        {},
    ],
)
def test_an_object_that_would_lie_elsewhere_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TemplateInvalid):
        objects.stamped(wrong, REFS)


def test_null_fields_are_left_out() -> None:
    made = objects.stamped({**body("Pod"), "spec": {"a": None, "b": [{"c": None, "d": 1}]}}, REFS)
    assert made["spec"] == {"b": [{"d": 1}]}


def test_waves_put_the_namespace_first_and_the_pod_last() -> None:
    kinds = ["Deployment", "Secret", "Namespace", "ResourceQuota", "PersistentVolumeClaim"]
    made = objects.waves([body(kind) for kind in kinds])
    assert [[entry["kind"] for entry in wave] for wave in made] == [
        ["Namespace"],
        ["Secret", "PersistentVolumeClaim"],
        ["ResourceQuota"],
        ["Deployment"],
    ]


def test_two_objects_of_one_name_are_refused() -> None:
    with pytest.raises(TemplateInvalid, match="made twice"):
        objects.waves([body("Secret"), body("Secret")])


def test_a_quota_that_is_there_is_raised_before_the_volume_that_grows() -> None:
    wanted = [body(kind) for kind in ("PersistentVolumeClaim", "ResourceQuota", "Deployment")]
    first, second, third = objects.waves(wanted, [objects.key_of(wanted[1])])
    assert [made[0]["kind"] for made in (first, second, third)] == ["ResourceQuota", "PersistentVolumeClaim", "Deployment"]


def test_the_digest_does_not_depend_on_order() -> None:
    assert objects.digest({"a": 1, "b": {"c": 2, "d": 3}}) == objects.digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert objects.digest({"a": 1}) != objects.digest({"a": 2})


def managed(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(entries)}}


OURS = {"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:a": {}}}, "time": "1"}


def test_a_foreign_change_of_our_fields_changes_the_fingerprint_and_status_does_not() -> None:
    plain = objects.fingerprint(managed(OURS))
    others = [
        {"manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
        {**OURS, "time": "2"},
    ]
    assert objects.fingerprint(managed(*others)) == plain
    assert objects.fingerprint(managed({**OURS, "fieldsV1": {"f:spec": {}}})) != plain
    assert objects.fingerprint(managed({**OURS, "operation": "Update"})) == ""
