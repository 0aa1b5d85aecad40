"""``reconcile``: observe, plan, apply, report. Idempotent; what triggered it does not matter, missing a trigger costs time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sandbox_operator.controller import clock, pods
from sandbox_operator.controller.agent import Agents, AgentStatus
from sandbox_operator.controller.apply import Applier, Ledger
from sandbox_operator.controller.census import Census
from sandbox_operator.controller.children import Children
from sandbox_operator.controller.conditions import Facts, conditions
from sandbox_operator.controller.deletion import LOOK_SECONDS, Deleter, Ending
from sandbox_operator.controller.isolation import UNKNOWN
from sandbox_operator.controller.objects import Object
from sandbox_operator.controller.pods import PodFacts, Why
from sandbox_operator.controller.prepare import Held, Preparer, Wanted
from sandbox_operator.controller.reporting import Reporter
from sandbox_operator.controller.status import Report
from sandbox_operator.controller.templates import Template, Templates
from sandbox_operator.errors import Rejected, RetryLater, SpecInvalid
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.client import DeleteOptions, Kube
from sandbox_operator.kube.discovery import Discovery
from sandbox_operator.kube.store import Store
from sandbox_operator.model.effective import effective
from sandbox_operator.model.quantity import parse_quantity
from sandbox_operator.model.record import MalformedError, read
from sandbox_operator.model.runner import RunnerSpec
from sandbox_protocol import names
from sandbox_protocol.refs import Refs

_LOG = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name of a SandboxRunner."""

# A second look at everything although nothing happened; changed values behind spec.env are taken over at this age.
RESYNC_SECONDS = 300.0
# Between two looks at objects that a template waits for by readyWhen; not all of them are watched.
_AWAITED_SECONDS = 2.0
# Between two questions to an agent: while its app starts somebody looks on, while it is not ready people wait for news,
# afterwards only the revision changes. An app that stops answering changes its pod's readiness, which is reason to ask at once.
_ASK_STARTING_SECONDS, _ASK_WAITING_SECONDS, _ASK_READY_SECONDS = 1.0, 3.0, 30.0
# Reasons of an app that will be another one soon.
_STARTING = frozenset({"Starting", "Restarting"})


@dataclass(slots=True)
class Memory:
    """What one runner's last reconcile left for the next; all of it can be lost."""

    ledger: Ledger = field(default_factory=Ledger)
    held: Held = field(default_factory=Held)
    ending: Ending | None = None
    agent: AgentStatus | None = None
    pod: str | None = None
    """Whose agent that is."""
    asked: tuple[str, bool, bool] | None = None
    asked_at: float = float("-inf")
    asking: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Made:
    """What planning and applying came to: a problem in words or none; ``again`` in seconds when time will help."""

    problem: Why | None = None
    suspended: Why | None = None
    idle_timeout: str | None = None
    disk_size: int | None = None
    languages: list[Object] | None = None
    """Of the template, as the status shows them."""
    again: float = RESYNC_SECONDS
    error: Exception | None = None
    deleted: bool = False
    halted: bool = False
    """No pod is wanted, because of the problem."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a reconciler works with."""

    kube: Kube
    runners: Store
    census: Census
    children: Children
    discovery: Discovery
    templates: Templates
    preparer: Preparer
    applier: Applier
    deleter: Deleter
    agents: Agents
    reporter: Reporter
    preview_host: Callable[[Refs, int], str]


class Reconciler:
    def __init__(self, parts: Parts, wake: Callable[[Key], None]) -> None:
        self._parts = parts
        self._wake = wake
        self._memories: dict[str, Memory] = {}

    def forget(self, uid: str) -> None:
        """The runner is gone for good."""
        memory = self._memories.pop(uid, None)
        if memory is not None and memory.asking is not None:
            memory.asking.cancel()

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the next look without any trigger; None when there is nothing left to look at. Raises on failure."""
        runner = self._parts.runners.get(*key)
        if runner is None:
            return None
        refs = Refs(runner["metadata"]["uid"])
        memory = self._memories.setdefault(refs.uid, Memory())
        if "deletionTimestamp" in runner["metadata"]:
            return await self._end(runner, refs, memory)
        runner = await self._with_finalizer(runner)
        made = await self._make(runner, refs, memory)
        if made.deleted:
            return None
        pod = self._pod(refs)
        if pod is not None and memory.pod != pod.name:
            memory.agent, memory.pod = memory.agent if memory.pod is None else None, pod.name
        await self._parts.reporter.runner(runner, self._report(runner, refs, made, pod, memory.agent))
        if made.error is not None:
            raise made.error
        return min(made.again, self._ask(key, refs, memory, pod), await self._idle(runner, made, memory))

    async def _with_finalizer(self, runner: Object) -> Object:
        """Before anything is made: what exists without it would survive its runner."""
        metadata = runner["metadata"]
        present = metadata.get("finalizers") or []
        if names.FINALIZER in present:
            return runner
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": [*present, names.FINALIZER]}}
        written = await self._parts.kube.merge_patch(resources.RUNNERS, metadata["name"], patch, metadata["namespace"])
        self._parts.runners.put(written)
        return written

    async def _make(self, runner: Object, refs: Refs, memory: Memory) -> Made:
        made = Made()
        try:
            spec = _spec(runner)
            due = clock.due(spec, datetime.now(UTC))
            made.suspended = due.suspended
            made.again = min(made.again, due.next_in or made.again)
            if due.delete:
                await self._delete(runner)
                made.deleted = True
                return made
            template = self._parts.templates.get(spec.template_ref.name)
            made.languages = [{"name": each.name, "description": each.description} for each in template.spec.languages]
            self._parts.census.check(runner, template.spec.bounds.runners, spec.template_ref.name)
            wished = effective(spec, template.spec, "Suspended" if due.suspended is not None else "Running")
            made.idle_timeout, made.disk_size = wished.idle_timeout, int(parse_quantity(wished.storage.size or 0))
            wanted = await self._parts.preparer.objects(runner, wished, template, memory.held)
            outcome = await self._parts.applier.apply(wanted.bodies, refs, memory.ledger)
            await self._parts.reporter.repaired(runner, outcome.repaired)
            if wanted.refused is not None:
                made.halted = True
                raise wanted.refused
            made.problem = await self._awaited(template, wanted)
            if made.problem is not None:
                made.again = _AWAITED_SECONDS
        except Rejected as error:
            made.problem = Why(error.reason, error.message)
            made.again = min(made.again, error.again)
        except RetryLater as error:
            made.problem, made.again = Why("Waiting", error.message), error.seconds
        except errors.ApiError as error:
            made.problem, made.error = Why("ApplyFailed", f"The API server refuses: {error.message}"), error
        return made

    async def _delete(self, runner: Object) -> None:
        metadata = runner["metadata"]
        await self._parts.reporter.recorder.emit(
            runner, "Normal", "ShutdownTime", "spec.lifecycle.shutdownTime has passed; deleted."
        )
        await self._parts.kube.delete(
            resources.RUNNERS, metadata["name"], metadata["namespace"], DeleteOptions(uid=metadata["uid"])
        )

    async def _awaited(self, template: Template, wanted: Wanted) -> Why | None:
        live: dict[str, Object] = {}
        for name, key in wanted.awaited.items():
            resource = await self._parts.discovery.resource(key.api_version, key.kind)
            live[name] = await self._parts.kube.get(resource, key.name, key.namespace or None)
        unready = template.graph.unready(live)
        return Why("Waiting", f"The template waits for {'; '.join(unready)}") if unready else None

    def _pod(self, refs: Refs) -> PodFacts | None:
        pod = pods.newest(self._parts.children.pods(refs.namespace))
        return None if pod is None else pods.facts(pod)

    def _report(self, runner: Object, refs: Refs, made: Made, pod: PodFacts | None, agent: AgentStatus | None) -> Report:
        deployment = self._parts.children.named(resources.DEPLOYMENTS, refs.namespace, names.DEPLOYMENT)
        absent = pods.no_pod(deployment)
        if made.problem is not None and (deployment is None or made.halted):
            absent = Why(made.problem.reason, "There is no pod: the runtime is not provisioned.")
        if pod is not None and pod.ending and made.suspended is None:
            pod, absent = None, Why("Starting", "The pod before this one is ending.")
        facts = Facts(
            generation=runner["metadata"]["generation"],
            suspended=made.suspended,
            provision=made.problem,
            pod=pod,
            no_pod=absent,
            app=agent.app if agent is not None else None,
            fine=agent.fine if agent is not None else "",
            heard=agent is not None,
            isolation=agent.isolation if agent is not None else UNKNOWN,
            disk=agent.disk if agent is not None else None,
            disk_size=made.disk_size,
        )
        port = (runner.get("spec") or {}).get("port", 3000)
        return Report(
            conditions(facts),
            self._parts.preview_host(refs, port),
            image=pod.image if pod is not None else "",
            revision=agent.revision if agent is not None else "",
            processes=[one.to_json() for one in agent.processes] if agent is not None and pod is not None else (),
            isolation=agent.isolation.to_json() if agent is not None and pod is not None else None,
            languages=made.languages,
        )

    def _ask(self, key: Key, refs: Refs, memory: Memory, pod: PodFacts | None) -> float:
        """Asks the agent in the background when its pod changed or its last word is old; seconds until it is old."""
        if pod is None or pod.ending or pod.agent is not None:
            memory.asked = None
            return RESYNC_SECONDS
        now = asyncio.get_running_loop().time()
        age = _patience(pod, memory.agent)
        if memory.asking is None and (memory.asked != pod.readiness or now - memory.asked_at >= age):
            memory.asked, memory.asked_at = pod.readiness, now
            memory.asking = asyncio.create_task(self._listen(key, refs, memory))
        return max(age - (now - memory.asked_at), 0.1)

    async def _listen(self, key: Key, refs: Refs, memory: Memory) -> None:
        try:
            answer = await self._parts.agents.status(refs)
        finally:
            memory.asking = None
        if answer is not None and answer != memory.agent:
            memory.agent = answer
            self._wake(key)

    async def _idle(self, runner: Object, made: Made, memory: Memory) -> float:
        """Suspends a runner whose agent tells of no activity for the timeout; seconds until that may be."""
        if made.idle_timeout is None or made.suspended is not None or memory.agent is None or memory.agent.last_activity is None:
            return RESYNC_SECONDS
        left = clock.idle_for(made.idle_timeout, memory.agent.last_activity, datetime.now(UTC))
        if left > 0:
            return left
        metadata = runner["metadata"]
        patch = {"metadata": {"uid": metadata["uid"]}, "spec": {"operatingMode": "Suspended"}}
        await self._parts.kube.merge_patch(resources.RUNNERS, metadata["name"], patch, metadata["namespace"])
        memory.agent = None
        note = f"No activity for {made.idle_timeout}: suspended. Set spec.operatingMode to Running to go on."
        await self._parts.reporter.recorder.emit(runner, "Normal", "IdleTimeout", note)
        return RESYNC_SECONDS

    async def _end(self, runner: Object, refs: Refs, memory: Memory) -> float | None:
        metadata = runner["metadata"]
        if names.FINALIZER not in (metadata.get("finalizers") or ()):
            return None
        if memory.ending is None:
            memory.ending = Ending(asyncio.get_running_loop().time())
        step = await self._parts.deleter.step(refs, memory.ending)
        if step.gone:
            left = [name for name in metadata["finalizers"] if name != names.FINALIZER]
            patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": left}}
            with contextlib.suppress(errors.NotFound):
                await self._parts.kube.merge_patch(resources.RUNNERS, metadata["name"], patch, metadata["namespace"])
            return None
        made = Made(problem=step.why)
        await self._parts.reporter.runner(runner, self._report(runner, refs, made, self._pod(refs), None))
        return LOOK_SECONDS


def _patience(pod: PodFacts, agent: AgentStatus | None) -> float:
    """Seconds until the agent's last word is old."""
    why = pod.app if agent is None else agent.app
    if why is None:
        return _ASK_READY_SECONDS
    return _ASK_STARTING_SECONDS if why.reason in _STARTING else _ASK_WAITING_SECONDS


def _spec(runner: Object) -> RunnerSpec:
    try:
        return read(RunnerSpec, runner.get("spec"))
    except MalformedError as error:
        raise SpecInvalid(str(error)) from error
