"""Records that a SandboxRunner and a SandboxTemplate share. Every field is described in the CRDs; a test holds both together."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from sandbox_operator.model.record import Record

Quantity = str | int
"""As in the Kubernetes API: ``1`` and ``"1"`` are both right; see :func:`sandbox_operator.model.quantity.parse_quantity`."""


class NameRef(Record, frozen=True, kw_only=True):
    name: str


class KeyRef(Record, frozen=True, kw_only=True):
    name: str
    key: str
    optional: bool = False


class EnvSource(Record, frozen=True, kw_only=True):
    """Exactly one is set (CEL rule of the CRD)."""

    secret_key_ref: KeyRef | None = None
    config_map_key_ref: KeyRef | None = None


class EnvVar(Record, frozen=True, kw_only=True):
    name: str
    value: str = ""
    value_from: EnvSource | None = None


class FixedEnvVar(Record, frozen=True, kw_only=True):
    """Values only: a template is seen by every namespace, and what a process is given passes through its agent."""

    name: str
    value: str = ""


class Resources(Record, frozen=True, kw_only=True):
    requests: dict[str, Quantity] = field(default_factory=dict)
    limits: dict[str, Quantity] = field(default_factory=dict)


class Storage(Record, frozen=True, kw_only=True):
    size: str | None = None
    storage_class_name: str | None = None


class Lifecycle(Record, frozen=True, kw_only=True):
    idle_timeout: str | None = None
    shutdown_time: str | None = None
    shutdown_policy: Literal["Suspend", "Delete"] = "Suspend"
