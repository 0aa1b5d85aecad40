"""Objects of a runtime before and after they are applied: where they may lie, whose they are, in which order they come. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from sandbox_operator.errors import TemplateInvalid
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

Object = dict[str, Any]

# Later waves need earlier ones: everything its namespace; a pod its account, volume, Secrets, policy. The quota comes after the
# volume, because quota admission refuses what it counts until the quota's own controller has counted once.
_WAVES = {"Namespace": 0, "ResourceQuota": 2, "Deployment": 3, "StatefulSet": 3, "ReplicaSet": 3, "Job": 3, "Pod": 3}
_WAVE = 1


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def key_of(body: Object) -> ObjectKey:
    return ObjectKey(body["apiVersion"], body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"])


def stamped(body: Object, refs: Refs) -> Object:
    """``body`` with the labels that say whose it is. TemplateInvalid when it would lie anywhere but in the runner's namespace."""
    metadata = body.get("metadata")
    if not (isinstance(body.get("apiVersion"), str) and isinstance(body.get("kind"), str) and isinstance(metadata, dict)):
        raise TemplateInvalid("a resource has no apiVersion, kind or metadata")
    what = f"{body['kind']} {metadata.get('name')}"
    if not isinstance(metadata.get("name"), str):
        raise TemplateInvalid(f"a {body['kind']} has no metadata.name")
    if body["kind"] == "Namespace" and body["apiVersion"] == "v1":
        if metadata["name"] != refs.namespace or "namespace" in metadata:
            raise TemplateInvalid(f"{what}: the only namespace of a sandbox is sandbox-${{schema.metadata.uid}}")
    elif metadata.get("namespace") != refs.namespace:
        raise TemplateInvalid(f"{what}: metadata.namespace must be sandbox-${{schema.metadata.uid}}")
    labels = {**(metadata.get("labels") or {}), names.LABEL_RUNNER_UID: refs.uid}
    labels.setdefault(names.LABEL_MANAGED_BY, names.FIELD_MANAGER)
    return {**without_null(body), "metadata": {**without_null(metadata), "labels": labels}}


def with_images(body: Object, images: Iterable[str]) -> Object:
    """A runtime namespace that says which images its pods may run; any other object as it is."""
    if body["kind"] != "Namespace" or body["apiVersion"] != "v1":
        return body
    annotations = {**(body["metadata"].get("annotations") or {}), names.ANNOTATION_IMAGES: " ".join(sorted(set(images)))}
    return {**body, "metadata": {**body["metadata"], "annotations": annotations}}


def without_null(value: Any) -> Any:
    """Null means absent in the API; leaving it out keeps a field from being owned for nothing."""
    if isinstance(value, dict):
        return {key: without_null(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_null(item) for item in value]
    return value


def waves(bodies: Iterable[Object], present: Container[ObjectKey] = ()) -> list[list[Object]]:
    """Groups to be applied one after the other, each at once; ``present`` are there already. Two of the same name are a fault of
    the template."""
    groups: dict[int, list[Object]] = {}
    seen: set[ObjectKey] = set()
    for body in bodies:
        key = key_of(body)
        if key in seen:
            raise TemplateInvalid(f"{key} is made twice")
        seen.add(key)
        # a quota that has been counted comes first: it is raised before the volume that grows
        raised = body["kind"] == "ResourceQuota" and key in present
        groups.setdefault(0 if raised else _WAVES.get(body["kind"], _WAVE), []).append(body)
    return [groups[number] for number in sorted(groups)]


def digest(body: Object) -> str:
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()


def is_ours(live: Object, refs: Refs) -> bool:
    return (live["metadata"].get("labels") or {}).get(names.LABEL_RUNNER_UID) == refs.uid


def fingerprint(live: Object) -> str:
    """Of the fields that server-side apply notes as ours. Whoever changes one takes it over, so a drift changes the fingerprint;
    status, and fields we never set, do not."""
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("manager") == names.FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            return hashlib.sha256(msgspec.json.encode(entry.get("fieldsV1"), order="sorted")).hexdigest()
    return ""


_METADATA = ("name", "namespace", "uid", "resourceVersion", "generation", "labels", "creationTimestamp", "deletionTimestamp")


def summary(live: Object) -> Object:
    """What the controller keeps of a child: whose it is, its fingerprint, and what it says about itself."""
    kept = {
        "metadata": {name: live["metadata"][name] for name in _METADATA if name in live["metadata"]},
        "fingerprint": fingerprint(live),
    }
    if "status" in live:
        kept["status"] = live["status"]
    if "replicas" in (live.get("spec") or {}):
        kept["spec"] = {"replicas": live["spec"]["replicas"]}
    return kept
