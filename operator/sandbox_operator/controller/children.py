"""Local copies of everything that runtimes are made of, and whom to wake when one of them changes.

Each kind with a fixed name is watched across namespaces by that name, so that RBAC's ``resourceNames`` bound what the controller
may see: its Secrets are the ones called ``control``, ``env`` and ``image-pull``. Pods and namespaces are told by our label.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from sandbox_operator.controller.objects import Object, ObjectKey, summary
from sandbox_operator.kube import resources
from sandbox_operator.kube.client import Kube, Selection
from sandbox_operator.kube.resources import Resource
from sandbox_operator.kube.store import Reflector
from sandbox_protocol import names

_NAMED: tuple[tuple[Resource, str, bool], ...] = (
    # the last column: whether its status is read
    (resources.DEPLOYMENTS, names.DEPLOYMENT, True),
    (resources.RESOURCE_QUOTAS, names.LIMITS, False),
    (resources.LIMIT_RANGES, names.LIMITS, False),
    (resources.PVCS, names.PVC, True),
    (resources.SECRETS, names.CONTROL_SECRET, False),
    (resources.SECRETS, names.ENV_SECRET, False),
    (resources.SECRETS, names.PULL_SECRET, False),
    (resources.SERVICES, names.CONTROL_SERVICE, False),
    (resources.SERVICES, names.PREVIEW_SERVICE, False),
    (resources.SERVICE_ACCOUNTS, names.SERVICE_ACCOUNT, False),
    (resources.NETWORK_POLICIES, names.NETWORK_POLICY, False),
    (resources.ROLE_BINDINGS, names.DATA_PLANE_BINDING, False),
)


class Children:
    """``wake`` is called with the runner's UID."""

    def __init__(self, kube: Kube, wake: Callable[[str], None]) -> None:
        self._wake = wake
        self._pods: dict[str, dict[str, Object]] = {}
        self.namespaces = Reflector(
            kube, Selection(resources.NAMESPACES, label_selector=names.LABEL_RUNNER_UID), on_change=self._changed, slim=summary
        )
        pods = Reflector(
            kube, Selection(resources.PODS, label_selector=names.LABEL_RUNNER_UID), on_change=self._pod_changed, slim=_slim_pod
        )
        self._named = {
            (resource, name): Reflector(
                kube,
                Selection(resource, field_selector=f"metadata.name={name}", metadata_only=not full),
                on_change=self._changed,
                slim=summary,
            )
            for resource, name, full in _NAMED
        }
        self._all = (self.namespaces, pods, *self._named.values())

    def reflectors(self) -> Iterable[Reflector]:
        return self._all

    async def synced(self) -> None:
        await asyncio.gather(*(reflector.synced.wait() for reflector in self._all))

    def watches(self, resource: Resource, name: str) -> bool:
        """Whether :meth:`get` knows that an object is absent, rather than knowing nothing of it."""
        return (resource, name) in self._named

    def get(self, resource: Resource, key: ObjectKey) -> Object | None:
        if resource == resources.NAMESPACES:
            return self.namespaces.get(None, key.name)
        store = self._named.get((resource, key.name))
        return None if store is None else store.get(key.namespace, key.name)

    def named(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return self._named[resource, name].get(namespace, name)

    def pods(self, namespace: str) -> list[Object]:
        return list(self._pods.get(namespace, {}).values())

    def _changed(self, old: Object | None, new: Object | None) -> None:
        live = new or old
        assert live is not None
        uid = (live["metadata"].get("labels") or {}).get(names.LABEL_RUNNER_UID)
        # an object without our label may still stand where ours should be, or have been ours until now
        namespace = live["metadata"].get("namespace") or live["metadata"]["name"]
        self._wake(uid or namespace.removeprefix("sandbox-"))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        live = new or old
        assert live is not None
        namespace, name = live["metadata"]["namespace"], live["metadata"]["name"]
        if new is not None:
            self._pods.setdefault(namespace, {})[name] = new
        elif (left := self._pods.get(namespace)) is not None:
            left.pop(name, None)
            if not left:
                del self._pods[namespace]
        self._changed(old, new)


def _slim_pod(pod: Object) -> Object:
    metadata = {name: value for name, value in pod["metadata"].items() if name not in {"managedFields", "annotations"}}
    return {"metadata": metadata, "status": pod.get("status") or {}}
