"""A runner's own rendered objects as a plain manifest: what the same pod costs without the operator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sandbox_client import blocking
from sandbox_protocol import names
from tests.bench.stage import Stage

KINDS = "resourcequota,limitrange,serviceaccount,rolebinding,persistentvolumeclaim,networkpolicy,service,secret,deployment"
_OURS = names.GROUP
_THEIRS = "bench.example"
"""Labels under another name: the operator must not take the copy for a runtime of its own."""


def objects(on: Stage, sandbox: blocking.Sandbox, namespace: str) -> str:
    """As JSON for kubectl, namespace first, everything that the API server adds left out."""
    original = on.cluster.refs(sandbox).namespace
    found = [on.cluster.get("namespace", original), *on.cluster.get(KINDS, "--namespace", original)["items"]]
    kept = [_cleaned(item) for item in found if not _made_by_kubernetes(item)]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": kept})
    return text.replace(original, namespace).replace(f"{_OURS}/", f"{_THEIRS}/")


def _made_by_kubernetes(item: Mapping[str, Any]) -> bool:
    name = item["metadata"]["name"]
    return (item["kind"], name) in {("ServiceAccount", "default")}


def _cleaned(item: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: item["metadata"][key] for key in ("name", "namespace", "labels", "annotations") if key in item["metadata"]}
    made = {key: value for key, value in item.items() if key != "status"} | {"metadata": metadata}
    spec = dict(made.get("spec") or {})
    if item["kind"] == "Service":
        for key in ("clusterIP", "clusterIPs"):
            spec.pop(key, None)
    if item["kind"] == "PersistentVolumeClaim":
        spec.pop("volumeName", None)
        metadata.pop("annotations", None)
    if item["kind"] == "Namespace":
        metadata["labels"].pop("kubernetes.io/metadata.name", None)
        spec.pop("finalizers", None)
    if spec or "spec" in made:
        made["spec"] = spec
    return made
