"""A cluster in memory: enough of the API server's rules (apply ownership, uid checks, finalizers) to run the controller on."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from sandbox_operator.controller.objects import ObjectKey, summary
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.client import DeleteOptions
from sandbox_operator.kube.resources import Resource
from sandbox_protocol import names

Object = dict[str, Any]
UID = "0f0e0d0c-0b0a-4908-8706-050403020100"
NAMESPACE = f"sandbox-{UID}"


_ANY = DeleteOptions()


class FakeKube:
    """``log`` lists every write as "VERB Kind name"; ``refuse`` maps such an entry to the error it gets instead."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.log: list[str] = []
        self.refuse: dict[str, list[errors.ApiError]] = {}
        self.version = 0
        self.on_write: Callable[[Resource, Object | None, Object | None], None] = lambda *_: None

    def _note(self, verb: str, resource: Resource, name: str) -> None:
        entry = f"{verb} {resource.kind} {name}"
        self.log.append(entry)
        if self.refuse.get(entry):
            raise self.refuse[entry].pop(0)

    def _store(self, resource: Resource, live: Object) -> Object:
        self.version += 1
        live["metadata"]["resourceVersion"] = str(self.version)
        key = resource.plural, live["metadata"].get("namespace", ""), live["metadata"]["name"]
        old = self.objects.get(key)
        self.objects[key] = live
        self.on_write(resource, old, live)
        return copy.deepcopy(live)

    async def get(self, resource: Resource, name: str, namespace: str | None = None, **_: Any) -> Object:
        try:
            return copy.deepcopy(self.objects[resource.plural, namespace or "", name])
        except KeyError:
            raise errors.NotFound(404, f"no {resource.kind} {name}") from None

    async def apply(self, resource: Resource, body: Object, namespace: str | None = None, **_: Any) -> Object:
        name = body["metadata"]["name"]
        self._note("apply", resource, name)
        old = self.objects.get((resource.plural, namespace or "", name))
        wanted_uid = body["metadata"].get("uid")
        if wanted_uid is not None and (old is None or old["metadata"]["uid"] != wanted_uid):
            raise errors.Conflict(409, "uid mismatch")
        live = {**copy.deepcopy(old or {}), **copy.deepcopy(body)}
        live["metadata"] = {
            **(old or {}).get("metadata", {}),
            **body["metadata"],
            "uid": old["metadata"]["uid"] if old else str(uuid.uuid4()),
            "managedFields": [{"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:all": {}}}],
        }
        if old is not None and {**live, "metadata": None} == {**old, "metadata": None} and live["metadata"] == old["metadata"]:
            return copy.deepcopy(old)
        return self._store(resource, live)

    async def merge_patch(
        self, resource: Resource, name: str, patch: Object, namespace: str | None = None, *, subresource: str = ""
    ) -> Object:
        self._note(f"patch{'/' + subresource if subresource else ''}", resource, name)
        live = await self.get(resource, name, namespace)
        for field, value in patch.items():
            live[field] = {**live.get(field, {}), **value}
        if live["metadata"].get("deletionTimestamp") and not live["metadata"].get("finalizers"):
            del self.objects[resource.plural, namespace or "", name]
            return live
        return self._store(resource, live)

    async def create(self, resource: Resource, body: Object, namespace: str | None = None, **_: Any) -> Object:
        self.log.append(f"create {resource.kind} {body.get('reason', '')}".rstrip())
        return body

    async def delete(self, resource: Resource, name: str, namespace: str | None = None, options: DeleteOptions = _ANY) -> Object:
        self._note("delete", resource, name)
        live = await self.get(resource, name, namespace)
        if options.uid not in (None, live["metadata"]["uid"]):
            raise errors.Conflict(409, "uid mismatch")
        if resource == resources.NAMESPACES or live["metadata"].get("finalizers"):
            live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return self._store(resource, live)
        old = self.objects.pop((resource.plural, namespace or "", name))
        self.on_write(resource, old, None)
        return live

    def vandalise(self, resource: Resource, name: str, namespace: str | None = None) -> None:
        """Somebody else takes a field of ours over."""
        live = copy.deepcopy(self.objects[resource.plural, namespace or "", name])
        live["metadata"]["managedFields"][0]["fieldsV1"] = {}
        self._store(resource, live)


class FakeChildren:
    """What :class:`Children` knows, straight from the fake cluster: a watch that is never behind."""

    def __init__(self, kube: FakeKube) -> None:
        self._kube = kube
        self.namespaces = self
        self.behind = False
        """While set, the watch has seen nothing yet."""

    def watches(self, resource: Resource, _: str) -> bool:
        return resource not in (resources.NAMESPACES, resources.CONFIG_MAPS)

    def get(self, first: Any, second: Any) -> Object | None:
        if isinstance(second, ObjectKey):
            live = self._kube.objects.get((first.plural, second.namespace, second.name))
        else:
            live = self._kube.objects.get(("namespaces", "", second))
        return None if live is None or self.behind else summary(live)

    def named(self, resource: Resource, namespace: str, name: str) -> Object | None:
        live = self._kube.objects.get((resource.plural, namespace, name))
        return None if live is None else summary(live)

    def pods(self, namespace: str) -> list[Object]:
        return [live for (plural, where, _), live in self._kube.objects.items() if plural == "pods" and where == namespace]


@pytest.fixture
def cluster() -> FakeKube:
    return FakeKube()


@pytest.fixture
def children(cluster: FakeKube) -> FakeChildren:
    return FakeChildren(cluster)
