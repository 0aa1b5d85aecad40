"""Which URL a kind has: known ones at once, others asked of the API server and remembered.

A template may hold any kind. What it names must be served, or the template is wrong for this cluster.
"""

from __future__ import annotations

from collections.abc import Iterable

from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.resources import Resource, segment

_KNOWN = {
    (resource.api_version, resource.kind): resource for resource in vars(resources).values() if isinstance(resource, Resource)
}


class UnknownKindError(LookupError):
    """No API server, or extension of it, serves this kind."""


class Discovery:
    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._found = dict(_KNOWN)

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Raises UnknownKindError; a kind that appears later is found then."""
        if (api_version, kind) not in self._found:
            for resource in await self._served(api_version):
                self._found[api_version, resource.kind] = resource
        try:
            return self._found[api_version, kind]
        except KeyError:
            raise UnknownKindError(f"no {kind} of {api_version} in this cluster") from None

    async def capabilities(self, wanted: Iterable[tuple[str, str]]) -> frozenset[str]:
        """Those of ``wanted``, pairs of API version and kind, that are served now, as ``<group>/<version>/<Kind>``."""
        served: set[str] = set()
        for api_version, kind in wanted:
            if any(resource.kind == kind for resource in await self._served(api_version)):
                served.add(f"{api_version}/{kind}")
        return frozenset(served)

    async def _served(self, api_version: str) -> list[Resource]:
        group, _, version = api_version.rpartition("/")
        path = f"/apis/{segment(group)}/{segment(version)}" if group else f"/api/{segment(version)}"
        try:
            answer = await self._kube.raw("GET", path)
        except errors.NotFound:
            return []
        return [
            Resource(group, version, entry["name"], entry["kind"], entry["namespaced"])
            for entry in answer["resources"]
            if "/" not in entry["name"]
        ]
