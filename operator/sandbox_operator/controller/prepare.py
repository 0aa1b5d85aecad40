"""From a runner to the objects it wants: its spec over its template, its two Secrets, and the rendered rest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandbox_operator.controller import control_secret, env_secret
from sandbox_operator.controller.children import Children
from sandbox_operator.controller.env_secret import EnvReader
from sandbox_operator.controller.objects import Object, ObjectKey, is_ours, key_of, stamped
from sandbox_operator.controller.templates import Template
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.target import RuntimeTarget
from sandbox_operator.model.effective import EffectiveSpec
from sandbox_operator.render.schema import Runtime, schema
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Held:
    """Secrets of one runner as they should be, kept so that they are read once, and so that a drift can be undone."""

    control: Object | None = None
    control_until: datetime = _NEVER
    env: Object | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every runtime of this cluster is told."""

    system_namespace: str
    gate_targets: tuple[str, ...]
    capabilities: frozenset[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """``bodies`` are stamped, not yet in waves; ``awaited`` are the keys of those with a readyWhen, by their id."""

    bodies: list[Object]
    awaited: dict[str, ObjectKey]


# How often the certificate of a held Secret is looked at again; it is renewed months before it ends.
_LOOK_AGAIN = timedelta(days=1)


class Preparer:
    def __init__(self, target: RuntimeTarget, children: Children, reader: EnvReader, surroundings: Surroundings) -> None:
        self._target = target
        self._children = children
        self._reader = reader
        self.surroundings = surroundings

    async def objects(self, runner: Object, spec: EffectiveSpec, template: Template, held: Held) -> Wanted:
        """Raises Rejected; ApiError when a Secret cannot be read."""
        metadata = runner["metadata"]
        refs = Refs(metadata["uid"])
        exists = self._children.namespaces.get(None, refs.namespace) is not None
        secrets = [await self._control(refs, held, exists)]
        env = await self._env(spec, metadata["namespace"], refs, held, exists)
        revision = ""
        if env is not None:
            secrets.append(env)
            revision = env["metadata"]["annotations"][env_secret.REVISION]
        runtime = Runtime(
            refs=refs,
            runner_namespace=metadata["namespace"],
            runner_name=metadata["name"],
            system_namespace=self.surroundings.system_namespace,
            gate_targets=self.surroundings.gate_targets,
            env_revision=revision,
            capabilities=self.surroundings.capabilities,
        )
        rendered = template.graph.render(schema(spec, template.spec, runtime))
        made = {entry.resource: stamped(entry.object, refs) for entry in rendered}
        return Wanted(
            [*made.values(), *(stamped(body, refs) for body in secrets)],
            {name: key_of(made[name]) for name in template.graph.awaited if name in made},
        )

    async def _control(self, refs: Refs, held: Held, exists: bool) -> Object:
        now = datetime.now(UTC)
        if held.control is not None and now < held.control_until:
            return held.control
        data = await self._data(names.CONTROL_SECRET, refs) if exists else None
        usable = data is not None and control_secret.is_usable(data.get("data") or {}, refs, now)
        held.control = control_secret.body(refs, data["data"] if data is not None and usable else control_secret.fresh(refs, now))
        held.control_until = now + _LOOK_AGAIN
        return held.control

    async def _env(self, spec: EffectiveSpec, namespace: str, refs: Refs, held: Held, exists: bool) -> Object | None:
        if not any(variable.value_from is not None for variable in spec.env):
            held.env = None
            return None
        values = await self._reader.values(spec.env, namespace)
        present = held.env or (await self._data(names.ENV_SECRET, refs) if exists else None)
        held.env = env_secret.body(refs, values, env_secret.revision(values, present))
        return held.env

    async def _data(self, name: str, refs: Refs) -> Object | None:
        """The Secret as it is, if it is there and ours; a foreign one is refused later, with all others."""
        try:
            live = await self._target.kube.get(resources.SECRETS, name, refs.namespace)
        except errors.NotFound:
            return None
        return live if is_ours(live, refs) else None
