"""The control port: routes, the token in front of them, and the one place where a failure becomes an answer."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from runner_agent.activity import Activity
from runner_agent.auth import Credentials
from runner_agent.in_flight import InFlight
from runner_agent.sync import SyncService
from runner_agent.workspace import Workspace
from sandbox_protocol.errors import StatusError

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OPEN = frozenset({"/healthz", "/readyz"})
_GRACE_MAX = 600
"""Seconds. A pod's own end would wait no longer for us."""
_NAME_MAX = 32

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Supervisor(Protocol):
    """What the control port asks of the app's process; :class:`runner_agent.supervisor.Supervisor` is one."""

    async def restart(self, grace: float | None, name: str | None = None) -> dict[str, Any]: ...
    def readiness(self) -> tuple[bool, str]: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes lead to."""

    workspace: Workspace
    sync: SyncService
    supervisor: Supervisor
    serve_log: Handler
    status: Callable[[], Awaitable[dict[str, Any]]]
    activity: Activity


def build(services: Services, credentials: Credentials) -> web.Application:
    routes = _Routes(services)
    app = web.Application(middlewares=[_edge(credentials, services.activity)])
    app.router.add_get("/healthz", routes.healthz)
    app.router.add_get("/readyz", routes.readyz)
    app.router.add_post("/v1/sync", services.sync.post)
    app.router.add_get("/v1/sync", services.sync.get, allow_head=False)
    app.router.add_post("/v1/restart", routes.restart)
    app.router.add_get("/v1/log", services.serve_log, allow_head=False)
    app.router.add_get("/v1/status", routes.status, allow_head=False)
    return app


class _Routes:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def healthz(self, _: web.Request) -> web.Response:
        if why := self._services.workspace.broken:
            return web.Response(status=503, text=f"the workspace's volume failed: {why}\n")
        return web.Response(text="ok\n")

    async def readyz(self, _: web.Request) -> web.Response:
        ready, why = self._services.supervisor.readiness()
        return web.Response(status=200 if ready else 503, text=f"{why or 'ok'}\n")

    async def restart(self, request: web.Request) -> web.Response:
        grace, process = _restart(await _small_json(request))
        return web.json_response(await self._services.supervisor.restart(grace, process))

    async def status(self, _: web.Request) -> web.Response:
        return web.json_response(await self._services.status())


async def _small_json(request: web.Request) -> Any:
    body = await request.content.read(65537)
    if len(body) > 65536:
        raise StatusError(413, "the body has more than 65536 bytes")
    try:
        return json.loads(body or b"{}")
    except ValueError as error:
        raise StatusError(400, f"the body is not JSON: {error}") from error


def _restart(body: Any) -> tuple[float | None, str | None]:
    """(grace in seconds, name of a process or None for all)."""
    if not isinstance(body, dict) or body.keys() - {"gracePeriodSeconds", "process", "kind", "apiVersion"}:
        raise StatusError(400, 'the body must be {} or {"gracePeriodSeconds": <seconds>, "process": <name>}')
    grace, process = body.get("gracePeriodSeconds"), body.get("process")
    if process is not None and (not isinstance(process, str) or len(process) > _NAME_MAX):
        raise StatusError(400, f"process must be a name of at most {_NAME_MAX} characters")
    if grace is None:
        return None, process
    if isinstance(grace, bool) or not isinstance(grace, int | float) or not 0 <= grace <= _GRACE_MAX:
        raise StatusError(400, f"gracePeriodSeconds must be a number from 0 to {_GRACE_MAX}")
    return float(grace), process


# -- the edge ---------------------------------------------------------------------------------------------------------------


def _edge(credentials: Credentials, activity: Activity) -> Any:
    """Request id, token, place, answer, one line of log. Whatever a handler raises is answered here and nowhere else."""
    in_flight = InFlight()

    @web.middleware
    async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        sent = request.headers.get("X-Request-Id", "")
        identity = sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(8)
        response: web.StreamResponse | None = None
        try:
            if request.path not in _OPEN:
                await credentials.check(request.headers.get("Authorization"))
                if request.path != "/v1/status":
                    activity.touch()
            with in_flight.entered(request) if request.path not in _OPEN else contextlib.nullcontext():
                response = await handler(request)
        except Exception as error:
            response = failure(error, identity)
        finally:
            if request.path not in _OPEN or response is None or response.status != 200:
                _access(request, response, identity, started)
        if not response.prepared:
            response.headers["X-Request-Id"] = identity
        return response

    return edge


def failure(error: Exception, identity: str) -> web.Response:
    """The answer to an exception; one that nobody foresaw says no more than where to look."""
    if isinstance(error, StatusError):
        status = error
    elif isinstance(error, web.HTTPMethodNotAllowed):
        status = StatusError(405, f"{error.method} is not allowed here; {', '.join(sorted(error.allowed_methods))} are")
    elif isinstance(error, web.HTTPException):
        status = StatusError(error.status, "there is nothing here" if error.status == 404 else error.reason)
    elif isinstance(error, ConnectionError):
        status = StatusError(400, "the connection broke before the body was complete. Nothing was changed.")
    else:
        log.error("request %s failed", identity, exc_info=error)
        status = StatusError(500, f"the agent failed; its log says why (request {identity})")
    response = web.json_response(status.body(), status=status.code, headers=status.headers)
    if status.retry_after is not None:
        response.headers["Retry-After"] = str(status.retry_after)
    if status.code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _access(request: web.Request, response: web.StreamResponse | None, identity: str, started: float) -> None:
    """No query: it may name files. No headers: they hold the token."""
    fields = {
        "request": identity,
        "method": request.method,
        "path": request.path[:200],
        "status": response.status if response is not None else 499,  # the caller went away
        "ms": round((time.monotonic() - started) * 1000, 1),
        "peer": request.remote,
    }
    log.info("access", extra={"fields": fields})
