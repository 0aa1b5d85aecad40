"""The admission policies of deploy/base, asked without an API server: would they let a request through?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sandbox_operator.render.cel import Environment

POLICIES = Path(__file__).parents[2] / "deploy" / "base" / "policies.yaml"

Object = Mapping[str, Any]

_NAMES = Environment(["request", "object", "oldObject", "namespaceObject"])


@dataclass(frozen=True)
class Request:
    """``resource`` as kubectl names it with its subresource: ``roles.rbac.authorization.k8s.io``, ``serviceaccounts/token``."""

    user: str
    operation: str
    resource: str
    namespace: str
    new: Object | None = None
    old: Object | None = None
    groups: tuple[str, ...] = ()
    namespace_object: Object = field(default_factory=lambda: {"metadata": {}})

    def values(self) -> dict[str, Any]:
        """The variables of an expression; like the API server's, fields that are empty are not there."""
        group, resource, subresource = self.parts
        request: dict[str, Any] = {
            "operation": self.operation,
            "namespace": self.namespace,
            "resource": {"group": group, "version": "v1", "resource": resource},
            "userInfo": {"username": self.user, **({"groups": list(self.groups)} if self.groups else {})},
            **({"subResource": subresource} if subresource else {}),
        }
        return {"request": request, "object": self.new, "oldObject": self.old, "namespaceObject": self.namespace_object}

    @property
    def parts(self) -> tuple[str, str, str]:
        """Group, resource, subresource."""
        names, _, subresource = self.resource.partition("/")
        resource, _, group = names.partition(".")
        return group, resource, subresource


def policies() -> dict[str, Object]:
    """By name; a binding is found under its kind and name."""
    found = [document for document in yaml.safe_load_all(POLICIES.read_text()) if document]
    return {
        ("" if one["kind"] == "ValidatingAdmissionPolicy" else f"{one['kind']}/") + one["metadata"]["name"]: one for one in found
    }


def refusals(policy: Object, request: Request) -> list[str]:
    """The messages of those validations of one policy that do not hold; none for what it is not about."""
    spec = policy["spec"]
    if not any(_matches(rule, request) for rule in spec["matchConstraints"]["resourceRules"]):
        return []
    meaning = {one["name"]: one["expression"] for one in spec.get("variables", ())}
    values = request.values()
    if not all(_holds(one["expression"], meaning, values) for one in spec.get("matchConditions", ())):
        return []
    return [one["message"] for one in spec["validations"] if not _holds(one["expression"], meaning, values)]


def _matches(rule: Object, request: Request) -> bool:
    group, resource, subresource = request.parts
    named = f"{resource}/{subresource}" if subresource else resource
    return (
        request.operation in rule["operations"]
        and bool({group, "*"} & set(rule["apiGroups"]))
        and (named in rule["resources"] or ("*" in rule["resources"] and not subresource))
    )


def _holds(expression: str, meaning: Mapping[str, str], values: Mapping[str, Any]) -> bool:
    while (used := re.search(r"\bvariables\.(\w+)", expression)) is not None:
        # in place of the name its meaning, which is so looked at only where it is needed, as the API server does
        expression = f"{expression[: used.start()]}({meaning[used[1]]}){expression[used.end() :]}"
    return bool(_NAMES.compile(expression)(values))
