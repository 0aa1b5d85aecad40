from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.harness import rights
from tests.harness.rights import Right

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "rights.md").read_text()
ROLE = "ClusterRole/sandbox-controller"


def event(verb: str, resource: str, code: int = 200, **more: Any) -> dict[str, Any]:
    reason = f'RBAC: allowed by ClusterRoleBinding "x" of {ROLE.replace("/", " ")} to ServiceAccount "y"'.replace(
        "sandbox-controller", '"sandbox-controller"'
    )
    ref = {"resource": resource, "name": more.pop("name", ""), "apiGroup": more.pop("group", "")}
    decision = more.pop("decision", "allow")
    return {
        "verb": verb,
        "user": {"username": f"{rights.ACCOUNTS}sandbox-controller"},
        "objectRef": ref,
        "responseStatus": {"code": code, **more},
        "requestReceivedTimestamp": "2026-01-01T00:00:01.5Z",
        "annotations": {"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": reason},
    }


def test_the_page_lists_exactly_what_the_manifests_grant() -> None:
    page = rights.listed(PAGE)
    assert page.used & page.rare == frozenset()
    assert page.used | page.rare == rights.granted(ROOT / "deploy" / "base")


def test_nobody_is_granted_a_wildcard_or_the_way_to_more_rights() -> None:
    for right in rights.granted(ROOT / "deploy" / "base"):
        assert "*" not in (right.verb, right.resource, right.name)
        assert right.verb not in {"escalate", "impersonate"}
        if right.verb == "bind":
            assert right.name == "sandbox-data-plane"


def test_a_row_without_a_reason_is_refused() -> None:
    for row in ("| `pods` | | list | | |", "| `pods` | | list | get | Why. |", "| `pods` | | list | | Why. Rare: never. |"):
        with pytest.raises(ValueError, match="reason"):
            rights.listed(f"### ClusterRole/a\n{row}\n")


def test_an_apply_that_makes_an_object_needs_create_and_one_of_a_binding_bind() -> None:
    made = event("patch", "rolebindings", 201, name="data-plane", group="rbac.authorization.k8s.io")
    assert {(right.verb, right.name) for right in rights.used([made])} == {
        ("patch", "data-plane"),
        ("create", "data-plane"),
        ("bind", "sandbox-data-plane"),
    }


def test_a_right_to_one_name_is_not_used_by_a_request_for_another() -> None:
    grants = [Right(ROLE, "get", "secrets", "control"), Right(ROLE, "get", "secrets", "env"), Right(ROLE, "get", "namespaces")]
    use = rights.used([event("get", "secrets", name="control"), event("get", "namespaces", name="any")])
    assert rights.unused(grants, use) == [Right(ROLE, "get", "secrets", "env")]


def test_a_request_that_another_role_allowed_uses_none_of_ours() -> None:
    assert rights.unused([Right("Role/other", "get", "secrets", "a")], rights.used([event("get", "secrets", name="a")]))


def test_a_refusal_for_want_of_a_right_is_told_and_one_of_a_full_quota_is_not() -> None:
    expected = [("sandbox-controller", "get", "configmaps")]
    events = [
        event("get", "nodes", 403, decision="forbid", message='nodes is forbidden: User "x" cannot get resource'),
        event("create", "pods", 403, message="pods is forbidden: exceeded quota: limits"),
        event("create", "events", 403, message="unable to create new content in namespace a because it is being terminated"),
        event("get", "configmaps", 403, decision="forbid", message="configmaps is forbidden"),
        event("patch", "secrets", 403, message="ValidatingAdmissionPolicy 'sandbox-controller-fence' denied request"),
    ]
    told = rights.refused(events, expected)
    assert [line.split(":")[1].split()[:2] for line in told] == [["get", "nodes"], ["patch", "secrets"]]


def test_the_log_is_read_from_a_moment_on_and_without_its_torn_end(tmp_path: Path) -> None:
    line = json.dumps(event("get", "secrets", name="a"))
    (tmp_path / "audit.log").write_text(f"{line}\n{line.replace('sandbox-system:', 'other:')}\n{line[:-9]}")
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    assert len(list(rights.audit_events(tmp_path, begin))) == 1
    assert list(rights.audit_events(tmp_path, begin.replace(minute=1))) == []
