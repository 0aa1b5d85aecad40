"""Who may do what, asked of the real API server and of ours behind it: a table of users by verbs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sandbox_client import blocking
from sandbox_client.api import Api, Request, path
from sandbox_client.kubeconfig import Connection
from sandbox_protocol import names
from tests.harness.cluster import Cluster, Rule, verb_rule
from tests.harness.fixtures import UserFactory

CALLS = {
    "sync POST": Request("POST", "sync", headers={"Content-Type": "application/json"}, body=b'{"files":[],"restart":"never"}'),
    "sync GET": Request("GET", "sync"),
    "restart POST": Request("POST", "restart"),
    "log GET": Request("GET", "log", query=[("tailLines", "1")]),
    "status GET": Request("GET", "status"),
    "preview POST": Request("POST", "preview"),
    "preview DELETE": Request("DELETE", "preview"),
    "proxy GET": Request("GET", "proxy/"),
    "proxy POST": Request("POST", "proxy/", body=b""),
    "proxy DELETE": Request("DELETE", "proxy/"),
}
VIEW = {"sync GET", "log GET", "status GET"}

USERS: list[tuple[str, str | Sequence[Rule], set[str]]] = [
    ("view", "view", VIEW),
    ("edit", "edit", set(CALLS)),
    ("admin", "admin", set(CALLS)),
    ("log only", [verb_rule("log", "get")], {"log GET"}),
    ("sync only", [verb_rule("sync", "create")], {"sync POST"}),
    ("every verb, but only to get", [verb_rule(call.partition(" ")[0], "get") for call in CALLS], {*VIEW, "proxy GET"}),
    ("the objects, but none of their verbs", [{"apiGroups": [names.GROUP], "resources": ["*"], "verbs": ["*"]}], set()),
    ("the same words in the wrong group", [{**verb_rule("log", "get"), "apiGroups": [names.GROUP]}], set()),
    ("only the runner of another name", [{**verb_rule("log", "get"), "resourceNames": ["another"]}], set()),
    ("only the runner of this name", [{**verb_rule("log", "get"), "resourceNames": ["shared"]}], {"log GET"}),
    ("nothing", [], set()),
]


async def codes(connection: Connection, sandbox: blocking.Sandbox) -> dict[str, int]:
    prefix = path("apis", names.SUBRESOURCE_GROUP, names.VERSION, "namespaces", sandbox.namespace, names.PLURAL, sandbox.name)
    found = {}
    async with Api(connection) as api:
        for call, request in CALLS.items():
            answer = await api.exchange(replace(request, path=f"{prefix}/{request.path}"))
            found[call] = answer.status
            answer.release()
    return found


@pytest.mark.parametrize(
    ("grant", "allowed"), [(grant, allowed) for _, grant, allowed in USERS], ids=[name for name, _, _ in USERS]
)
async def test_a_user_may_do_exactly_what_rbac_says(
    grant: str | Sequence[Rule], allowed: set[str], user: UserFactory, runner: blocking.Sandbox
) -> None:
    found = await codes(user(grant), runner)
    assert {call for call, code in found.items() if code not in {401, 403}} == allowed
    # what is allowed also works; what the app says to proxied requests is its own matter
    assert {call: code for call, code in found.items() if call in allowed and not call.startswith("proxy") and code >= 300} == {}


async def test_a_right_in_one_namespace_is_none_in_another(cluster: Cluster, user: UserFactory, runner: blocking.Sandbox) -> None:
    other = f"{runner.namespace}-other"
    cluster.kubectl("create", "namespace", other)
    try:
        found = await codes(cluster.user(other, "editor", "edit"), runner)
    finally:
        cluster.kubectl("delete", "namespace", other, "--wait=false")
    assert set(found.values()) <= {403}


async def test_nobody_may_do_anything(cluster: Cluster, runner: blocking.Sandbox) -> None:
    nobody = replace(cluster.admin, client_cert=None, client_key=None, token=None)
    assert set((await codes(nobody, runner)).values()) <= {401, 403}
    stranger = replace(nobody, token="no.such.token")
    assert set((await codes(stranger, runner)).values()) == {401}


def test_our_api_servers_account_can_read_one_secret_of_a_runtime_and_no_other(
    cluster: Cluster, runner: blocking.Sandbox
) -> None:
    runtime = cluster.refs(runner).namespace
    assert may(cluster, "get", "secrets", "control", runtime)
    for verb, resource, name, namespace in (
        ("list", "secrets", "", runtime),
        ("get", "secrets", "env", runtime),
        ("update", "secrets", "control", runtime),
        ("get", "secrets", "control", runner.namespace),
        ("get", "secrets", "preview-signing", names.SYSTEM_NAMESPACE),
        ("list", "secrets", "", ""),
        ("get", "configmaps", "sandbox-config", names.SYSTEM_NAMESPACE),
        ("create", "pods", "", runtime),
        ("get", "pods", "", runtime),
        ("list", "namespaces", "", ""),
    ):
        assert not may(cluster, verb, resource, name, namespace), (verb, resource, name, namespace)


def may(cluster: Cluster, verb: str, resource: str, name: str, namespace: str) -> bool:
    """The real API server's own answer about the account under which our API server runs."""
    system = names.SYSTEM_NAMESPACE
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{system}:sandbox-apiserver",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{system}", "system:authenticated"],
            "resourceAttributes": {"verb": verb, "version": "v1", "resource": resource, "name": name, "namespace": namespace},
        },
    }
    answer = json.loads(cluster.kubectl("create", "-f", "-", "--output=json", stdin=json.dumps(review)))
    return bool(answer["status"]["allowed"])
