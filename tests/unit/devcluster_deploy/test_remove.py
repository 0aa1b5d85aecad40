"""Small decisions of the removal."""

from collections.abc import Mapping
from typing import Any

import pytest

from devcluster.deploy.remove import _names, _plural


@pytest.mark.parametrize(
    ("kind", "plural"),
    [
        ("NetworkPolicy", "networkpolicies"),
        ("PriorityClass", "priorityclasses"),
        ("SandboxTemplate", "sandboxtemplates"),
        ("APIService", "apiservices"),
        ("PodDisruptionBudget", "poddisruptionbudgets"),
    ],
)
def test_plural(kind: str, plural: str) -> None:
    assert _plural(kind) == plural


def test_what_is_left_is_named_with_the_reason_the_cluster_gives() -> None:
    stuck = {"type": "NamespaceContentRemaining", "status": "True", "message": "pods. has 1 resource instances"}
    done = {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "all fine"}
    items: list[Mapping[str, Any]] = [
        {"metadata": {"name": "sandbox-1"}, "status": {"conditions": [stuck, done]}},
        {"metadata": {"name": "r", "namespace": "team"}},
    ]
    assert _names(items) == "2 left: sandbox-1 (pods. has 1 resource instances), team/r"
    assert _names([]) is None
