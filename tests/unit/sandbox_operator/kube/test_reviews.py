from typing import Any

import pytest

from sandbox_operator.kube.reviews import Attributes, User, allowed


def test_a_review_says_everything_that_the_api_server_knows_about_the_user() -> None:
    user = User("alice", ("dev",), "42", (("scopes", ("a", "b")),))
    assert Attributes(user, "create", "team", "shop", "sync").review() == {
        "kind": "SubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {
            "user": "alice",
            "groups": ["dev"],
            "uid": "42",
            "extra": {"scopes": ["a", "b"]},
            "resourceAttributes": {
                "verb": "create",
                "group": "subresources.infrastructure.appstudio.dev",
                "version": "v1alpha1",
                "resource": "sandboxrunners",
                "subresource": "sync",
                "namespace": "team",
                "name": "shop",
            },
        },
    }


@pytest.mark.parametrize(
    ("answered", "yes"),
    [
        ({"status": {"allowed": True}}, True),
        ({"status": {"allowed": True, "denied": True}}, False),
        ({"status": {"allowed": "true"}}, False),
        ({"status": {"allowed": False, "reason": "no"}}, False),
        ({"status": None}, False),
        ({}, False),
    ],
)
def test_only_a_plain_yes_is_one(answered: dict[str, Any], yes: bool) -> None:
    assert allowed(answered) is yes
