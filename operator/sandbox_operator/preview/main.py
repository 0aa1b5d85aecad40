"""``python -m sandbox_operator preview``: puts the parts together, serves until SIGTERM, lets open answers end."""

from __future__ import annotations

import asyncio
import json
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
from aiohttp import web

from sandbox_operator import settings as shared
from sandbox_operator.errors import SettingsError
from sandbox_operator.kube import errors as kube_errors
from sandbox_operator.kube import resources
from sandbox_operator.kube.client import Kube, Selection
from sandbox_operator.kube.config import ConfigError
from sandbox_operator.kube.store import Reflector
from sandbox_operator.model.preview_keys import Ring
from sandbox_operator.model.preview_token import Claims
from sandbox_operator.preview.access import RIGHT_SECONDS, Access
from sandbox_operator.preview.gateway import Gateway
from sandbox_protocol.http1_proxy import Proxy

_LOG = logging.getLogger(__name__)
REVOCATIONS = "preview-revocations"
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
# The kubelet writes a changed ConfigMap within about a minute; looking more often than this gains nothing.
_RELOAD_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """What only this program reads. ``drain_seconds`` pass between "not ready" and the end of listening."""

    host: str
    port: int
    health_port: int
    keys: Path
    drain_seconds: float

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Options:
        try:
            return cls(
                host=environ.get("LISTEN_ADDRESS", "0.0.0.0"),  # noqa: S104 - the pod's only address
                port=int(environ.get("LISTEN_PORT", "8080")),
                health_port=int(environ.get("HEALTH_PORT", "8081")),
                keys=Path(environ.get("PREVIEW_KEYS_DIR", "/run/sandbox/preview-keys")) / "keys.json",
                drain_seconds=float(environ.get("SHUTDOWN_DELAY_SECONDS", "5")),
            )
        except ValueError as error:
            raise SettingsError(f"LISTEN_PORT, HEALTH_PORT and SHUTDOWN_DELAY_SECONDS must be numbers: {error}") from error


class KeyFile:
    """The public ring in a mounted file. Empty until there is one: then no token proves anything."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ring: Ring = {"keys": []}

    def load(self) -> None:
        try:
            ring = json.loads(self._path.read_bytes())
            if not all(isinstance(key.get("kid"), str) for key in ring["keys"]):
                raise ValueError("a key without kid")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            _LOG.warning("going on with %d keys: %s", len(self.ring["keys"]), error)
            return
        self.ring = ring


def main() -> int:
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings, options = shared.load(), Options.load()
        uvloop.run(_main(settings, options))
    except (SettingsError, ConfigError) as error:
        print(f"preview: {error}", file=sys.stderr)
        return 1
    return 0


async def _main(settings: shared.Settings, options: Options) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await Kube.connect(user_agent="appstudio-sandbox-preview") as kube:
        await serve(kube, settings, options, stop)


async def serve(kube: Kube, settings: shared.Settings, options: Options, stop: asyncio.Event) -> None:
    """Until ``stop`` is set. A background task that fails ends the program: a copy that nobody keeps would answer wrongly."""
    keys = KeyFile(options.keys)
    keys.load()
    one = Selection(resources.CONFIG_MAPS, settings.namespace, field_selector=f"metadata.name={REVOCATIONS}")
    look_again = asyncio.Event()
    runners = Reflector(kube, Selection(resources.RUNNERS), on_change=lambda *_: look_again.set(), slim=_slim)
    revocations = Reflector(kube, one, on_change=lambda *_: look_again.set())

    async def ask(review: dict[str, Any]) -> dict[str, Any]:
        return await kube.raw("POST", _REVIEWS, review)

    def voided() -> dict[str, str]:
        return (revocations.get(settings.namespace, REVOCATIONS) or {}).get("data") or {}

    access = Access(runners, voided, lambda: keys.ring, ask)
    proxy = Proxy(Gateway(access, settings.preview))

    def not_ready() -> str | None:
        if not (runners.synced.is_set() and revocations.synced.is_set()):
            return "has not read runners and revocations yet"
        if not keys.ring["keys"]:
            return "has no keys yet"
        return "draining" if proxy.draining else None

    async with AsyncExitStack() as stack:
        stack.push_async_callback(await _serve_health(options, not_ready))
        work = (runners.run(), revocations.run(), _reload(keys), _sweep(proxy, access, look_again))
        tasks = [asyncio.create_task(task) for task in work]
        stack.push_async_callback(_cancel, tasks)
        await _first([asyncio.create_task(runners.synced.wait())], tasks)
        await _first([asyncio.create_task(revocations.synced.wait())], tasks)
        server = await asyncio.get_running_loop().create_server(proxy.protocol, options.host, options.port, backlog=1024)
        _LOG.info("serving *.%s on port %d", settings.preview.base_domain, options.port)
        await _first([asyncio.create_task(stop.wait())], tasks)
        _LOG.info("draining for %.0f s", options.drain_seconds)
        proxy.draining = True  # not ready, but still listening until every node knows
        await asyncio.sleep(options.drain_seconds)
        server.close()
        await proxy.drain(options.drain_seconds)


def _slim(found: dict[str, Any]) -> dict[str, Any]:
    """What the gateway reads of a SandboxRunner."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    return {
        "metadata": {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")},
        "spec": {key: spec[key] for key in ("operatingMode",) if key in spec},
        "status": {"conditions": [c for c in status.get("conditions") or () if c.get("type") == "Ready"]},
    }


async def _sweep(proxy: Proxy, access: Access, look_again: asyncio.Event) -> None:
    """Ends what outlives its right: at once when runners or revocations change, else within RIGHT_SECONDS."""
    while True:
        try:
            async with asyncio.timeout(RIGHT_SECONDS):
                await look_again.wait()
        except TimeoutError:
            for claims in {client.session for client in proxy.clients if isinstance(client.session, Claims)}:
                try:
                    await access.allowed(claims)
                except (kube_errors.ApiError, aiohttp.ClientError, TimeoutError) as error:
                    _LOG.warning("cannot ask whether %s may still see a preview: %s", claims.user, error)
        look_again.clear()

        def over(session: object) -> bool:
            return isinstance(session, Claims) and (
                access.void(session) is not None or access.runner(session) is None or access.denied(session)
            )

        if ended := proxy.end_sessions(over):
            _LOG.info("ended %d open connections whose session is over", ended)


async def _reload(keys: KeyFile) -> None:
    while True:
        await asyncio.sleep(_RELOAD_SECONDS)
        keys.load()


async def _first(awaited: list[asyncio.Task[Any]], background: list[asyncio.Task[None]]) -> None:
    """Until ``awaited`` is done; a background task that ended before is raised."""
    done, _ = await asyncio.wait([*awaited, *background], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    if not any(task in done for task in awaited):
        raise RuntimeError("a background task ended")


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _serve_health(options: Options, not_ready: Any) -> Any:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        why = not_ready()
        return web.Response(status=503 if why else 200, text=f"{why or 'ok'}\n")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.health_port).start()
    return runner.cleanup
