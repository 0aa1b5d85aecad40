"""``SandboxRunner.status`` as a whole, and the smallest patch towards it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox_operator.controller.conditions import Condition, merged
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """``image`` and ``revision`` are empty while they are not known; what was known before is then kept."""

    conditions: Sequence[Condition]
    preview_host: str
    image: str = ""
    revision: str = ""
    processes: Sequence[Object] = ()
    """Of a pod that is there, as ``isolation``; what is not known any more is not shown."""
    isolation: Object | None = None
    languages: Sequence[Object] | None = None
    """Of the template; None while it is not known, and what was known before is then kept."""


def status(runner: Object, report: Report, now: str) -> Object:
    """``now`` is RFC 3339."""
    present = runner.get("status") or {}
    refs = Refs(runner["metadata"]["uid"])
    generation = runner["metadata"]["generation"]
    made: Object = {
        "observedGeneration": generation,
        "conditions": merged(report.conditions, generation, present.get("conditions") or (), now),
        "refs": {
            "namespace": refs.namespace,
            "previewService": names.PREVIEW_SERVICE,
            "controlService": names.CONTROL_SERVICE,
            "controlSecret": names.CONTROL_SECRET,
        },
        "preview": {"host": report.preview_host},
    }
    if image := report.image or present.get("image", ""):
        made["image"] = image
    if revision := report.revision or (present.get("workspace") or {}).get("revision", ""):
        made["workspace"] = {"revision": revision}
    languages = present.get("languages") if report.languages is None else report.languages
    if languages:
        made["languages"] = list(languages)
    if report.processes:
        made["processes"] = list(report.processes)
    if report.isolation:
        made["isolation"] = report.isolation
    return made


def merge_patch(present: Any, wanted: Object) -> Object:
    """RFC 7386: what turns ``present`` into ``wanted``; empty when nothing does."""
    present = present if isinstance(present, dict) else {}
    patch: Object = {key: None for key in present if key not in wanted}
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(present.get(key), dict):
            if nested := merge_patch(present[key], value):
                patch[key] = nested
        elif key not in present or present[key] != value:
            patch[key] = value
    return patch
