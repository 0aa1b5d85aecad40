"""``python -m sandbox_operator apiserver``: puts the parts together, serves until SIGTERM, leaves without losing a request."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from sandbox_operator import settings as shared
from sandbox_operator.apiserver import authn, authz, dial, routes, runners
from sandbox_operator.apiserver.credentials import CredentialStore
from sandbox_operator.apiserver.edge import Edge, State
from sandbox_operator.apiserver.lifetime import LongRunning
from sandbox_operator.apiserver.listener import listening
from sandbox_operator.apiserver.previews import Previews
from sandbox_operator.apiserver.tls import ServingTls
from sandbox_operator.apiserver.verb import Services
from sandbox_operator.errors import SettingsError
from sandbox_operator.kube import errors as kube_errors
from sandbox_operator.kube import resources
from sandbox_operator.kube.client import Kube, Selection
from sandbox_operator.kube.config import ConfigError
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

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Options:
        try:
            return cls(
                host=environ.get("LISTEN_ADDRESS") or None,
                port=int(environ.get("LISTEN_PORT", "8443")),
                tls_folder=Path(environ.get("TLS_DIR", "/run/sandbox/tls")),
                signing_folder=Path(environ.get("PREVIEW_SIGNING_DIR", "/run/sandbox/preview-signing")),
                drain_seconds=float(environ.get("SHUTDOWN_DELAY_SECONDS", "5")),
            )
        except ValueError as error:
            raise SettingsError(f"LISTEN_PORT and SHUTDOWN_DELAY_SECONDS must be numbers: {error}") from error


def main() -> int:
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings, options = shared.load(), Options.load()
        uvloop.run(_main(settings, options))
    except (SettingsError, ConfigError) as error:
        print(f"apiserver: {error}", file=sys.stderr)
        return 1
    return 0


async def _main(settings: shared.Settings, options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with await Kube.connect(user_agent="appstudio-sandbox-apiserver") as kube:
        await serve(kube, settings, options, stop)


async def serve(kube: Kube, settings: shared.Settings, options: Options, stop: asyncio.Event) -> None:
    """Until ``stop`` is set. A background task that fails ends the server: a copy that nobody keeps would answer wrongly."""
    state = State()
    tls = ServingTls(options.tls_folder)
    long_running = LongRunning()

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
        services = Services(
            dialer=dial.Dialer(agents, credentials),
            apps=apps,
            previews=Previews(kube, settings, options.signing_folder),
            long_running=long_running,
        )
        edge = Edge(routes.VERBS, state, authz.Authorizer(_reviewer(kube)), store, services)
        addresses = await stack.enter_async_context(listening(edge, tls, options.host, options.port))
        _LOG.info("listening on %s", ", ".join(str(address) for address in addresses))
        background = [asyncio.create_task(work) for work in (configuration.run(), store.run(), _reload(tls, state))]
        stack.push_async_callback(_cancel, background)
        await _first(asyncio.create_task(stop.wait()), background)
        _LOG.info("draining for %.0f s", options.drain_seconds)
        state.draining = True
        await asyncio.sleep(options.drain_seconds)
        long_running.end()


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


async def _first(stopped: asyncio.Task[bool], background: list[asyncio.Task[None]]) -> None:
    done, _ = await asyncio.wait([stopped, *background], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in done:
        if task is not stopped:
            await task
            raise RuntimeError("a background task ended by itself")


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _not_ready(state: State, store: Reflector) -> str | None:
    if state.authentication is None:
        return f"no request-header configuration yet (ConfigMap {authn.NAMESPACE}/{authn.CONFIG_MAP})"
    return None if store.synced.is_set() else "the SandboxRunners have not been listed yet"


def _reviewer(kube: Kube) -> authz.Ask:
    async def ask(review: dict[str, Any]) -> dict[str, Any]:
        try:
            return await kube.raw("POST", authz.REVIEWS, review)
        except (kube_errors.ApiError, aiohttp.ClientError, TimeoutError) as error:
            _LOG.warning("access review failed: %s", error or type(error).__name__)
            raise StatusError(503, "cannot ask the Kubernetes API whether this is allowed; try again", retry_after=1) from error

    return ask
