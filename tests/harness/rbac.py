"""Who may do what with the verbs: one table, from which docs/rbac.md is written and which the real API servers are held to.

``python -m tests.harness.rbac > docs/rbac.md`` writes the page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sandbox_protocol import names

Outcome = Literal["yes", "403", "403 by us", "405", "401", "401 or 403", "401 or no TLS"]

METHODS: Mapping[str, str] = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "OPTIONS": "",
}
"""The RBAC verb by which the API server judges a method; no role can name the one of OPTIONS."""

SERVED: Mapping[str, Mapping[str, str]] = {
    "sync": {"GET": "get", "POST": "create"},
    "restart": {"POST": "create"},
    "log": {"GET": "get"},
    "status": {"GET": "get"},
    "exec": {"GET": "create", "POST": "create"},
    "preview": {"POST": "create", "DELETE": "delete"},
    "proxy": {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"},
}
"""Methods of each verb, with the RBAC verb that our own server asks for."""
UNKNOWN = "environment"
"""Stands for every subresource that there is not."""

_VIEW = {("sync", "get"), ("log", "get"), ("status", "get")}
_EDIT = {
    *_VIEW,
    ("sync", "create"),
    ("restart", "create"),
    ("exec", "get"),
    ("exec", "create"),
    ("preview", "create"),
    ("preview", "delete"),
    *(("proxy", action) for action in ("get", "create", "update", "patch", "delete")),
}
ROLES: Mapping[str, set[tuple[str, str]]] = {"view": _VIEW, "edit": _EDIT, "admin": _EDIT, "no role": set()}
"""What the stock ClusterRoles give, by aggregation, in the namespace in which they are bound."""

OUTSIDERS: Mapping[str, Outcome] = {
    "anonymous": "401 or 403",
    "unknown token": "401",
    "forged X-Remote-*": "401",
    "forged, with a stranger's certificate": "401 or no TLS",
    "forged, with a certificate of the CA, other name": "401",
}
"""The last three go around the API server, straight to our Service, and name an administrator in the headers."""


@dataclass(frozen=True, slots=True)
class Row:
    """A request, as ``verb`` and ``method``, and what becomes of it for each role."""

    verb: str
    method: str

    def outcome(self, rights: set[tuple[str, str]]) -> Outcome:
        """The API server comes first, then our server: its methods, then its own question."""
        if (self.verb, METHODS[self.method]) not in rights:
            return "403"
        if self.method not in SERVED[self.verb]:
            return "405"
        return "yes" if (self.verb, SERVED[self.verb][self.method]) in rights else "403 by us"


def rows() -> Iterator[Row]:
    for verb in (*SERVED, UNKNOWN):
        for method in METHODS:
            yield Row(verb, method)


_HEAD = """# Who may do what

Every subresource of a SandboxRunner with every method for every kind of caller, as asked of the real API servers by
`tests/cluster/test_rbac_verbs.py`. `python -m tests.harness.rbac` writes this page; a test fails when the two differ.

Two locks, one behind the other. The Kubernetes API judges the method (second column) before it passes a request on. Our server
then asks the Kubernetes API again, by a SubjectAccessReview with the RBAC verb of the third column. They differ for `exec`, where
a GET runs a program. `403` is the first lock, `405` a method that the subresource does not have.

"""
_FOOT = f"""
`{UNKNOWN}` stands for any name that is no subresource: nobody but an administrator gets through the first lock, and our server
answers them 404. `log` with POST, or `status` with PUT, is refused by RBAC before anybody looks whether it exists.

The roles are those of every cluster (`view`, `edit`, `admin`), bound in the namespace of the runner; ours aggregate to them
(`sandbox-verbs-view`, `sandbox-verbs-edit`). A right in one namespace is none in another, and `resourceNames` holds. To give a
service one part only, bind a Role of its own:

```yaml
kind: Role
apiVersion: rbac.authorization.k8s.io/v1
metadata: {{name: sandbox-sync-only, namespace: team}}
rules:
  - apiGroups: [{names.SUBRESOURCE_GROUP}]
    resources: [{names.PLURAL}/sync]
    resourceNames: [shop]
    verbs: [create]
```

What one may do oneself: `kubectl auth can-i create {names.PLURAL}.{names.SUBRESOURCE_GROUP} --subresource=exec`.
"""


def page() -> str:
    roles = [*ROLES, *OUTSIDERS]
    lines = [["request", "judged as", "asked as", *roles], ["---"] * (3 + len(roles))]
    for row in rows():
        told = [row.outcome(rights) for rights in ROLES.values()] + list(OUTSIDERS.values())
        asked = SERVED.get(row.verb, {}).get(row.method, "-")
        lines.append([f"{row.method} {row.verb}", METHODS[row.method] or "options", asked, *told])
    return _HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines) + _FOOT


if __name__ == "__main__":
    sys.stdout.write(page())
