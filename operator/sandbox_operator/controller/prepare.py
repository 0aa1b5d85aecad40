"""From a runner to the objects it wants: its spec over its template, its Secrets, and the rendered rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sandbox_operator.controller import control_secret, env_secret
from sandbox_operator.controller.children import Children
from sandbox_operator.controller.env_secret import EnvReader
from sandbox_operator.controller.objects import Object, ObjectKey, is_ours, key_of, stamped, with_images
from sandbox_operator.controller.provenance import Provenance
from sandbox_operator.controller.pull_secret import PullSecrets
from sandbox_operator.controller.templates import Template
from sandbox_operator.errors import NotSigned, TemplateInvalid
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.target import RuntimeTarget
from sandbox_operator.model.effective import EffectiveSpec
from sandbox_operator.model.images import faults
from sandbox_operator.render.pod_images import pod_images
from sandbox_operator.render.schema import Runtime, schema
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Held:
    """Secrets of one runner as they should be, kept so that they are read once, and so that a drift can be undone."""

    control: Object | None = None
    control_until: datetime = _NEVER
    control_seen: bool = False
    """The cluster has it: from then on its absence is somebody's wish for another."""
    env: Object | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the content of copied Secrets comes from."""

    env: EnvReader
    pull: PullSecrets


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every runtime of this cluster is told."""

    system_namespace: str
    gate_targets: tuple[str, ...]
    capabilities: frozenset[str]
    preview_url: Callable[[Refs], str] = lambda _: ""
    """Where a runner is seen, ``{port}`` standing for a port of its app."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """``bodies`` are stamped, not yet in waves; ``awaited`` are the keys of those with a readyWhen, by their id.
    ``refused`` says why they make no pod although one was wished."""

    bodies: list[Object]
    awaited: dict[str, ObjectKey]
    refused: NotSigned | None


# How often the certificate of a held Secret is looked at again; it is renewed months before it ends.
_LOOK_AGAIN = timedelta(days=1)
# The kubelet takes a changed Secret into a pod within two minutes (its sync period and its cache); then the old token is nothing.
_OVERLAP = timedelta(minutes=10)


class Preparer:
    def __init__(
        self,
        target: RuntimeTarget,
        children: Children,
        sources: Sources,
        surroundings: Surroundings,
        provenance: Provenance,
    ) -> None:
        self._target = target
        self._children = children
        self._sources = sources
        self.surroundings = surroundings
        self._provenance = provenance

    async def objects(self, runner: Object, spec: EffectiveSpec, template: Template, held: Held) -> Wanted:
        """Raises Rejected; RetryLater while an image's signature is looked up; ApiError when a Secret cannot be read."""
        metadata = runner["metadata"]
        refs = Refs(metadata["uid"])
        exists = self._children.namespaces.get(None, refs.namespace) is not None
        secrets = [await self._control(refs, held, exists)]
        env = await self._env(spec, metadata["namespace"], refs, held, exists)
        revision = ""
        if env is not None:
            secrets.append(env)
            revision = env["metadata"]["annotations"][env_secret.REVISION]
        pull = await self._sources.pull.copied(template.spec.image_pull_secrets, refs)
        if pull is not None:
            secrets.append(pull)
        runtime = Runtime(
            refs=refs,
            runner_namespace=metadata["namespace"],
            runner_name=metadata["name"],
            system_namespace=self.surroundings.system_namespace,
            gate_targets=self.surroundings.gate_targets,
            env_revision=revision,
            pull_secret=pull is not None,
            capabilities=self.surroundings.capabilities,
            preview_url=self.surroundings.preview_url(refs),
        )
        rendered = template.graph.render(schema(spec, template.spec, runtime))
        images = _images([entry.object for entry in rendered], template)
        refused = None
        try:
            await self._provenance.check(images, template)
        except NotSigned as error:
            # what is there ends too: no pod is wanted, and the namespace lets none in
            refused, images = error, frozenset[str]()
            rendered = template.graph.render(schema(replace(spec, operating_mode="Suspended"), template.spec, runtime))
        made = {entry.resource: with_images(stamped(entry.object, refs), images) for entry in rendered}
        return Wanted(
            [*made.values(), *(stamped(body, refs) for body in secrets)],
            {name: key_of(made[name]) for name in template.graph.awaited if name in made},
            refused,
        )

    async def _control(self, refs: Refs, held: Held, exists: bool) -> Object:
        """As it is held; made anew when it is about to expire, or when somebody deleted it: that is how to ask for a rotation."""
        now = datetime.now(UTC)
        there = self._children.named(resources.SECRETS, refs.namespace, names.CONTROL_SECRET) is not None
        deleted = held.control_seen and not there
        held.control_seen = there
        if held.control is not None and not deleted and now < held.control_until:
            return held.control
        if held.control is not None and deleted:
            data = control_secret.fresh(refs, now, held.control["data"])
        else:
            live = await self._data(names.CONTROL_SECRET, refs) if exists else None
            data = (live or {}).get("data") or {}
            if not control_secret.is_usable(data, refs, now):
                data = control_secret.fresh(refs, now, data)
            elif held.control is not None:
                data = control_secret.settled(data)
        held.control = control_secret.body(refs, data)
        held.control_until = now + (_LOOK_AGAIN if control_secret.is_settled(data) else _OVERLAP)
        return held.control

    async def _env(self, spec: EffectiveSpec, namespace: str, refs: Refs, held: Held, exists: bool) -> Object | None:
        if not any(variable.value_from is not None for variable in spec.env):
            held.env = None
            return None
        values = await self._sources.env.values(spec.env, namespace)
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


def _images(bodies: list[Object], template: Template) -> frozenset[str]:
    """What the runtime's pods will run. A template with more containers than the two lists their images in its bounds, so that no
    expression can make an image of what a runner's owner wrote. Raises TemplateInvalid."""
    images = frozenset(pod_images(bodies))
    refused = [fault for image in sorted(images) for fault in faults(image, template.spec, template.name)]
    if refused:
        raise TemplateInvalid(f"{'; '.join(refused)}: add it to spec.bounds.images")
    return images
