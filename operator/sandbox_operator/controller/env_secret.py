"""The Secret ``env``: values that a runner's spec takes from Secrets and ConfigMaps of its own namespace, brought to the runtime.

The operator has no right to read any Secret but those it made. A namespace gives it that right by binding the ClusterRole
``sandbox-env-reader`` to the controller; until then the runner's condition says so, with the command.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox_operator.errors import Rejected
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.client import Kube
from sandbox_operator.model.parts import EnvVar, KeyRef
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

Object = dict[str, Any]

REVISION = f"{names.GROUP}/env-revision"
READER_ROLE = "sandbox-env-reader"


class EnvReader:
    """Reads what a spec refers to, as the controller, in the runner's namespace and no other."""

    def __init__(self, kube: Kube, system_namespace: str) -> None:
        self._kube = kube
        self._system_namespace = system_namespace

    async def values(self, variables: Sequence[EnvVar], namespace: str) -> dict[str, str]:
        """By variable, base64 as in a Secret's data. Raises Rejected when one may not be read or is missing."""
        objects: dict[tuple[bool, str], Object | None] = {}
        found: dict[str, str] = {}
        for variable in variables:
            if variable.value_from is None:
                continue
            secret = variable.value_from.secret_key_ref is not None
            ref = variable.value_from.secret_key_ref or variable.value_from.config_map_key_ref
            assert ref is not None  # exactly one, by the CRD
            if (secret, ref.name) not in objects:
                objects[secret, ref.name] = await self._read(secret, ref.name, namespace)
            value = _pick(objects[secret, ref.name], ref, secret)
            if value is not None:
                found[variable.name] = value
            elif not ref.optional:
                kind = "Secret" if secret else "ConfigMap"
                raise Rejected(
                    f"spec.env {variable.name}: {kind} {namespace}/{ref.name} with key {ref.key} does not exist: "
                    "make it, or set optional: true",
                    reason="EnvMissing",
                )
        return found

    async def _read(self, secret: bool, name: str, namespace: str) -> Object | None:
        try:
            return await self._kube.get(resources.SECRETS if secret else resources.CONFIG_MAPS, name, namespace)
        except errors.NotFound:
            return None
        except errors.Forbidden as error:
            raise Rejected(
                f"spec.env takes values from Secrets or ConfigMaps, which the operator may not read in namespace {namespace}. "
                f"Whoever administers it can allow that: kubectl create rolebinding {READER_ROLE} --namespace={namespace} "
                f"--clusterrole={READER_ROLE} --serviceaccount={self._system_namespace}:sandbox-controller",
                reason="EnvNotReadable",
            ) from error


def _pick(found: Object | None, ref: KeyRef, secret: bool) -> str | None:
    if found is None:
        return None
    value = (found.get("data") or {}).get(ref.key)
    if isinstance(value, str):
        return value if secret else base64.b64encode(value.encode()).decode()
    binary = (found.get("binaryData") or {}).get(ref.key)
    return binary if isinstance(binary, str) else None


def body(refs: Refs, data: Mapping[str, str], revision: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": names.ENV_SECRET, "namespace": refs.namespace, "annotations": {REVISION: revision}},
        "type": "Opaque",
        "data": dict(data),
    }


def revision(data: Mapping[str, str], present: Object | None) -> str:
    """That of ``present`` while the content is the same, else a new one. Random, because a hash would tell of short values."""
    if present is not None and (present.get("data") or {}) == data:
        kept = (present["metadata"].get("annotations") or {}).get(REVISION)
        if isinstance(kept, str) and kept:
            return kept
    return secrets.token_hex(8)
