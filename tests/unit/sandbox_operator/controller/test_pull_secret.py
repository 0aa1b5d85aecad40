"""What the kubelet pulls a sandbox's images with."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from sandbox_operator.controller import pull_secret
from sandbox_operator.controller.pull_secret import PullSecrets
from sandbox_operator.errors import NotPullable
from sandbox_operator.kube import errors
from sandbox_operator.model.parts import NameRef
from sandbox_protocol.refs import Refs

REFS = Refs("0f0e0d0c-0b0a-4908-8706-050403020100")
A, B = {"auth": "YTph"}, {"auth": "Yjpi"}


def secret(content: Any, kind: str = pull_secret.TYPE) -> dict[str, Any]:
    text = content if isinstance(content, str) else json.dumps(content)
    return {"type": kind, "data": {".dockerconfigjson": base64.b64encode(text.encode()).decode()}}


class FakeSystem:
    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.reads: list[str] = []

    async def get(self, _: Any, name: str, namespace: str) -> Any:
        assert namespace == "sandbox-system"
        self.reads.append(name)
        answer = self.answers.get(name, errors.NotFound(404, "no"))
        if isinstance(answer, Exception):
            raise answer
        return answer


async def copied(system: FakeSystem, *names: str) -> Any:
    made = await PullSecrets(system, "sandbox-system").copied([NameRef(name=name) for name in names], REFS)  # type: ignore[arg-type]
    return None if made is None else json.loads(base64.b64decode(made["data"][".dockerconfigjson"]))


async def test_several_secrets_become_one_and_the_first_that_names_a_registry_counts() -> None:
    system = FakeSystem(
        one=secret({"auths": {"a.test": A}, "credHelpers": {"x": "y"}}), two=secret({"auths": {"a.test": B, "b.test": B}})
    )
    assert await copied(system, "one", "two") == {"auths": {"a.test": A, "b.test": B}}
    assert await copied(system) is None


async def test_one_answer_serves_all_runners_and_a_refusal_is_asked_again() -> None:
    system = FakeSystem(one=secret({"auths": {}}))
    reader = PullSecrets(system, "sandbox-system")  # type: ignore[arg-type]
    for _ in range(3):
        await reader.copied([NameRef(name="one")], REFS)
        with pytest.raises(NotPullable):
            await reader.copied([NameRef(name="absent")], REFS)
    assert system.reads == ["one", "absent", "absent", "absent"]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (
            errors.NotFound(404, "no"),
            "Secret sandbox-system/s does not exist: make it with kubectl create secret docker-registry s",
        ),
        (
            errors.Forbidden(403, "no"),
            "kubectl create role image-pull-s --namespace=sandbox-system --verb=get --resource=secrets",
        ),
        (secret({"auths": {}}, "Opaque"), "is of the type Opaque, and only kubernetes.io/dockerconfigjson is copied"),
        (secret("geheim"), "holds no .dockerconfigjson"),
        (secret({"auths": {"a.test": "geheim"}}), "holds no .dockerconfigjson"),
        ({"type": pull_secret.TYPE, "data": {".dockerconfigjson": "!"}}, "holds no .dockerconfigjson"),
        ({"type": pull_secret.TYPE}, "holds no .dockerconfigjson"),
    ],
)
async def test_what_cannot_be_copied_is_told_with_the_next_step_and_without_its_content(answer: Any, complaint: str) -> None:
    with pytest.raises(NotPullable) as caught:
        await copied(FakeSystem(s=answer), "s")
    assert complaint in caught.value.message
    assert "geheim" not in caught.value.message
