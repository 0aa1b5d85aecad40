"""How an image was built, as an in-toto statement with SLSA's provenance predicate (slsa.dev/spec/v1.0/provenance). Pure.

Nobody has signed it: it is what the build says of itself, level 1 of SLSA. ``cosign attest`` makes more of it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://infrastructure.appstudio.dev/devcluster-images/v1"
"""Means: `docs/images.md`, How they are built."""


@dataclass(frozen=True)
class Source:
    """`commit` is empty outside a git work tree; `changed` when the tree is not what the commit says."""

    commit: str
    changed: bool


@dataclass(frozen=True)
class Build:
    """One build. `files` are digests (sha256, hex) of everything that went in, by path in the work tree."""

    image: str
    dockerfile: str
    base: str
    builder: str
    source: Source
    files: Mapping[str, str]
    started: datetime
    finished: datetime


def statement(name: str, digest: str, build: Build, bill: str) -> str:
    """JSON. `digest` is that of the image, `bill` its software bill of materials."""
    dependencies: list[dict[str, Any]] = [
        {"name": path, "digest": {"sha256": value}} for path, value in sorted(build.files.items())
    ]
    if build.source.commit:
        commit = {"name": "source", "digest": {"gitCommit": build.source.commit}}
        dependencies.insert(0, {**commit, "annotations": {"changed": build.source.changed}})
    document = {
        "_type": _TYPE,
        "subject": [{"name": name, "digest": dict([digest.split(":", 1)])}],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"image": build.image, "dockerfile": build.dockerfile, "baseImage": build.base},
                "internalParameters": {"builder": build.builder},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": BUILD_TYPE},
                "metadata": {"startedOn": _time(build.started), "finishedOn": _time(build.finished)},
                "byproducts": [
                    {
                        "name": "sbom",
                        "mediaType": "application/vnd.cyclonedx+json",
                        "digest": {"sha256": hashlib.sha256(bill.encode()).hexdigest()},
                    }
                ],
            },
        },
    }
    return json.dumps(document, indent=1) + "\n"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
