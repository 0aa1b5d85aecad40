"""The Secret ``image-pull`` of a runtime: registries and their credentials, from Secrets of the operator's namespace.

A template names those Secrets. The kubelet pulls with the copy; no container mounts it, and the app has no token to ask for it.
Only Secrets made for pulling are copied, so that a template, by a slip, does not carry another secret of the operator into every
runtime.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from sandbox_operator.errors import NotPullable
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.client import Kube
from sandbox_operator.model.parts import NameRef
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

Object = dict[str, Any]

TYPE = "kubernetes.io/dockerconfigjson"
_KEY = ".dockerconfigjson"
# One answer serves all runners of a template. A changed Secret is copied when a runner is looked at next after that.
_KEPT_SECONDS = 60.0


class _Config(msgspec.Struct):
    """Of a Docker configuration what the kubelet reads; what else there is, such as helpers to call, is not copied."""

    auths: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Answer:
    auths: dict[str, dict[str, Any]]
    until: float
    """The loop's time."""


class PullSecrets:
    """Reads Secrets of the operator's own namespace, as the controller."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._answers: dict[str, _Answer] = {}

    async def copied(self, wanted: Sequence[NameRef], refs: Refs) -> Object | None:
        """The Secret to apply; None when the template names none. For a registry that two name, the first counts. Raises
        NotPullable when one is missing, may not be read, or is of another type."""
        if not wanted:
            return None
        auths: dict[str, dict[str, Any]] = {}
        for each in wanted:
            auths = {**await self._auths(each.name), **auths}
        return body(refs, auths)

    async def _auths(self, name: str) -> dict[str, dict[str, Any]]:
        now = asyncio.get_running_loop().time()
        known = self._answers.get(name)
        if known is None or known.until <= now:
            # a refusal is not kept: who mends it wants to see that
            known = self._answers[name] = _Answer(read(await self._get(name), self._where(name)), now + _KEPT_SECONDS)
        return known.auths

    async def _get(self, name: str) -> Object:
        try:
            return await self._kube.get(resources.SECRETS, name, self._namespace)
        except errors.NotFound as error:
            raise NotPullable(
                f"{self._where(name)} does not exist: make it with kubectl create secret docker-registry {name} "
                f"--namespace={self._namespace} --docker-server=… --docker-username=… --docker-password=…",
            ) from error
        except errors.Forbidden as error:
            role = f"image-pull-{name}"
            raise NotPullable(
                f"{self._where(name)} may not be read by the operator, which reads {names.PULL_SECRET} only. Allow it "
                f"with kubectl create role {role} --namespace={self._namespace} --verb=get --resource=secrets "
                f"--resource-name={name} and kubectl create rolebinding {role} --namespace={self._namespace} --role={role} "
                f"--serviceaccount={self._namespace}:sandbox-controller",
            ) from error

    def _where(self, name: str) -> str:
        return f"spec.imagePullSecrets of the SandboxTemplate: Secret {self._namespace}/{name}"


def read(live: Object, where: str) -> dict[str, dict[str, Any]]:
    """Credentials by registry. Raises NotPullable, whose message quotes nothing of the content."""
    if live.get("type") != TYPE:
        raise NotPullable(f"{where} is of the type {live.get('type')}, and only {TYPE} is copied into runtimes")
    try:
        return msgspec.json.decode(base64.b64decode(live["data"][_KEY]), type=_Config).auths
    except (KeyError, TypeError, binascii.Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotPullable(f'{where} holds no {_KEY} of the form {{"auths": {{"registry.example": {{…}}}}}}') from None


def body(refs: Refs, auths: dict[str, dict[str, Any]]) -> Object:
    """The same credentials give the same bytes, so that nothing is written twice."""
    content = msgspec.json.encode({"auths": auths}, order="sorted")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": names.PULL_SECRET, "namespace": refs.namespace},
        "type": TYPE,
        "data": {_KEY: base64.b64encode(content).decode()},
    }
