"""Where runtimes live: the one seam through which a cluster other than our own would come in.

Callers ask a target for the API that holds a runtime's objects, and for the address of one of its Services. Both are computed
from the runner's UID; nothing a user can write decides them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sandbox_operator.kube import resources
from sandbox_operator.kube.client import Kube, Object
from sandbox_protocol import names
from sandbox_protocol.refs import Refs


class RuntimeTarget(Protocol):
    @property
    def kube(self) -> Kube:
        """The API server that holds the runtime namespaces."""

    async def control_secret(self, refs: Refs) -> Object:
        """The Secret with the agent's token and key. Raises NotFound or Forbidden of :mod:`kube.errors`."""

    def control_address(self, refs: Refs) -> tuple[str, int]:
        """Host and port of the agent's control port. The certificate is for ``refs.control_host``, whatever the host is."""


@dataclass(frozen=True, slots=True)
class OwnCluster:
    """Runtimes beside the operator: its own API server, Services by the cluster's DNS."""

    kube: Kube

    async def control_secret(self, refs: Refs) -> Object:
        return await self.kube.get(resources.SECRETS, names.CONTROL_SECRET, refs.namespace)

    def control_address(self, refs: Refs) -> tuple[str, int]:
        return refs.control_host, names.CONTROL_PORT
