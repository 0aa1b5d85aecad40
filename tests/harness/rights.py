"""What the operator's accounts may do, from three sides: deploy/base grants, docs/rights.md explains, the audit log shows it.

A right is one verb on one resource under one name. A role is named with its kind, and a resource as kubectl names it:
``deployments.apps``, ``pods/exec``.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sandbox_protocol import names

ACCOUNTS = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:"
# Bound while the operator runs: by the controller in each runtime, and by who administers a namespace.
BOUND_LATER = frozenset({"ClusterRole/sandbox-data-plane", "ClusterRole/sandbox-env-reader"})
# Admission refuses these of everybody, whatever their rights: the object is counted, or its namespace is ending.
_NOT_ABOUT_RIGHTS = re.compile(r"is being terminated|exceeded quota|status unknown for quota|forbidden: (?:minimum|maximum) ")

Document = Mapping[str, Any]


@dataclass(frozen=True, order=True)
class Right:
    """``name`` is empty where any name is meant."""

    role: str
    verb: str
    resource: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.role}: {self.verb} {self.resource}{' ' + self.name if self.name else ''}"


@dataclass(frozen=True)
class Listed:
    """The page. ``refusals`` are (account, verb, resource) that may be refused."""

    used: frozenset[Right]
    rare: frozenset[Right]
    refusals: frozenset[tuple[str, str, str]]


def _resource(group: str, resource: str) -> str:
    return f"{resource}.{group}" if group else resource


def granted(folder: Path) -> frozenset[Right]:
    """Of every role in the manifests of ``folder`` that one of our accounts has, or gets later."""
    documents = [
        document
        for path in sorted(folder.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document and "metadata" in document
    ]
    ours = set(BOUND_LATER)
    for document in documents:
        subjects = [subject.get("kind") for subject in document.get("subjects") or ()]
        if "ServiceAccount" in subjects:
            ours.add(f"{document['roleRef']['kind']}/{document['roleRef']['name']}")
    found: set[Right] = set()
    for document in documents:
        role = f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] in {"Role", "ClusterRole"} and role in ours:
            for rule in document["rules"]:
                found.update(_rights(role, rule))
    return frozenset(found)


def _rights(role: str, rule: Document) -> Iterator[Right]:
    places = itertools.product(rule["apiGroups"], rule["resources"], rule.get("resourceNames") or [""], rule["verbs"])
    for group, resource, name, verb in places:
        yield Right(role, verb, _resource(group, resource), name)


def listed(page: str) -> Listed:
    """The tables of docs/rights.md. ValueError for a row that gives no reason, or rare verbs without one for them."""
    role, used, rare, refusals = "", set[Right](), set[Right](), set[tuple[str, str, str]]()
    for line in page.splitlines():
        if heading := re.fullmatch(r"### ((?:Cluster)?Role/[a-z-]+)", line):
            role = heading[1]
        elif line.startswith("## "):
            role = ""
        elif line.startswith(("| `", "| sandbox-")):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not cells[-1].strip(". "):
                raise ValueError(f"no reason: {line}")
            if not role:
                refusals.add((cells[0], cells[1], *_words(cells[2])))  # type: ignore[arg-type]
                continue
            resources, objects, verbs, seldom = map(_words, cells[:4])
            if bool(seldom) != ("Rare: " in cells[4]):
                raise ValueError(f"rare verbs and the reason for them belong together: {line}")
            for resource, name in itertools.product(resources, objects or [""]):
                used |= {Right(role, verb, resource, name) for verb in verbs}
                rare |= {Right(role, verb, resource, name) for verb in seldom}
    return Listed(frozenset(used), frozenset(rare), frozenset(refusals))


def _words(cell: str) -> list[str]:
    return [word.strip("` ") for word in cell.split(",") if word.strip("` ")]


def audit_events(logs: Path, since: datetime) -> Iterator[Document]:
    """What our accounts asked since then, oldest file first."""
    for path in sorted(logs.glob("audit*.log"), key=lambda path: path.stat().st_mtime):
        with path.open(encoding="utf-8") as file:
            for line in file:
                if ACCOUNTS in line and (event := _event(line)) is not None and _when(event) >= since:
                    yield event


def _event(line: str) -> Document | None:
    try:
        event: Document = json.loads(line)
    except ValueError:  # the last line, which is being written
        return None
    ours = str(event["user"].get("username", "")).startswith(ACCOUNTS)
    return event if ours and "objectRef" in event and "code" in event.get("responseStatus", {}) else None


def _when(event: Document) -> datetime:
    return datetime.fromisoformat(event["requestReceivedTimestamp"]).astimezone(UTC)


def _asked(event: Document) -> tuple[str, str, str]:
    """Verb, resource and name."""
    ref = event["objectRef"]
    plain = ref.get("resource", "") + (f"/{ref['subresource']}" if ref.get("subresource") else "")
    return event["verb"], _resource(ref.get("apiGroup", ""), plain), ref.get("name", "")


def used(events: Iterable[Document]) -> frozenset[Right]:
    """By the role that allowed each request, as the API server notes it; with a name wherever the request had one."""
    found: set[Right] = set()
    for event in events:
        annotations = event.get("annotations", {})
        role = re.search(r' of (ClusterRole|Role) "([^"]+)" to ', annotations.get("authorization.k8s.io/reason", ""))
        if role is None or annotations.get("authorization.k8s.io/decision") != "allow":
            continue
        verb, resource, name = _asked(event)
        right = Right(f"{role[1]}/{role[2]}", verb, resource, name)
        found.add(right)
        found.update(_with_it(right, event["responseStatus"]["code"]))
    return frozenset(found)


def _with_it(right: Right, code: int) -> Iterator[Right]:
    """What the API server checks beside the verb of a request, which no line of its log tells."""
    if right.verb == "patch" and code == 201:  # a server-side apply that makes the object
        yield Right(right.role, "create", right.resource, right.name)
    if right.verb == "patch" and right.resource == "rolebindings.rbac.authorization.k8s.io" and code == 201:
        yield Right(right.role, "bind", "clusterroles.rbac.authorization.k8s.io", f"sandbox-{right.name}")


def unused(grants: Iterable[Right], use: Iterable[Right]) -> list[Right]:
    """The grants that no request needed."""
    use = frozenset(use)
    nameless = {Right(right.role, right.verb, right.resource) for right in use}
    return sorted(right for right in grants if right not in (use if right.name else nameless))


def refused(events: Iterable[Document], expected: Iterable[tuple[str, str, str]]) -> list[str]:
    """Every 403 that is about rights, or from an admission policy, and not ``expected``; once each."""
    allowed, found = frozenset(expected), set[str]()
    for event in events:
        status = event["responseStatus"]
        if status["code"] != 403 or _NOT_ABOUT_RIGHTS.search(status.get("message", "")):
            continue
        verb, resource, name = _asked(event)
        account = event["user"]["username"].removeprefix(ACCOUNTS)
        by_rbac = event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
        if not (by_rbac and (account, verb, resource) in allowed):
            found.add(f"{account}: {verb} {resource} {name}: {status.get('message', '')[:200]}")
    return sorted(found)
