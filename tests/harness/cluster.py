"""The cluster as tests use it: administration by kubectl, users with exactly the rights a test names, runners as those users."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from devcluster.kubectl import kubectl
from devcluster.settings import State
from sandbox_client import blocking, kubeconfig
from sandbox_client.kubeconfig import Connection
from sandbox_client.waiting import conditions
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

Rule = Mapping[str, Sequence[str]]
"""Of a Role: apiGroups, resources, verbs, resourceNames."""


def verb_rule(verb: str, *actions: str) -> Rule:
    """The right to one subresource of runners, in the group that serves it."""
    return {"apiGroups": [names.SUBRESOURCE_GROUP], "resources": [f"{names.PLURAL}/{verb}"], "verbs": list(actions)}


@dataclass(frozen=True)
class Cluster:
    """``state`` says where its kubeconfig is; every call here is made as its administrator."""

    state: State

    @functools.cached_property
    def admin(self) -> Connection:
        return kubeconfig.load(self.state.kubeconfig)

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        return kubectl(self.state, *arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def create(self, body: Mapping[str, Any]) -> Any:
        """Also of what is never stored, such as a SubjectAccessReview: the answer."""
        return json.loads(self.kubectl("create", "-f", "-", "--output=json", stdin=json.dumps(body)))

    def user(self, namespace: str, name: str, grant: str | Sequence[Rule]) -> Connection:
        """A ServiceAccount bound, in ``namespace`` only, to a ClusterRole by name or to a Role of the given rules."""
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": grant}
        objects: list[Mapping[str, Any]] = [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        ]
        if not isinstance(grant, str):
            role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
            objects.append(
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "Role",
                    "metadata": {"name": name, "namespace": namespace},
                    "rules": list(grant),
                }
            )
        objects.append(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": name, "namespace": namespace},
                "roleRef": role,
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            }
        )
        self.apply(*objects)
        token = self.kubectl("create", "token", name, f"--namespace={namespace}", "--duration=2h").strip()
        return replace(self.admin, client_cert=None, client_key=None, token=token, namespace=namespace)

    def refs(self, sandbox: blocking.Sandbox) -> Refs:
        return Refs((sandbox.resource or sandbox.refresh())["metadata"]["uid"])

    def pod(self, sandbox: blocking.Sandbox) -> str:
        """Name of the runner's pod that is not ending."""
        pods = self.get("pods", "--namespace", self.refs(sandbox).namespace)["items"]
        return next(str(pod["metadata"]["name"]) for pod in pods if "deletionTimestamp" not in pod["metadata"])

    def pod_uid(self, sandbox: blocking.Sandbox) -> str:
        return str(self.get("pod", self.pod(sandbox), "--namespace", self.refs(sandbox).namespace)["metadata"]["uid"])

    def exec(self, sandbox: blocking.Sandbox, *command: str, container: str = "app") -> str:
        """Standard output of a command inside the pod, as the app's (or agent's) own user: what untrusted code could do."""
        where = ["--namespace", self.refs(sandbox).namespace, self.pod(sandbox), f"--container={container}"]
        return self.kubectl("exec", *where, "--", *command)

    def describe(self, sandbox: blocking.Sandbox) -> str:
        """Conditions, pod and events of a runner, for the report of a failed test."""
        runner = sandbox.refresh()
        lines = [f"{item.type:<13}{item.status:<8}{item.reason:<22}{item.message}" for item in conditions(runner)]
        namespace = self.refs(sandbox).namespace
        lines.append(self.kubectl("get", "pods,events", "--namespace", namespace))
        lines.append(self.kubectl("logs", "--namespace", namespace, "deployment/runner", "--container=agent", "--tail=20"))
        return "\n".join(lines)
