"""``python -m sandbox_operator preview``: puts the parts together, serves until SIGTERM, lets open answers end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox_operator import program
from sandbox_operator import settings as shared
from sandbox_operator.errors import SettingsError
from sandbox_operator.kube import resources, reviews
from sandbox_operator.kube.client import Kube, Selection
from sandbox_operator.kube.store import Reflector
from sandbox_operator.model.preview_keys import Ring
from sandbox_operator.model.preview_token import Claims
from sandbox_operator.preview import audit
from sandbox_operator.preview.access import Access
from sandbox_operator.preview.gateway import Gateway
from sandbox_operator.preview.metrics import CONTENT_TYPE, Metrics
from sandbox_protocol.http1_proxy import Proxy, listening_socket

_LOG = logging.getLogger(__name__)
_METADATA = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp")
REVOCATIONS = "preview-revocations"
# The kubelet writes a changed ConfigMap within about a minute; looking more often than this gains nothing.
_RELOAD_SECONDS = 10.0
_ROUND_SECONDS = 5.0
"""Between two looks at the rights of what is open; each is asked for when its answer is RIGHT_SECONDS old."""


@dataclass(frozen=True, slots=True)
class Options:
    """What only this program reads. ``drain_seconds`` pass between "not ready" and the end of listening."""

    host: str
    port: int
    health_port: int
    keys: Path
    drain_seconds: float
    max_clients: int
    log_requests: bool

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Options:
        try:
            return cls(
                host=environ.get("LISTEN_ADDRESS", "0.0.0.0"),  # noqa: S104 - the pod's only address
                port=int(environ.get("LISTEN_PORT", "8080")),
                health_port=int(environ.get("HEALTH_PORT", "8081")),
                keys=Path(environ.get("PREVIEW_KEYS_DIR", "/run/sandbox/preview-keys")) / "keys.json",
                drain_seconds=float(environ.get("SHUTDOWN_DELAY_SECONDS", "5")),
                max_clients=int(environ.get("MAX_CONNECTIONS", "4096")),
                log_requests=environ.get("LOG_REQUESTS", "false") == "true",
            )
        except ValueError as error:
            raise SettingsError(
                f"LISTEN_PORT, HEALTH_PORT, SHUTDOWN_DELAY_SECONDS and MAX_CONNECTIONS must be numbers: {error}"
            ) from error


class KeyFile:
    """The public ring in a mounted file. Empty until there is one: then no token proves anything."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ring: Ring = {"keys": []}
        self.on_change: Callable[[], None] | None = None

    def load(self) -> None:
        try:
            ring = json.loads(self._path.read_bytes())
            if not all(isinstance(key.get("kid"), str) for key in ring["keys"]):
                raise ValueError("a key without kid")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            _LOG.warning("going on with %d keys: %s", len(self.ring["keys"]), error)
            return
        if ring != self.ring:
            self.ring = ring
            if self.on_change is not None:
                self.on_change()


def main() -> int:
    return program.run("preview", _load)


def _load() -> program.Serve:
    settings, options = shared.load(), Options.load()
    return lambda kube, stop: serve(kube, settings, options, stop)


async def serve(kube: Kube, settings: shared.Settings, options: Options, stop: asyncio.Event) -> None:
    """Until ``stop`` is set. A background task that fails ends the program: a copy that nobody keeps would answer wrongly."""
    keys = KeyFile(options.keys)
    keys.load()
    one = Selection(resources.CONFIG_MAPS, settings.namespace, field_selector=f"metadata.name={REVOCATIONS}")
    look_again = asyncio.Event()

    def changed(*_: object) -> None:
        access.changed()
        look_again.set()

    keys.on_change = changed
    runners = Reflector(kube, Selection(resources.RUNNERS), on_change=changed, slim=_slim)
    revocations = Reflector(kube, one, on_change=changed)

    async def ask(review: dict[str, Any]) -> dict[str, Any]:
        return await kube.raw("POST", reviews.PATH, review)

    def voided() -> dict[str, str]:
        return (revocations.get(settings.namespace, REVOCATIONS) or {}).get("data") or {}

    access = Access(runners, voided, lambda: keys.ring, ask)
    gateway = Gateway(access, settings.preview)
    log = audit.request if options.log_requests else None
    proxy = Proxy(gateway, max_clients=options.max_clients, names_requests=True, log=log)

    def not_ready() -> str | None:
        if not (runners.synced.is_set() and revocations.synced.is_set()):
            return "has not read runners and revocations yet"
        if not keys.ring["keys"]:
            return "has no keys yet"
        return "draining" if proxy.draining else None

    async with AsyncExitStack() as stack:
        stack.push_async_callback(await _serve_health(options, not_ready, Metrics(proxy, gateway, access)))
        work = (runners.run(), revocations.run(), _reload(keys), _sweep(proxy, access, look_again))
        tasks = [asyncio.create_task(task) for task in work]
        stack.push_async_callback(program.cancel, tasks)
        await program.until(runners.synced, tasks)
        await program.until(revocations.synced, tasks)
        server = await asyncio.get_running_loop().create_server(proxy.protocol, sock=listening_socket(options.host, options.port))
        _LOG.info("serving *.%s on port %d", settings.preview.base_domain, options.port)
        await program.until(stop, tasks)
        _LOG.info("draining for %.0f s", options.drain_seconds)
        proxy.draining = True  # not ready, but still listening until every node knows
        await asyncio.sleep(options.drain_seconds)
        server.close()
        await proxy.drain(options.drain_seconds)


def _slim(found: dict[str, Any]) -> dict[str, Any]:
    """What the gateway reads of a SandboxRunner."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    return {
        "metadata": {key: metadata[key] for key in _METADATA if key in metadata},
        "spec": {key: spec[key] for key in ("operatingMode",) if key in spec},
        "status": {"conditions": [c for c in status.get("conditions") or () if c.get("type") == "Ready"]},
    }


async def _sweep(proxy: Proxy, access: Access, look_again: asyncio.Event) -> None:
    """Ends what outlives its right: at once when runners or revocations change, else within RIGHT_SECONDS and one round more."""
    loop = asyncio.get_running_loop()
    ask_at = loop.time() + _ROUND_SECONDS
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(ask_at):
                await look_again.wait()
        look_again.clear()
        if loop.time() >= ask_at:  # by the clock: changes may come faster than that for ever
            await _ask_again(proxy, access)
            ask_at = loop.time() + _ROUND_SECONDS
        if ended := proxy.end_sessions(lambda session: isinstance(session, Claims) and access.lost(session)):
            _LOG.info("ended %d open connections whose session is over", ended)


async def _ask_again(proxy: Proxy, access: Access) -> None:
    """For every user with something open, all at once: a silent API server must not hold up the others' end."""
    open_now = {client.session for client in proxy.clients if isinstance(client.session, Claims)}
    await asyncio.gather(*(access.allowed(claims) for claims in open_now), return_exceptions=True)


async def _reload(keys: KeyFile) -> None:
    while True:
        await asyncio.sleep(_RELOAD_SECONDS)
        keys.load()


async def _serve_health(options: Options, not_ready: Callable[[], str | None], metrics: Metrics) -> Callable[[], Awaitable[None]]:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        why = not_ready()
        return web.Response(status=503 if why else 200, text=f"{why or 'ok'}\n")

    async def counted(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", counted)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, options.host, options.health_port).start()
    return runner.cleanup
