"""Who gets past the admission policies about rights and volumes in a runtime; images, network and pods are tried on a cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.harness.admission import Request, policies, refusals

RUNTIME = "sandbox-0b0e7a52-6d5c-4a51-9d3e-5a2f6c8e1d40"
CONTROLLER = "system:serviceaccount:sandbox-system:sandbox-controller"
ADMIN = "kubernetes-admin"
KUBERNETES = ["system:kube-controller-manager", "system:serviceaccount:kube-system:service-account-controller"]
POLICIES = policies()
RBAC = "rbac.authorization.k8s.io"
SUBJECT = {"kind": "User", "name": "stranger"}
RULE = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}


def named(name: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **fields}


def create(resource: str, new: dict[str, Any], user: str = ADMIN, **more: Any) -> Request:
    return Request(user, "CREATE", resource, RUNTIME, new, **more)


def update(resource: str, old: dict[str, Any], user: str = ADMIN, **changed: Any) -> Request:
    return Request(user, "UPDATE", resource, RUNTIME, {**old, **changed}, old)


ROLE, BINDING = named("r", rules=[]), named("data-plane", subjects=[])
ACCOUNT = named("runner", automountServiceAccountToken=False)
CONTROL, VOLUME = named("control", type="Opaque", data={"token": "YQ=="}), named("workspace", spec={"volumeName": "v"})
TOKEN, ROLES, BINDINGS = "serviceaccounts/token", f"roles.{RBAC}", f"rolebindings.{RBAC}"
CLOUD = {"name": "runner", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}}

REFUSED = {
    "a role": create(ROLES, named("r", rules=[RULE])),
    "a binding": create(BINDINGS, named("b", subjects=[SUBJECT])),
    "another rule": update(ROLES, ROLE, rules=[RULE]),
    "another subject": update(BINDINGS, BINDING, subjects=[SUBJECT]),
    "an account": create("serviceaccounts", named("other")),
    "a token that is mounted": update("serviceaccounts", ACCOUNT, automountServiceAccountToken=True),
    "a role of the cloud": update("serviceaccounts", ACCOUNT, metadata=CLOUD),
    "credentials of a registry": update("serviceaccounts", ACCOUNT, imagePullSecrets=[{"name": "theirs"}]),
    "a token": create(TOKEN, {"spec": {}}),
    "a token in a Secret": create("secrets", named("t", type="kubernetes.io/service-account-token")),
    "a Secret called control": create("secrets", CONTROL),
    "a Secret called env": create("secrets", named("env", data={"A": "YQ=="})),
    "a Secret called image-pull": create(
        "secrets", named("image-pull", type="kubernetes.io/dockerconfigjson", data={".d": "e30="})
    ),
    "another control token": update("secrets", CONTROL, data={"token": "Yg=="}),
    "a Secret that cannot change any more": update("secrets", CONTROL, immutable=True),
}
KEPT = {
    "another volume": create("persistentvolumeclaims", named("other", spec={})),
    "a larger volume": update("persistentvolumeclaims", VOLUME, spec={"volumeName": "v", "resources": {}}),
    "no volume": Request(ADMIN, "DELETE", "persistentvolumeclaims", RUNTIME, old=VOLUME),
    "more memory for a pod": update("pods/resize", named("p", spec={"containers": []}), spec={"containers": [{}]}),
}
ALLOWED = {
    "rights written again as they are": update(BINDINGS, BINDING, metadata={"name": "data-plane", "labels": {"a": "b"}}),
    "a role without its finalizer": update(ROLES, named("r", rules=[RULE])),
    "an account written again as it is": update("serviceaccounts", ACCOUNT),
    "a Secret encrypted anew": update("secrets", CONTROL),
    "a Secret of a mesh": create("secrets", named("mesh-ca", type="Opaque")),
    "a change of a Secret of a mesh": update("secrets", named("mesh-ca"), data={"a": "YQ=="}),
    "a token for a kubelet": create(TOKEN, {}, "system:node:a", groups=("system:nodes", "system:authenticated")),
    "a deleted control Secret, which is how to rotate": Request(ADMIN, "DELETE", "secrets", RUNTIME, old=CONTROL),
    "a deleted binding, which is made again": Request(ADMIN, "DELETE", BINDINGS, RUNTIME, old=BINDING),
    "the account default, by all in one": create("serviceaccounts", named("default"), KUBERNETES[0]),
    "the account default, by an account of its own": create("serviceaccounts", named("default"), KUBERNETES[1]),
    "the certificate of the cluster": create("configmaps", named("kube-root-ca.crt"), KUBERNETES[1]),
    "the scheduler's choice for a volume": update(
        "persistentvolumeclaims", VOLUME, "system:kube-scheduler", metadata={"name": "workspace", "annotations": {"node": "a"}}
    ),
    "a volume that gets its disk": update("persistentvolumeclaims", named("w", spec={}), KUBERNETES[0], spec={"volumeName": "v"}),
    "a volume of a namespace that is ending": Request(
        ADMIN, "DELETE", "persistentvolumeclaims", RUNTIME, old=VOLUME, namespace_object={"metadata": {"deletionTimestamp": "t"}}
    ),
    "more replicas, which the controller undoes": update(
        "deployments.apps", named("runner", spec={"replicas": 1, "template": {}}), spec={"replicas": 2, "template": {}}
    ),
}


@pytest.mark.parametrize(("policy", "what"), [("sandbox-rights", r) for r in REFUSED] + [("sandbox-workloads", k) for k in KEPT])
def test_an_administrator_is_refused_and_the_controller_and_other_namespaces_are_not(policy: str, what: str) -> None:
    request = {**REFUSED, **KEPT}[what]
    (message,) = refusals(POLICIES[policy], request)
    assert "by the sandbox controller alone" in message or "nobody but a kubelet" in message
    assert refusals(POLICIES[policy], replace(request, user=CONTROLLER)) == []
    for namespace in ("team-a", "sandbox-system", f"{RUNTIME}-2"):
        assert refusals(POLICIES[policy], replace(request, namespace=namespace)) == []


@pytest.mark.parametrize("what", ALLOWED)
def test_what_somebody_has_to_do_for_a_sandbox_is_let_through(what: str) -> None:
    assert [refusals(POLICIES[name], ALLOWED[what]) for name in ("sandbox-rights", "sandbox-workloads")] == [[], []]


@pytest.mark.parametrize("what", [what for what, request in REFUSED.items() if request.resource != "serviceaccounts"])
def test_an_account_of_kube_system_gives_no_rights_either(what: str) -> None:
    assert refusals(POLICIES["sandbox-rights"], replace(REFUSED[what], user=KUBERNETES[1])) != []


def test_an_account_that_kubernetes_makes_is_not_changed_by_an_account_of_kube_system() -> None:
    request = update("serviceaccounts", ACCOUNT, KUBERNETES[1], metadata=CLOUD)
    assert refusals(POLICIES["sandbox-rights"], request) != []


@pytest.mark.parametrize("name", [name for name in POLICIES if "/" not in name])
def test_a_policy_is_bound_to_everything_and_fails_closed(name: str) -> None:
    binding = POLICIES[f"ValidatingAdmissionPolicyBinding/{name}"]["spec"]
    assert binding == {"policyName": name, "validationActions": ["Deny"]}
    assert POLICIES[name]["spec"]["failurePolicy"] == "Fail"


def test_all_policies_know_a_runtime_by_the_same_form_of_name() -> None:
    form = "matches('^sandbox-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')"
    assert [name for name, policy in POLICIES.items() if "/" not in name and form not in str(policy).replace('"', "")] == []
