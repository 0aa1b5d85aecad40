"""What a run found out about one project, as it is kept between runs. Records are merged by project; the page says which are
of an earlier revision of the product."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from devcluster.settings import REPOSITORY

PRODUCT = (
    "runner_agent",
    "sandbox_protocol",
    "sandbox_client",
    "operator",
    "launcher",
    "templates",
    "crds",
    "deploy",
    "requirements",
    "Dockerfile.runner",
    "Dockerfile.operator",
)
"""What decides how an app fares; tests and pages do not."""

Verdict = Literal["up", "told", "failed"]


@dataclass(slots=True)
class Record:
    """``failure`` is empty, or says at which step something else happened than is right. Times are seconds.

    ``edits``: sync begun → text on the open page. ``broken``: how the error of a broken edit was seen."""

    project: str
    framework: str
    expected: str
    revision: str = ""
    verdict: Verdict = "failed"
    failure: str = ""
    detected: str = ""
    install_command: str = ""
    install: float | None = None
    installs: int = 0
    ready: float | None = None
    edits: list[float] = field(default_factory=list)
    broken: str = ""
    says: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.failure


def save(record: Record, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{record.project}.json").write_text(json.dumps(asdict(record), indent=1) + "\n")


def load(folder: Path) -> list[Record]:
    """In the order of the projects' names."""
    return [Record(**json.loads(file.read_text())) for file in sorted(folder.glob("*.json"))]


def newest(found: Iterable[Record], projects: Iterable[str]) -> list[Record]:
    """Those of projects that the corpus still has."""
    names = frozenset(projects)
    return [record for record in found if record.project in names]


def product_revision(root: Path = REPOSITORY) -> str:
    """Of the product's sources as they lie in the work tree: twelve digits, other ones after any change to them."""

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True).stdout

    kept = git("ls-files", "--stage", "--", *PRODUCT)
    changed = git("diff", "HEAD", "--", *PRODUCT)
    return hashlib.sha256(kept + changed).hexdigest()[:12]
