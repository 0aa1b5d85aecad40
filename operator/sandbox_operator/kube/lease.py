"""One leader among replicas, by a Lease, as client-go's leader election does it.

A leader that cannot renew stops before anybody else may take over: it gives up :data:`RENEW_SECONDS` after the last success,
others wait :data:`LEASE_SECONDS` without seeing a change. Clocks of two machines are never compared.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

from sandbox_operator.kube import errors
from sandbox_operator.kube.client import Kube, Object
from sandbox_operator.kube.resources import LEASES

# client-go's defaults: failover within about 17 s of a crash, one small write every two seconds.
LEASE_SECONDS = 15.0
RENEW_SECONDS = 10.0
RETRY_SECONDS = 2.0

_LOG = logging.getLogger(__name__)


class LostError(Exception):
    """We were the leader and may no longer be: the process must end at once."""


class Lease:
    """:meth:`acquire`, then :meth:`hold` beside the work; :meth:`release` on the way out spares the successor the waiting."""

    def __init__(self, kube: Kube, namespace: str, name: str, identity: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seen: str | None = None
        self._seen_at = 0.0

    async def acquire(self) -> None:
        """Returns once we lead."""
        while True:
            try:
                if await self._try():
                    _LOG.info("%s leads", self._identity)
                    return
            except (errors.ApiError, *errors.TRANSIENT) as error:
                _LOG.warning("lease %s: %s", self._name, error or type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def hold(self) -> None:
        """Renews for ever; raises LostError."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                async with asyncio.timeout(RENEW_SECONDS - (loop.time() - renewed)):
                    if not await self._try():
                        raise LostError(f"another replica took lease {self._name}")
                renewed = loop.time()
            except (errors.ApiError, *errors.TRANSIENT) as error:
                if loop.time() - renewed >= RENEW_SECONDS - RETRY_SECONDS:
                    raise LostError(f"lease {self._name} could not be renewed for {RENEW_SECONDS:.0f} s: {error}") from error

    async def release(self) -> None:
        """Best effort; without it the next leader waits LEASE_SECONDS."""
        try:
            lease = await self._kube.get(LEASES, self._name, self._namespace)
            if lease["spec"].get("holderIdentity") == self._identity:
                await self._write(lease, {"holderIdentity": ""})
        except (errors.ApiError, *errors.TRANSIENT) as error:
            _LOG.info("lease %s not released: %s", self._name, error)

    async def _try(self) -> bool:
        """Renew or take the Lease if that is allowed; whether we hold it now."""
        try:
            lease = await self._kube.get(LEASES, self._name, self._namespace)
        except errors.NotFound:
            return await self._create()
        now = asyncio.get_running_loop().time()
        if lease["metadata"]["resourceVersion"] != self._seen:
            self._seen, self._seen_at = lease["metadata"]["resourceVersion"], now
        spec = lease.get("spec") or {}
        ours = spec.get("holderIdentity") == self._identity
        if spec.get("holderIdentity") and not ours and now - self._seen_at < LEASE_SECONDS:
            return False
        change: dict[str, Any] = {
            "holderIdentity": self._identity,
            "renewTime": _now(),
            "leaseDurationSeconds": int(LEASE_SECONDS),
        }
        if not ours:
            change |= {"acquireTime": change["renewTime"], "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        try:
            await self._write(lease, change)
        except errors.Conflict:
            return False
        return True

    async def _create(self) -> bool:
        now = _now()
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "acquireTime": now,
                "renewTime": now,
                "leaseDurationSeconds": int(LEASE_SECONDS),
                "leaseTransitions": 0,
            },
        }
        try:
            await self._kube.create(LEASES, body, self._namespace)
        except errors.AlreadyExists:
            return False
        return True

    async def _write(self, lease: Object, change: dict[str, Any]) -> None:
        patch = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": change}
        written = await self._kube.merge_patch(LEASES, self._name, patch, self._namespace)
        self._seen, self._seen_at = written["metadata"]["resourceVersion"], asyncio.get_running_loop().time()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
