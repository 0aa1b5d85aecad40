"""The end of a runtime, quicker than by deleting its namespace: pod and volume first, then the namespace, then our finalizer.

The namespace controller waits 5 s before it looks at a namespace that is being deleted (``namespaceDeletionGracePeriod``), and
looks again only seconds later when a pod is still there: stock deletion takes about 16 s. Here the pod ends within those first
seconds, and the first look finds nothing to wait for. Scaling to zero ends the pod without a right to delete pods.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from sandbox_operator.controller.children import Children
from sandbox_operator.controller.objects import Object, is_ours
from sandbox_operator.controller.pods import Why
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.client import DeleteOptions, Kube
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

# From here on a runner's condition says what blocks its namespace; a healthy cluster needs a few seconds.
STUCK_SECONDS = 30.0
# Between two looks when no watch event comes.
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """``gone``: nothing is left and the finalizer may go. Else ``why`` says what is waited for."""

    gone: bool
    why: Why


@dataclass(slots=True)
class Ending:
    """Of one runner: when its deletion was first seen, by the event loop's clock."""

    since: float


class Deleter:
    def __init__(self, kube: Kube, children: Children) -> None:
        self._kube = kube
        self._children = children

    async def step(self, refs: Refs, ending: Ending) -> Step:
        """One look, and what it asks for. Call again when a child changes, or after LOOK_SECONDS."""
        namespace = await self._namespace(refs)
        if namespace is None or not is_ours(namespace, refs):
            return Step(True, Why("Deleted", "The runtime is gone."))
        waited = asyncio.get_running_loop().time() - ending.since
        if "deletionTimestamp" not in namespace["metadata"]:
            await self._empty(refs)
            with contextlib.suppress(errors.NotFound, errors.Conflict):
                await self._kube.delete(
                    resources.NAMESPACES, refs.namespace, options=DeleteOptions(uid=namespace["metadata"]["uid"])
                )
        if waited < STUCK_SECONDS:
            return Step(False, Why("Deleting", f"Waiting for namespace {refs.namespace} to go."))
        return Step(False, Why("DeletionBlocked", blocked(namespace)))

    async def _namespace(self, refs: Refs) -> Object | None:
        known = self._children.namespaces.get(None, refs.namespace)
        if known is not None:
            return known
        # the copy shows labelled ones only, and may be behind; that nothing is there must be true
        try:
            return await self._kube.get(resources.NAMESPACES, refs.namespace)
        except errors.NotFound:
            return None

    async def _empty(self, refs: Refs) -> None:
        with contextlib.suppress(errors.NotFound):
            await self._kube.merge_patch(resources.DEPLOYMENTS, names.DEPLOYMENT, {"spec": {"replicas": 0}}, refs.namespace)
        with contextlib.suppress(errors.NotFound):
            await self._kube.delete(resources.PVCS, names.PVC, refs.namespace)


def blocked(namespace: Object) -> str:
    """What the namespace controller says is left, in its own words."""
    told = [
        condition.get("message") or condition["type"]
        for condition in (namespace.get("status") or {}).get("conditions") or ()
        if condition.get("status") == "True"
    ]
    reasons = "; ".join(told) or "the namespace controller does not say why"
    return f"Namespace {namespace['metadata']['name']} does not go: {reasons}. Remove what holds it; the rest follows by itself."
