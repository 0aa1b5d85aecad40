"""``SandboxRunner.spec``. An empty one is complete: what is absent comes from the template."""

from __future__ import annotations

from typing import Literal

from sandbox_operator.model.parts import EnvVar, FixedEnvVar, Lifecycle, NameRef, Resources, Storage
from sandbox_operator.model.record import Record
from sandbox_protocol.names import DEFAULT_TEMPLATE


class TemplateRef(Record, frozen=True, kw_only=True):
    name: str = DEFAULT_TEMPLATE


class ProcessSpec(Record, frozen=True, kw_only=True):
    """A process beside ``web``, which ``command`` and ``port`` of the spec itself are."""

    name: str
    command: tuple[str, ...]
    working_dir: str | None = None
    port: int | None = None
    env: tuple[FixedEnvVar, ...] = ()


OperatingMode = Literal["Running", "Suspended"]


class RunnerSpec(Record, frozen=True, kw_only=True):
    template_ref: TemplateRef = TemplateRef()
    project_ref: NameRef | None = None
    image: str | None = None
    language: str | None = None
    command: tuple[str, ...] = ()
    working_dir: str | None = None
    port: int = 3000
    processes: tuple[ProcessSpec, ...] = ()
    restart_on: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    resources: Resources = Resources()
    storage: Storage = Storage()
    operating_mode: OperatingMode = "Running"
    lifecycle: Lifecycle = Lifecycle()
    runtime_cluster_ref: NameRef | None = None
