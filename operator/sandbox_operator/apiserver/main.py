"""``python -m sandbox_operator apiserver``: puts the parts together, serves until SIGTERM, leaves without losing a request."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from sandbox_operator import program
from sandbox_operator import settings as shared
from sandbox_operator.apiserver import authn, authz, dial, routes, runners
from sandbox_operator.apiserver.credentials import CredentialStore
from sandbox_operator.apiserver.edge import Checks, Edge, State
from sandbox_operator.apiserver.lifetime import LongRunning
from sandbox_operator.apiserver.limits import Limiter, Limits
from sandbox_operator.apiserver.listener import listening
from sandbox_operator.apiserver.metrics import Metrics
from sandbox_operator.apiserver.pods import RunnerPods
from sandbox_operator.apiserver.previews import Previews
from sandbox_operator.apiserver.sessions import Sessions
from sandbox_operator.apiserver.tls import ServingTls
from sandbox_operator.apiserver.verb import Services
from sandbox_operator.errors import SettingsError
from sandbox_operator.kube import errors as kube_errors
from sandbox_operator.kube import resources, reviews
from sandbox_operator.kube.client import Kube, Selection
from sandbox_operator.kube.store import Reflector
from sandbox_protocol import names
from sandbox_protocol.errors import StatusError

_LOG = logging.getLogger(__name__)
# The kubelet writes a changed Secret within about a minute; looking more often than this gains nothing.
_RELOAD_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """What only this program reads. ``drain_seconds`` pass between "not ready" and the end of listening: the time in which
    every node learns that the Service has one endpoint less."""

    host: str | None
    """None listens on every address of both families: "::" alone would leave IPv4 out."""
    port: int
    tls_folder: Path
    signing_folder: Path
    drain_seconds: float
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Options:
        try:
            return cls(
                host=environ.get("LISTEN_ADDRESS") or None,
                port=int(environ.get("LISTEN_PORT", "8443")),
                tls_folder=Path(environ.get("TLS_DIR", "/run/sandbox/tls")),
                signing_folder=Path(environ.get("PREVIEW_SIGNING_DIR", "/run/sandbox/preview-signing")),
                drain_seconds=float(environ.get("SHUTDOWN_DELAY_SECONDS", "5")),
                limits=Limits.load(environ),
            )
        except ValueError as error:
            raise SettingsError(f"LISTEN_PORT and SHUTDOWN_DELAY_SECONDS must be numbers: {error}") from error


def main() -> int:
    return program.run("apiserver", _load)


def _load() -> program.Serve:
    settings, options = shared.load(), Options.load()
    return lambda kube, stop: serve(kube, settings, options, stop)


async def serve(kube: Kube, settings: shared.Settings, options: Options, stop: asyncio.Event) -> None:
    """Until ``stop`` is set. A background task that fails ends the server: a copy that nobody keeps would answer wrongly."""
    state = State()
    tls = ServingTls(options.tls_folder)
    long_running = LongRunning()
    meter = Metrics(routes.VERBS)

    def configured(_old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        if new is None or new["metadata"]["name"] != authn.CONFIG_MAP:
            return
        try:
            state.authentication = authn.config_from(new)
        except ValueError:
            _LOG.exception("going on with the former request-header configuration")
            return
        tls.update(state.authentication.client_ca)

    async def secret(namespace: str) -> dict[str, Any]:
        return await kube.get(resources.SECRETS, names.CONTROL_SECRET, namespace)

    credentials = CredentialStore(secret)

    def changed(old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        if old is not None and (new is None or new["metadata"]["uid"] != old["metadata"]["uid"]):
            credentials.forget(old["metadata"]["uid"])

    one = Selection(resources.CONFIG_MAPS, authn.NAMESPACE, field_selector=f"metadata.name={authn.CONFIG_MAP}")
    configuration = Reflector(kube, one, on_change=configured)
    store = Reflector(kube, Selection(resources.RUNNERS), on_change=changed, slim=runners.slim)
    state.not_ready = lambda: _not_ready(state, store)
    async with AsyncExitStack() as stack:
        await _wait_for_certificate(tls)
        agents = await stack.enter_async_context(dial.session(dial.connector()))
        apps = await stack.enter_async_context(dial.session(dial.connector()))
        authorizer = authz.Authorizer(_reviewer(kube), answered=meter.authorized)
        sessions = Sessions(store, authorizer, ended=meter.session_ended)
        services = Services(
            dialer=dial.Dialer(agents, credentials, failed=meter.agent_failed),
            apps=apps,
            previews=Previews(kube, settings, options.signing_folder),
            long_running=long_running,
            sessions=sessions,
            pods=RunnerPods(kube),
        )
        checks = Checks(Limiter(options.limits), authorizer, store)
        edge = Edge(routes.VERBS, state, checks, services, meter)
        addresses = await stack.enter_async_context(listening(edge, tls, options.host, options.port))
        _LOG.info("listening on %s", ", ".join(str(address) for address in addresses))
        background = [asyncio.create_task(work) for work in (configuration.run(), store.run(), _reload(tls, state))]
        stack.push_async_callback(program.cancel, background)
        await program.until(stop, background)
        _LOG.info("draining for %.0f s", options.drain_seconds)
        state.draining = True
        await asyncio.sleep(options.drain_seconds)
        long_running.end()
        sessions.shut_down()


async def _wait_for_certificate(tls: ServingTls) -> None:
    """The controller makes it; on a first installation both start together."""
    while True:
        try:
            return tls.update(None)
        except OSError as error:
            _LOG.info("waiting for the serving certificate: %s", error)
            await asyncio.sleep(1)


async def _reload(tls: ServingTls, state: State) -> None:
    while True:
        await asyncio.sleep(_RELOAD_SECONDS)
        tls.update(state.authentication.client_ca if state.authentication else None)


def _not_ready(state: State, store: Reflector) -> str | None:
    if state.authentication is None:
        return f"no request-header configuration yet (ConfigMap {authn.NAMESPACE}/{authn.CONFIG_MAP})"
    return None if store.synced.is_set() else "the SandboxRunners have not been listed yet"


def _reviewer(kube: Kube) -> reviews.Ask:
    async def ask(review: dict[str, Any]) -> dict[str, Any]:
        try:
            return await kube.raw("POST", reviews.PATH, review)
        except (kube_errors.ApiError, aiohttp.ClientError, TimeoutError) as error:
            _LOG.warning("access review failed: %s", error or type(error).__name__)
            raise StatusError(503, "cannot ask the Kubernetes API whether this is allowed; try again", retry_after=1) from error

    return ask
