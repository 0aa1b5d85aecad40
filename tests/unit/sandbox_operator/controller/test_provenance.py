"""Where signatures are looked for, how often, and what becomes of runners meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox_operator.controller import provenance
from sandbox_operator.controller.provenance import CONFIG_MAP, Provenance
from sandbox_operator.controller.registry import RegistryUnavailable
from sandbox_operator.controller.templates import Template
from sandbox_operator.errors import NotSigned, RetryLater
from sandbox_operator.kube import errors, resources
from sandbox_operator.model.record import read
from sandbox_operator.model.signatures import Signature, SignatureError, tag, trust
from sandbox_operator.model.template import TemplateSpec
from sandbox_operator.render.graph import compile_template
from tests.harness.signing import download, payload, pem, sign

NAME = "registry.test/team/app"
DIGEST = f"sha256:{'a' * 64}"
IMAGE = f"{NAME}@{DIGEST}"
KEY, STRANGER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
GOOD = Signature(payload(NAME, DIGEST), sign(KEY, payload(NAME, DIGEST)))


def template(*keys: ec.EllipticCurvePrivateKey, **signatures: Any) -> Template:
    entries = [{"name": f"key-{number}", "publicKey": pem(key)} for number, key in enumerate(keys)]
    spec = read(
        TemplateSpec,
        {
            "agentImage": IMAGE,
            "defaults": {"image": IMAGE},
            "bounds": {"signatures": {"keys": entries, **signatures}},
            "resources": [],
        },
    )
    return Template("t", spec, compile_template(()), trust(spec.bounds.signatures))


class Answers:
    """A registry that answers ``found``, or raises it; ``wait`` holds it back."""

    def __init__(self) -> None:
        self.found: list[Signature] | Exception = []
        self.asked = 0
        self.wait: asyncio.Event | None = None

    async def signatures(self, _: Any) -> list[Signature]:
        self.asked += 1
        if self.wait is not None:
            await self.wait.wait()
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def checking(cluster: Any, answers: Answers) -> Provenance:
    return Provenance(cluster, "sandbox-system", answers)  # type: ignore[arg-type]


def give(cluster: Any, *signatures: Signature) -> None:
    text = "".join(download(entry.payload, entry.signature) for entry in signatures)
    metadata = {"name": CONFIG_MAP, "namespace": "sandbox-system"}
    cluster._store(resources.CONFIG_MAPS, {"metadata": metadata, "data": {tag(DIGEST): text}})


async def test_without_keys_nobody_is_asked(checking: Provenance, answers: Answers) -> None:
    await checking.check([IMAGE], template())
    assert answers.asked == 0


async def test_a_signed_image_is_asked_about_once_for_ever(checking: Provenance, answers: Answers) -> None:
    answers.found = [GOOD]
    for _ in range(3):
        await checking.check([IMAGE], template(KEY))
    assert answers.asked == 1
    answers.found = []
    await checking.check([IMAGE], template(KEY))


async def test_other_keys_are_another_question(checking: Provenance, answers: Answers) -> None:
    answers.found = [GOOD]
    await checking.check([IMAGE], template(KEY))
    with pytest.raises(
        NotSigned, match=f"^{IMAGE} has no valid signature. {NAME}:sha256-a+.sig: one was made by none of the keys"
    ):
        await checking.check([IMAGE], template(STRANGER))
    await checking.check([IMAGE], template(STRANGER, KEY))


async def test_a_given_signature_needs_no_registry(checking: Provenance, answers: Answers, cluster: Any) -> None:
    give(cluster, GOOD)
    await checking.check([IMAGE], template(KEY))
    await checking.check([IMAGE], template(KEY, offline=True))
    assert answers.asked == 0


async def test_offline_means_that_no_registry_is_asked(checking: Provenance, answers: Answers) -> None:
    answers.found = [GOOD]
    with pytest.raises(NotSigned, match=r"ConfigMap sandbox-system/image-signatures, key sha256-a+\.sig: there is none"):
        await checking.check([IMAGE], template(KEY, offline=True))
    assert answers.asked == 0


async def test_a_loaded_image_has_no_registry_to_ask(checking: Provenance, answers: Answers) -> None:
    with pytest.raises(NotSigned, match="there is none"):
        await checking.check([f"localhost/app@{DIGEST}"], template(KEY))
    assert answers.asked == 0


async def test_a_wrong_given_signature_does_not_hide_a_right_one(checking: Provenance, answers: Answers, cluster: Any) -> None:
    give(cluster, Signature(GOOD.payload, b"x"))
    answers.found = [GOOD]
    await checking.check([IMAGE], template(KEY))


async def test_each_image_must_be_signed(checking: Provenance, answers: Answers) -> None:
    answers.found = [GOOD]
    other = f"{NAME}@sha256:{'b' * 64}"
    with pytest.raises(NotSigned, match=f"^{other} has no valid signature"):
        await checking.check([IMAGE, other], template(KEY))


async def test_a_refusal_is_remembered_for_a_minute_only(
    checking: Provenance, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        with pytest.raises(NotSigned):
            await checking.check([IMAGE], template(KEY))
    assert answers.asked == 1
    loop = asyncio.get_running_loop()
    later = loop.time() + NotSigned.again + 1
    monkeypatch.setattr(loop, "time", lambda: later)
    answers.found = [GOOD]
    await checking.check([IMAGE], template(KEY))


async def test_a_registry_that_is_down_refuses_nothing_and_is_not_hammered(checking: Provenance, answers: Answers) -> None:
    answers.found = RegistryUnavailable("it does not answer")
    for _ in range(3):
        with pytest.raises(RetryLater, match="cannot be looked up: it does not answer") as caught:
            await checking.check([IMAGE], template(KEY))
        assert caught.value.seconds == 15
    assert answers.asked == 1


async def test_an_answer_that_is_none_refuses(checking: Provenance, answers: Answers) -> None:
    answers.found = SignatureError("registry registry.test answers no manifest: x")
    with pytest.raises(NotSigned, match="answers no manifest"):
        await checking.check([IMAGE], template(KEY))


async def test_a_slow_registry_holds_no_worker_and_is_asked_once(
    checking: Provenance, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_PATIENCE_SECONDS", 0.01)
    answers.wait, answers.found = asyncio.Event(), [GOOD]
    for _ in range(3):
        with pytest.raises(RetryLater, match="is being looked up"):
            await checking.check([IMAGE], template(KEY))
    answers.wait.set()
    await checking.check([IMAGE], template(KEY))
    assert answers.asked == 1


async def test_a_config_map_that_cannot_be_read_refuses_nothing(
    checking: Provenance, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forbidden(*_: Any) -> None:
        raise errors.Forbidden(403, "no right")

    monkeypatch.setattr(cluster, "get", forbidden)
    with pytest.raises(RetryLater, match="no right"):
        await checking.check([IMAGE], template(KEY))
