"""docs/rbac.md is the table that the cluster is held to, and the table is what the code serves and the manifests grant."""

from pathlib import Path

import yaml

from sandbox_operator.apiserver.routes import VERBS
from sandbox_protocol import names
from tests.harness import rbac

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_written_from_the_table() -> None:
    assert (ROOT / "docs/rbac.md").read_text() == rbac.page(), "run: python -m tests.harness.rbac > docs/rbac.md"


def test_the_table_has_every_verb_and_method_that_is_served() -> None:
    served = {name: {each.method: each.action for each in verb.operations} for name, verb in VERBS.items()}
    assert served == {name: dict(methods) for name, methods in rbac.SERVED.items()}


def test_the_shipped_roles_grant_what_the_table_says() -> None:
    granted: dict[str, set[tuple[str, str]]] = {}
    for document in yaml.safe_load_all((ROOT / "deploy/base/apiserver.yaml").read_text()):
        for label in (document["metadata"].get("labels") or {}) if document["kind"] == "ClusterRole" else ():
            role = label.rpartition("aggregate-to-")[2]
            for rule in document["rules"]:
                assert rule["apiGroups"] == [names.SUBRESOURCE_GROUP]
                pairs = {(each.partition("/")[2], verb) for each in rule["resources"] for verb in rule["verbs"]}
                granted[role] = granted.get(role, set()) | pairs
    assert granted["view"] == rbac.ROLES["view"]
    assert granted["view"] | granted["edit"] == rbac.ROLES["edit"]
    assert granted.keys() == {"view", "edit"}
