"""Where a program begins: a connection, and the runners behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sandbox_client import kubeconfig
from sandbox_client.api import Api, Request, checked_name, checked_namespace, json_request, path
from sandbox_client.impersonation import Impersonation
from sandbox_client.kubeconfig import Connection
from sandbox_client.sandbox import Sandbox
from sandbox_protocol import names

FIELD_MANAGER = "appstudio-sandbox-client"


class Client:
    """Use as ``async with``. ``namespace`` is what a call without one means; the kubeconfig's own by default."""

    def __init__(self, connection: Connection, *, namespace: str | None = None) -> None:
        self.api = Api(connection)
        self.namespace = checked_namespace(namespace or connection.namespace)

    @classmethod
    def from_kubeconfig(
        cls,
        file: str | Path | None = None,
        *,
        context: str | None = None,
        namespace: str | None = None,
        impersonate: Impersonation | None = None,
    ) -> Self:
        """As :func:`sandbox_client.kubeconfig.load`: the file, KUBECONFIG, ``~/.kube/config`` or the pod's ServiceAccount."""
        return cls(kubeconfig.load(file, context=context, impersonate=impersonate), namespace=namespace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends its connections; logs that are being followed end with them."""
        await self.api.close()

    def sandbox(self, name: str, *, namespace: str | None = None) -> Sandbox:
        """A handle, without asking the server."""
        return Sandbox(self.api, namespace or self.namespace, name)

    async def get(self, name: str, *, namespace: str | None = None) -> Sandbox:
        """Raises NotFound."""
        sandbox = self.sandbox(name, namespace=namespace)
        await sandbox.refresh()
        return sandbox

    async def list(self, *, namespace: str | None = None, all_namespaces: bool = False) -> list[Sandbox]:
        """Runners in name order."""
        scope = [] if all_namespaces else ["namespaces", checked_namespace(namespace or self.namespace)]
        found = await self.api.json(Request("GET", path("apis", names.GROUP, names.VERSION, *scope, names.PLURAL)))
        return [Sandbox(self.api, item["metadata"]["namespace"], item["metadata"]["name"], item) for item in found["items"]]

    async def create(self, name: str, spec: Mapping[str, Any] | None = None, *, namespace: str | None = None) -> Sandbox:
        """Raises Conflict if it exists, Invalid if the spec breaks a rule."""
        manifest = self._manifest(name, spec, namespace)
        url_path = path("apis", names.GROUP, names.VERSION, "namespaces", manifest["metadata"]["namespace"], names.PLURAL)
        return self._made(await self.api.json(json_request("POST", url_path, manifest, query=[("fieldManager", FIELD_MANAGER)])))

    async def apply(
        self, name: str, spec: Mapping[str, Any] | None = None, *, namespace: str | None = None, force: bool = False
    ) -> Sandbox:
        """Creates it, or changes what differs. Raises Conflict when somebody else owns a field that this would change, unless
        ``force`` takes that field over."""
        return await self.apply_manifest(self._manifest(name, spec, namespace), force=force)

    async def apply_manifest(self, manifest: Mapping[str, Any], *, force: bool = False) -> Sandbox:
        """As ``kubectl apply --server-side [--force-conflicts]``, of a whole SandboxRunner. ValueError for any other kind."""
        if manifest.get("kind") != names.KIND or manifest.get("apiVersion") != f"{names.GROUP}/{names.VERSION}":
            raise ValueError(
                f"not a {names.GROUP}/{names.VERSION} {names.KIND}: {manifest.get('apiVersion')} {manifest.get('kind')}"
            )
        metadata = {"namespace": self.namespace, **(manifest.get("metadata") or {})}
        checked_namespace(metadata["namespace"])
        url_path = path(
            "apis", names.GROUP, names.VERSION, "namespaces", metadata["namespace"], names.PLURAL, metadata.get("name", "")
        )
        body = {**manifest, "metadata": metadata}
        body.pop("status", None)
        query = [("fieldManager", FIELD_MANAGER), *([("force", "true")] if force else [])]
        return self._made(
            await self.api.json(json_request("PATCH", url_path, body, query=query, content_type="application/apply-patch+yaml"))
        )

    def _made(self, resource: Mapping[str, Any]) -> Sandbox:
        return Sandbox(self.api, resource["metadata"]["namespace"], resource["metadata"]["name"], resource)

    def _manifest(self, name: str, spec: Mapping[str, Any] | None, namespace: str | None) -> dict[str, Any]:
        return {
            "apiVersion": f"{names.GROUP}/{names.VERSION}",
            "kind": names.KIND,
            "metadata": {"name": checked_name(name), "namespace": checked_namespace(namespace or self.namespace)},
            "spec": dict(spec or {}),
        }
