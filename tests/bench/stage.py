"""What every bench needs: the cluster, a namespace of its own, and a user bound to `edit` in it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from devcluster.settings import state_from_environment
from sandbox_client import blocking
from sandbox_client.kubeconfig import Connection
from tests.harness.cluster import Cluster
from tests.harness.fixtures import WEB_SERVER


@dataclass(frozen=True, slots=True)
class Stage:
    cluster: Cluster
    namespace: str
    user: Connection
    client: blocking.Client

    def runner(self, name: str) -> blocking.Sandbox:
        """Ready, with an app that answers at once and is never restarted."""
        sandbox = self.client.apply(name, {"command": WEB_SERVER})
        sandbox.wait_ready()
        return sandbox


@contextmanager
def stage() -> Iterator[Stage]:
    cluster = Cluster(state_from_environment())
    namespace = f"bench-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", namespace)
    try:
        user = cluster.user(namespace, "bench", "edit")
        with blocking.Client(user) as client:
            yield Stage(cluster, namespace, user, client)
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
