"""What a runner really runs with: its own wishes over its template's defaults, held inside the template's bounds.

The bounds are checked here, not in the CRD, because they belong to another object: the answer is a condition, no refused write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sandbox_operator.errors import SpecInvalid
from sandbox_operator.model import images, releases
from sandbox_operator.model.parts import EnvVar, FixedEnvVar, Quantity, Resources, Storage
from sandbox_operator.model.quantity import parse_quantity
from sandbox_operator.model.runner import OperatingMode, ProcessSpec, RunnerSpec
from sandbox_operator.model.template import Bounds, TemplateSpec

WORKSPACE = "/workspace"
"""Where the workspace is mounted in the app container; every working directory lies in it."""
APP_BYTES = 100_000
"""Of all that says what runs. It travels in one environment variable, and Linux takes no string over 128 KiB to a new program."""


@dataclass(frozen=True, slots=True)
class EffectiveSpec:
    """Complete but for ``command`` (found from the tree) and ``storage.storage_class_name`` (the cluster's default)."""

    image: str
    command: tuple[str, ...]
    working_dir: str
    port: int
    processes: tuple[ProcessSpec, ...]
    restart_on: tuple[str, ...]
    env: tuple[EnvVar, ...]
    resources: Resources
    storage: Storage
    operating_mode: OperatingMode
    idle_timeout: str | None
    languages: tuple[str, ...] = ()
    """What the template has images for, by name."""

    def app_json(self, preview_url: str = "") -> str:
        """SANDBOX_APP of the agent (docs/architecture.md)."""
        processes = [
            {
                "name": process.name,
                "command": list(process.command),
                "port": process.port,
                "env": {variable.name: variable.value for variable in process.env},
                **({"workingDir": process.working_dir} if process.working_dir else {}),
            }
            for process in self.processes
        ]
        app = {
            "command": list(self.command) or None,
            "port": self.port,
            "workingDir": self.working_dir,
            **({"processes": processes} if processes else {}),
            **({"previewUrl": preview_url} if preview_url else {}),
            **({"restartOn": list(self.restart_on)} if self.restart_on else {}),
            **({"languages": list(self.languages)} if self.languages else {}),
        }
        return json.dumps(app, ensure_ascii=False)


def effective(spec: RunnerSpec, template: TemplateSpec, operating_mode: OperatingMode | None = None) -> EffectiveSpec:
    """``operating_mode`` overrides the wish (a shutdown time that has come). Raises SpecInvalid with all broken bounds."""
    defaults = template.defaults
    image = spec.image or _image_of(spec.language, template) or defaults.image
    made = EffectiveSpec(
        image=images.canonical(image),
        command=spec.command or defaults.command,
        working_dir=spec.working_dir or defaults.working_dir,
        port=spec.port,
        processes=spec.processes,
        restart_on=spec.restart_on,
        env=_env((*releases.environment(template.egress), *defaults.env), spec.env),
        resources=Resources(
            requests=_requests({**defaults.resources.requests, **spec.resources.requests}, spec.resources.limits),
            limits={**defaults.resources.limits, **spec.resources.limits},
        ),
        storage=Storage(
            size=defaults.storage.size if spec.storage.size is None else spec.storage.size,
            storage_class_name=spec.storage.storage_class_name or defaults.storage.storage_class_name,
        ),
        operating_mode=operating_mode or spec.operating_mode,
        idle_timeout=spec.lifecycle.idle_timeout or defaults.lifecycle.idle_timeout,
        languages=tuple(language.name for language in template.languages),
    )
    broken = [*_broken(made, spec, template)]
    if broken:
        raise SpecInvalid("; ".join(broken))
    return made


def _image_of(language: str | None, template: TemplateSpec) -> str | None:
    """None without a language, and for one that the template does not have, which :func:`_broken` tells."""
    return next((entry.image for entry in template.languages if entry.name == language), None)


def _env(defaults: tuple[FixedEnvVar, ...], own: tuple[EnvVar, ...]) -> tuple[EnvVar, ...]:
    named = {variable.name: EnvVar(name=variable.name, value=variable.value) for variable in defaults}
    named |= {variable.name: variable for variable in own}
    return tuple(named.values())


def _requests(requests: dict[str, Quantity], own_limits: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """A runner that only lowers a limit below the template's default request means both."""
    lowered = {
        name: own_limits[name] for name, amount in requests.items() if name in own_limits and _more(amount, own_limits[name])
    }
    return {**requests, **lowered}


def _more(amount: Quantity, limit: Quantity) -> bool:
    try:
        return parse_quantity(amount) > parse_quantity(limit)
    except ValueError:
        return False  # reported with its field by _broken


def _broken(made: EffectiveSpec, spec: RunnerSpec, template: TemplateSpec) -> Iterator[str]:
    bounds = template.bounds
    if spec.runtime_cluster_ref is not None:
        yield "spec.runtimeClusterRef: only the operator's own cluster runs sandboxes; remove the field"
    if made.working_dir != WORKSPACE and not made.working_dir.startswith(f"{WORKSPACE}/"):
        yield f"spec.workingDir: {made.working_dir} is not in {WORKSPACE}"
    if spec.language is not None and spec.language not in made.languages:
        listed = ", ".join(made.languages) or "none"
        yield (
            f"spec.language: template {spec.template_ref.name} has no image for {spec.language}; it has {listed}. "
            "Choose one of them, or leave the field out for the default image"
        )
    image = spec.image or _image_of(spec.language, template) or template.defaults.image
    yield from (f"spec.image: {fault}" for fault in images.faults(image, template, spec.template_ref.name))
    if (size := len(made.app_json().encode())) > APP_BYTES:
        yield f"spec.command, spec.processes and spec.restartOn have {size} bytes together; {APP_BYTES} are allowed"
    yield from _resources_broken(made.resources, bounds)
    yield from _exceeds("spec.storage.size", made.storage.size, bounds.storage.max)


def _resources_broken(resources: Resources, bounds: Bounds) -> Iterator[str]:
    for name, amount in resources.limits.items():
        yield from _exceeds(f"spec.resources.limits.{name}", amount, bounds.resources.max.get(name))
    for name, amount in resources.requests.items():
        yield from _exceeds(f"spec.resources.requests.{name}", amount, bounds.resources.max.get(name))
        yield from _exceeds(f"spec.resources.requests.{name}", amount, resources.limits.get(name), "the limit")


def _exceeds(
    field: str, amount: Quantity | None, maximum: Quantity | None, what: str = "the template's maximum"
) -> Iterator[str]:
    if amount is None:
        return
    try:
        too_much = parse_quantity(amount) > parse_quantity(maximum) if maximum is not None else parse_quantity(amount) < 0
    except ValueError as error:
        yield f"{field}: {error}"
        return
    if too_much:
        yield f"{field}: {amount} is more than {what}, {maximum}" if maximum is not None else f"{field}: {amount} is negative"
