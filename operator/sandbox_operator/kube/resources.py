"""Where a kind lives in the API. The kinds our programs name; the kinds a template names are found by discovery."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from sandbox_protocol import names


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of a served API version. Built into an URL path only by :meth:`path`, which refuses what is no single segment."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """URL path; a namespaced kind without ``namespace`` means all namespaces. ValueError for an illegal segment."""
        parts = [self.prefix]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", segment(namespace)]
        parts.append(self.plural)
        if name is not None:
            parts.append(segment(name))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


def segment(text: str) -> str:
    """``text`` as one path segment, by the API server's own rule (``path.IsValidPathSegmentName``)."""
    if text in {"", ".", ".."} or "/" in text or "%" in text:
        raise ValueError(f"not a name of a Kubernetes object: {text[:80]!r}")
    return quote(text, safe="")


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
SECRETS = Resource("", "v1", "secrets", "Secret")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SERVICES = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
PVCS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
LIMIT_RANGES = Resource("", "v1", "limitranges", "LimitRange")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
API_SERVICES = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
REFERENCE_GRANTS = Resource("gateway.networking.k8s.io", "v1beta1", "referencegrants", "ReferenceGrant")
RUNNERS = Resource(names.GROUP, names.VERSION, names.PLURAL, names.KIND)
TEMPLATES = Resource(names.GROUP, names.VERSION, names.TEMPLATE_PLURAL, names.TEMPLATE_KIND, namespaced=False)
