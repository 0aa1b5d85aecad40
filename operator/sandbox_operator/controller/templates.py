"""SandboxTemplates, compiled once a change."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox_operator.controller.conditions import Condition
from sandbox_operator.controller.objects import Object
from sandbox_operator.errors import Rejected, TemplateInvalid
from sandbox_operator.kube.store import Store
from sandbox_operator.model import images, releases
from sandbox_operator.model.record import MalformedError, read
from sandbox_operator.model.signatures import SignatureError, Trust, trust
from sandbox_operator.model.template import TemplateSpec
from sandbox_operator.render.graph import Graph, compile_template


@dataclass(frozen=True, slots=True)
class Template:
    name: str
    spec: TemplateSpec
    graph: Graph
    trusted: Trust


class Templates:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._compiled: dict[str, tuple[int, Template | TemplateInvalid]] = {}

    def get(self, name: str) -> Template:
        """Raises Rejected: there is none of this name, or it is broken."""
        live = self._store.get(None, name)
        if live is None:
            raise Rejected(f"SandboxTemplate {name} does not exist: install it, or name another one", reason="TemplateNotFound")
        return self.compiled(live)

    def compiled(self, live: Object) -> Template:
        """Raises TemplateInvalid."""
        uid, generation = live["metadata"]["uid"], live["metadata"]["generation"]
        known = self._compiled.get(uid)
        if known is None or known[0] != generation:
            known = self._compiled[uid] = generation, _compile(live)
        if isinstance(known[1], TemplateInvalid):
            raise known[1].with_traceback(None)
        return known[1]

    def condition(self, live: Object) -> Condition:
        try:
            self.compiled(live)
        except TemplateInvalid as error:
            return Condition("Ready", "False", error.reason, error.message)
        return Condition("Ready", "True", "Ready", "Runners can use this template.")

    def forget(self, uid: str) -> None:
        self._compiled.pop(uid, None)


def _compile(live: Object) -> Template | TemplateInvalid:
    try:
        spec = read(TemplateSpec, live.get("spec"))
        if faults := "; ".join([*images.template_faults(spec), *releases.template_faults(spec)]):
            raise TemplateInvalid(faults)
        return Template(live["metadata"]["name"], spec, compile_template(spec.resources), trust(spec.bounds.signatures))
    except MalformedError as error:
        return TemplateInvalid(str(error))
    except SignatureError as error:
        return TemplateInvalid(f"SandboxTemplate {live['metadata']['name']}: {error}")
    except TemplateInvalid as error:
        return TemplateInvalid(f"SandboxTemplate {live['metadata']['name']}: {error.message}")
