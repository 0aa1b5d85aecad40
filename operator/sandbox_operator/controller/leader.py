"""What the leading replica does: keeps copies, wakes runners when something of theirs changes, and works through them."""

from __future__ import annotations

import asyncio
import logging
import os

import aiohttp
import kopf

from sandbox_operator.controller import watching
from sandbox_operator.controller.agent import Agents
from sandbox_operator.controller.apply import Applier
from sandbox_operator.controller.census import Census
from sandbox_operator.controller.children import Children
from sandbox_operator.controller.deletion import Deleter
from sandbox_operator.controller.env_secret import EnvReader
from sandbox_operator.controller.events import Recorder
from sandbox_operator.controller.health import Counters
from sandbox_operator.controller.objects import Object
from sandbox_operator.controller.prepare import Preparer, Sources, Surroundings
from sandbox_operator.controller.provenance import Provenance
from sandbox_operator.controller.pull_secret import PullSecrets
from sandbox_operator.controller.queue import KeyQueue
from sandbox_operator.controller.reconcile import Key, Parts, Reconciler
from sandbox_operator.controller.registry import Registry
from sandbox_operator.controller.reporting import Reporter
from sandbox_operator.controller.templates import Templates
from sandbox_operator.controller.upkeep import Upkeep
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.discovery import Discovery
from sandbox_operator.kube.store import Store
from sandbox_operator.kube.target import OwnCluster
from sandbox_operator.settings import Settings
from sandbox_protocol.names import DEFAULT_TEMPLATE

_LOG = logging.getLogger(__name__)

# Runners worked on at the same time. Each mostly waits for the API server, whose own fairness bounds us.
WORKERS = 16
# Kinds that the shipped template makes only where they are served.
_OPTIONAL_KINDS = ((resources.REFERENCE_GRANTS.api_version, resources.REFERENCE_GRANTS.kind),)


class Leader:
    """``stop`` is set when the process is told to end, by whoever caught the signal."""

    def __init__(self, kube: Kube, settings: Settings, counters: Counters, stop: asyncio.Event) -> None:
        self._stop = stop
        self.queue: KeyQueue[Key] = KeyQueue()
        self._census = Census()
        self.runners = Store(self._runner_changed)
        self._kube = kube
        self._settings = settings
        self._counters = counters
        self._templates_store = Store(self._template_changed)
        self._templates = Templates(self._templates_store)
        self._changed_templates: asyncio.Queue[str] = asyncio.Queue()
        self._children = Children(kube, self._wake_uid)
        self._reconciler: Reconciler | None = None

    async def run(self) -> None:
        """Until cancelled, or until a part breaks: then the process ends and starts with fresh copies."""
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            Registry() as registry,
            asyncio.TaskGroup() as group,
        ):
            listed = asyncio.Event(), asyncio.Event()
            group.create_task(watching.relist(self._kube, resources.RUNNERS, self.runners, listed[0]))
            group.create_task(watching.relist(self._kube, resources.TEMPLATES, self._templates_store, listed[1]))
            for reflector in self._children.reflectors():
                group.create_task(reflector.run())
            group.create_task(self._watch())
            group.create_task(Upkeep(self._kube, self._settings.namespace).run())
            reporter = Reporter(self._kube, self.runners, self._templates_store, Recorder(self._kube, self._settings.identity))
            group.create_task(self._report_templates(reporter))
            await asyncio.gather(self._children.synced(), *(event.wait() for event in listed))
            self._reconciler = await self._assemble(session, registry, reporter)
            self._counters.synced = True
            _LOG.info("read %d runners; working", len(self.runners))
            for _ in range(WORKERS):
                group.create_task(self._work(self._reconciler))

    async def _assemble(self, session: aiohttp.ClientSession, registry: Registry, reporter: Reporter) -> Reconciler:
        target = OwnCluster(self._kube)
        discovery = Discovery(self._kube)
        surroundings = Surroundings(
            system_namespace=self._settings.namespace,
            gate_targets=(await self._api_server(),),
            capabilities=await discovery.capabilities(_OPTIONAL_KINDS),
            preview_url=self._settings.preview.url_of,
        )
        preview = self._settings.preview
        parts = Parts(
            kube=self._kube,
            runners=self.runners,
            census=self._census,
            children=self._children,
            discovery=discovery,
            templates=self._templates,
            preparer=Preparer(
                target,
                self._children,
                Sources(EnvReader(self._kube, self._settings.namespace), PullSecrets(self._kube, self._settings.namespace)),
                surroundings,
                Provenance(self._kube, self._settings.namespace, registry),
            ),
            applier=Applier(self._kube, self._children, discovery),
            deleter=Deleter(self._kube, self._children),
            agents=Agents(target, session),
            reporter=reporter,
            preview_host=lambda refs, port: refs.public_host(port, preview.base_domain),
        )
        return Reconciler(parts, self.queue.add)

    async def _api_server(self) -> str:
        """Address of the API server's Service, which no sandbox may reach; the gate proves the policy with it."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if host is None:
            spec = (await self._kube.get(resources.SERVICES, "kubernetes", "default"))["spec"]
            host, port = spec["clusterIP"], str(spec["ports"][0]["port"])
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def _watch(self) -> None:
        await kopf.operator(
            registry=watching.registry(self.runners, self._templates_store),
            settings=watching.settings(),
            standalone=True,
            clusterwide=True,
        )
        # a failure would have been raised: this is a signal, which kopf has taken from us
        self._stop.set()

    async def _work(self, reconciler: Reconciler) -> None:
        while True:
            key = await self.queue.get()
            try:
                again = await reconciler.reconcile(key)
            except (errors.ApiError, *errors.TRANSIENT) as error:
                delay = self.queue.failed(key, float(getattr(error, "retry_after", None) or 0))
                self._counters.reconciles["retry"] += 1
                _LOG.info("%s/%s: %s; again in %.1f s", *key, error or type(error).__name__, delay)
            except Exception:
                # a fault of ours in one runner must not stop all others
                delay = self.queue.failed(key)
                self._counters.reconciles["error"] += 1
                _LOG.exception("%s/%s: again in %.1f s", *key, delay)
            else:
                self.queue.succeeded(key)
                self._counters.reconciles["success"] += 1
                if again is not None:
                    self.queue.add_after(key, again)
            finally:
                self.queue.done(key)

    async def _report_templates(self, reporter: Reporter) -> None:
        while True:
            name = await self._changed_templates.get()
            live = self._templates_store.get(None, name)
            if live is None:
                continue
            try:
                await reporter.template(live, self._templates.condition(live))
            except (errors.ApiError, *errors.TRANSIENT) as error:
                _LOG.warning("template %s: status not written: %s", name, error)

    def _runner_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or new["metadata"]["uid"] != old["metadata"]["uid"]) and self._reconciler is not None:
            self._reconciler.forget(old["metadata"]["uid"])
        self._census.see(old, new)
        live = new or old
        assert live is not None
        self.queue.add((live["metadata"]["namespace"], live["metadata"]["name"]))

    def _template_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and old["metadata"]["generation"] == new["metadata"]["generation"]:
            return
        if new is None and old is not None:
            self._templates.forget(old["metadata"]["uid"])
        name = (new or old or {})["metadata"]["name"]
        self._changed_templates.put_nowait(name)
        for runner in self.runners.items():
            if ((runner.get("spec") or {}).get("templateRef") or {}).get("name", DEFAULT_TEMPLATE) == name:
                self.queue.add((runner["metadata"]["namespace"], runner["metadata"]["name"]))

    def _wake_uid(self, uid: str) -> None:
        runner = self.runners.by_uid(uid)
        if runner is not None:
            self.queue.add((runner["metadata"]["namespace"], runner["metadata"]["name"]))
