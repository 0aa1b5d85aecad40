"""``SandboxTemplate.spec``: what a runner gets by default, how far it may go, and the objects it is made of."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import field

from sandbox_operator.model.parts import FixedEnvVar, NameRef, Quantity, Resources, Storage
from sandbox_operator.model.record import Record


class DefaultLifecycle(Record, frozen=True, kw_only=True):
    idle_timeout: str | None = None


class Defaults(Record, frozen=True, kw_only=True):
    image: str
    working_dir: str = "/workspace"
    command: tuple[str, ...] = ()
    env: tuple[FixedEnvVar, ...] = ()
    resources: Resources = Resources()
    storage: Storage = Storage(size="1Gi")
    lifecycle: DefaultLifecycle = DefaultLifecycle()


class ResourceBounds(Record, frozen=True, kw_only=True):
    max: dict[str, Quantity] = field(default_factory=dict)


class StorageBounds(Record, frozen=True, kw_only=True):
    max: str | None = None


class SignatureKey(Record, frozen=True, kw_only=True):
    name: str
    public_key: str


class SignatureBounds(Record, frozen=True, kw_only=True):
    keys: tuple[SignatureKey, ...] = ()
    identity: Literal["repository", "any"] = "repository"
    offline: bool = False


class RunnerBounds(Record, frozen=True, kw_only=True):
    per_namespace: int | None = None
    per_user: int | None = None


class Bounds(Record, frozen=True, kw_only=True):
    images: tuple[str, ...] = ()
    require_digest: bool = True
    signatures: SignatureBounds = SignatureBounds()
    resources: ResourceBounds = ResourceBounds()
    storage: StorageBounds = StorageBounds()
    runners: RunnerBounds = RunnerBounds()


class Language(Record, frozen=True, kw_only=True):
    name: str
    image: str
    description: str = ""


class Mirror(Record, frozen=True, kw_only=True):
    cidr: str
    ports: tuple[int, ...]


class Releases(Record, frozen=True, kw_only=True):
    url: str


class Egress(Record, frozen=True, kw_only=True):
    profile: Literal["none", "mirror", "public"] = "none"
    mirrors: tuple[Mirror, ...] = ()
    releases: Releases | None = None
    dns: Literal["cluster", "none"] | None = None
    blocked: tuple[str, ...] = ()


class SyncLimits(Record, frozen=True, kw_only=True):
    """The fields of :class:`sandbox_protocol.limits.SyncLimits`; what is absent has the agent's default."""

    body_bytes: int | None = None
    json_body_bytes: int | None = None
    total_bytes: int | None = None
    file_bytes: int | None = None
    files: int | None = None
    tree_entries: int | None = None
    ratio: int | None = None


class Limits(Record, frozen=True, kw_only=True):
    sync: SyncLimits = SyncLimits()
    log_bytes: int | None = None
    pids: int = 1024
    open_files: int = 16384


class TemplateResource(Record, frozen=True, kw_only=True):
    """kro's form. ``template`` is an object whose strings may hold ``${CEL}``."""

    id: str
    template: dict[str, Any]
    ready_when: tuple[str, ...] = ()
    include_when: tuple[str, ...] = ()


class DataPlaneEndpoint(Record, frozen=True, kw_only=True):
    service: Literal["control", "preview"]
    port: int
    path: str = "/"


class TemplateSpec(Record, frozen=True, kw_only=True):
    description: str = ""
    defaults: Defaults
    bounds: Bounds = Bounds()
    agent_image: str
    languages: tuple[Language, ...] = ()
    image_pull_secrets: tuple[NameRef, ...] = ()
    egress: Egress = Egress()
    runtime_class_name: str | None = None
    host_users: bool = False
    limits: Limits = Limits()
    resources: tuple[TemplateResource, ...]
    data_plane: dict[str, DataPlaneEndpoint] = field(default_factory=dict)
