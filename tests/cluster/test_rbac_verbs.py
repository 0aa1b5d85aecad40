"""Who may do what, asked of the real API server and of ours behind it: the table of docs/rbac.md, and Roles of one's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox_client import blocking
from sandbox_client.api import Api, Request, path
from sandbox_client.kubeconfig import Connection
from sandbox_protocol import names
from tests.harness import rbac
from tests.harness.cluster import Cluster, Rule, verb_rule
from tests.harness.fixtures import UserFactory
from tests.harness.impostors import around

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
USERS: list[tuple[str, Sequence[Rule], set[str]]] = [
    ("log only", [verb_rule("log", "get")], {"log GET"}),
    ("sync only", [verb_rule("sync", "create")], {"sync POST"}),
    (
        "every verb, but only to get",
        [verb_rule(call.partition(" ")[0], "get") for call in CALLS],
        {"sync GET", "log GET", "status GET", "proxy GET"},
    ),
    ("the objects, but none of their verbs", [{"apiGroups": [names.GROUP], "resources": ["*"], "verbs": ["*"]}], set()),
    ("the same words in the wrong group", [{**verb_rule("log", "get"), "apiGroups": [names.GROUP]}], set()),
    ("only the runner of another name", [{**verb_rule("log", "get"), "resourceNames": ["another"]}], set()),
    ("only the runner of this name", [{**verb_rule("log", "get"), "resourceNames": ["shared"]}], {"log GET"}),
]


def verb_path(sandbox: blocking.Sandbox, verb: str) -> str:
    below = "/" if verb == "proxy" else ""
    prefix = path("apis", names.SUBRESOURCE_GROUP, names.VERSION, "namespaces", sandbox.namespace, names.PLURAL, sandbox.name)
    return f"{prefix}/{verb}{below}"


def request_of(row: rbac.Row, sandbox: blocking.Sandbox) -> Request:
    """Such as would do something, were it allowed."""
    known = CALLS.get(f"{row.verb} {row.method}")
    if known is not None:
        return replace(known, path=verb_path(sandbox, row.verb))
    query = [("command", "true"), ("stdout", "true")] if row.verb == "exec" else []
    return Request(row.method, verb_path(sandbox, row.verb), query)


async def outcome(api: Api, row: rbac.Row, sandbox: blocking.Sandbox) -> str:
    """In the words of the table; "yes" is everything that is answered by the verb itself."""
    answer = await api.exchange(request_of(row, sandbox))
    try:
        text = await answer.text()
    finally:
        answer.release()
    if answer.status == 403:
        return "403"
    # an app behind the proxy has codes 404 and 405 of its own
    refused = answer.status == 401 or (answer.status in {404, 405} and (row.verb != "proxy" or "Status" in text))
    return str(answer.status) if refused else "yes"


@pytest.mark.parametrize("role", rbac.ROLES)
async def test_each_role_may_do_exactly_what_the_table_says(role: str, user: UserFactory, runner: blocking.Sandbox) -> None:
    """Every verb and method there is, and a verb there is not."""
    rights = rbac.ROLES[role]
    async with Api(user([] if role == "no role" else role)) as api:
        found = {(row.verb, row.method): await outcome(api, row, runner) for row in rbac.rows()}
    assert found == {(row.verb, row.method): row.outcome(rights).partition(" ")[0] for row in rbac.rows()}


async def test_our_own_server_asks_create_for_a_get_that_runs_a_program(user: UserFactory, runner: blocking.Sandbox) -> None:
    """With `get` alone the API server lets it through: the second lock holds, and speaks of create."""
    row = rbac.Row("exec", "GET")
    assert row.outcome({("exec", "get")}) == "403 by us"
    async with Api(user([verb_rule("exec", "get")])) as api:
        answer = await api.exchange(request_of(row, runner))
        message = (await answer.json())["message"]
    assert (answer.status, 'cannot create resource "sandboxrunners/exec"' in message) == (403, True), message


async def test_an_unknown_verb_is_none_even_for_an_administrator(cluster: Cluster, runner: blocking.Sandbox) -> None:
    async with Api(cluster.admin) as api:
        assert await outcome(api, rbac.Row(rbac.UNKNOWN, "GET"), runner) == "404"


@pytest.mark.parametrize("who", ["anonymous", "unknown token"])
async def test_who_is_not_known_may_do_nothing(who: str, cluster: Cluster, runner: blocking.Sandbox) -> None:
    token = None if who == "anonymous" else "no.such.token"
    async with Api(replace(cluster.admin, client_cert=None, client_key=None, token=token)) as api:
        found = {await outcome(api, row, runner) for row in rbac.rows()}
    assert found <= set(rbac.OUTSIDERS[who].split(" or ")), found


@pytest.mark.parametrize("who", [who for who in rbac.OUTSIDERS if "X-Remote" in who or "certificate" in who])
def test_headers_that_name_a_user_count_from_nobody_but_the_api_server(
    who: str, cluster: Cluster, runner: blocking.Sandbox, tmp_path: Path
) -> None:
    found = set(around(cluster, who, [(row.method, verb_path(runner, row.verb)) for row in rbac.rows()], tmp_path))
    if rbac.OUTSIDERS[who] == "401":
        assert found == {"401"}
    else:
        assert all(each == "401" or each.startswith("no TLS") for each in found), found


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
    grant: Sequence[Rule], allowed: set[str], user: UserFactory, runner: blocking.Sandbox
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
        ("delete", "pods", "", runtime),
        ("list", "pods", "", runner.namespace),
        ("list", "pods", "", ""),
        ("create", "pods/exec", "", runner.namespace),
        ("create", "pods/attach", "", runtime),
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
