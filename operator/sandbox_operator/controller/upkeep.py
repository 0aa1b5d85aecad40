"""What the operator's own programs need and nobody should have to make: the API server's certificate, the preview's signing keys.

Runs in the leader only. Every pass looks at what is there and mends it; a pass that fails is tried again, and says why.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sandbox_operator.controller import certificates, preview_ring
from sandbox_operator.controller.certificates import Serving
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.client import Kube
from sandbox_protocol import names

Object = dict[str, Any]

_LOG = logging.getLogger(__name__)

TLS_SECRET = "apiserver-tls"  # noqa: S105 - the name of the Secret
SIGNING_SECRET = "preview-signing"  # noqa: S105 - the name of the Secret
VERIFICATION_CONFIG_MAP = "preview-verification"
_KEYS = "keys.json"
API_SERVICE = f"{names.VERSION}.{names.SUBRESOURCE_GROUP}"
SERVICE = "sandbox-apiserver"
# While something is missing, such as an APIService that is about to be applied; and when all is well.
_SOON_SECONDS, _LATER_SECONDS = 2.0, 60.0


class Upkeep:
    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._hosts = (f"{SERVICE}.{namespace}.svc", f"{SERVICE}.{namespace}.svc.cluster.local")

    async def run(self) -> None:
        while True:
            complete = False
            try:
                await self._preview_keys()
                complete = await self._certificate()
            except (errors.ApiError, *errors.TRANSIENT) as error:
                _LOG.warning("upkeep: %s", error or type(error).__name__)
            await asyncio.sleep(_LATER_SECONDS if complete else _SOON_SECONDS)

    async def _certificate(self) -> bool:
        """Whether certificate and trust are in place; False while there is no APIService to tell."""
        now = datetime.now(UTC)
        secret = await self._secret(TLS_SECRET)
        present = Serving.from_data((secret or {}).get("data") or {})
        if present is not None and certificates.is_usable(present, self._hosts, now):
            return await self._publish(present.authorities)
        # what is trusted now is what is served now, also when the Secret was lost
        renewed = certificates.renewed(self._hosts, await self._bundle(), now)
        # first the trust, then the certificate: whichever is served meanwhile is trusted
        published = await self._publish(renewed.authorities)
        await self._apply_secret(TLS_SECRET, renewed.data(), "kubernetes.io/tls")
        _LOG.info("made a new serving certificate for %s", self._hosts[0])
        return published

    async def _preview_keys(self) -> None:
        now = time.time()
        secret = await self._secret(SIGNING_SECRET)
        stored = base64.b64decode(((secret or {}).get("data") or {}).get(_KEYS, "")).decode("utf-8", "replace")
        ring = preview_ring.due(preview_ring.read(stored), now)
        signing, verification = preview_ring.signing(ring, now), preview_ring.verification(ring)
        # what verifies comes first, so that nothing is ever signed that nobody can verify
        await self._apply_verification(verification)
        if signing != stored:
            await self._apply_secret(SIGNING_SECRET, {_KEYS: base64.b64encode(signing.encode()).decode()})
            _LOG.info("preview keys: %d in the ring", len(ring["keys"]))

    async def _apply_verification(self, content: str) -> None:
        try:
            live = await self._kube.get(resources.CONFIG_MAPS, VERIFICATION_CONFIG_MAP, self._namespace)
        except errors.NotFound:
            live = {}
        if (live.get("data") or {}).get(_KEYS) == content:
            return
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": VERIFICATION_CONFIG_MAP,
                "namespace": self._namespace,
                "labels": {names.LABEL_MANAGED_BY: names.FIELD_MANAGER},
            },
            "data": {_KEYS: content},
        }
        await self._kube.apply(resources.CONFIG_MAPS, body, self._namespace)

    async def _bundle(self) -> bytes:
        try:
            spec = (await self._kube.get(resources.API_SERVICES, API_SERVICE))["spec"]
        except errors.NotFound:
            return b""
        return base64.b64decode(spec.get("caBundle") or "")

    async def _publish(self, authorities: bytes) -> bool:
        bundle = base64.b64encode(authorities).decode()
        try:
            service = await self._kube.get(resources.API_SERVICES, API_SERVICE)
            if service["spec"].get("caBundle") != bundle:
                await self._kube.merge_patch(resources.API_SERVICES, API_SERVICE, {"spec": {"caBundle": bundle}})
        except errors.NotFound:
            return False
        return True

    async def _secret(self, name: str) -> Object | None:
        try:
            return await self._kube.get(resources.SECRETS, name, self._namespace)
        except errors.NotFound:
            return None

    async def _apply_secret(self, name: str, data: Mapping[str, str], kind: str = "Opaque") -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": self._namespace, "labels": {names.LABEL_MANAGED_BY: names.FIELD_MANAGER}},
            "type": kind,
            "data": dict(data),
        }
        await self._kube.apply(resources.SECRETS, body, self._namespace)
