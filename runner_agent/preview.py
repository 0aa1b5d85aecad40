"""The preview port: all that arrives goes to the app on loopback; while it does not answer, a page says why and looks again.

Reached by the API server and the gateway only (network policy); no credential of anybody passes here.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

from runner_agent import doorkeeper, preview_page
from runner_agent.activity import Activity
from runner_agent.install import LABEL as INSTALL
from runner_agent.logs import LogBook
from runner_agent.settings import WEB, Settings
from runner_agent.supervisor import Supervisor
from sandbox_protocol import names, waiting_page
from sandbox_protocol.errors import StatusError
from sandbox_protocol.http1 import Head, encode_block, encode_response
from sandbox_protocol.http1_proxy import Proxy
from sandbox_protocol.http1_routing import Forward, Reply

PORT_HEADER = b"x-sandbox-port"
RELOAD_SECONDS = 1
_OWN_PORTS = frozenset({names.CONTROL_PORT, names.LAUNCHER_PORT, names.PREVIEW_PORT})
_FORWARDED = frozenset([b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"])
_ORIGIN = re.compile(rb"[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)
_REMEMBERED = 64
"""Heads of each direction: a hundred files of one page share a few, and every pod pays for them."""
_MAX_CONNECTIONS = 1024
_PLACES = doorkeeper.Places(own_pod=32)
_UNPRIVILEGED = 1024
_LINES_READ = 200
"""Of the log, for a page that shows 40 of them: an error may lie above what was printed after it."""


class Preview:
    """Routes one request; the proxy does the rest."""

    def __init__(self, settings: Settings, supervisor: Supervisor, logbook: LogBook, activity: Activity) -> None:
        self._activity = activity
        self._settings = settings
        self._supervisor = supervisor
        self._logbook = logbook

    async def __call__(self, request: Head, peer: str) -> Forward | Reply:
        self._activity.visited_from(peer)
        try:
            port = self._port(request)
        except StatusError as error:
            return _status(request, error)
        address = self._address(port)

        def still(_: bytes) -> bool:
            self._activity.visited_from(peer)
            return self._address(port) == address

        return Forward(
            address,
            rewritten(request, port),
            response_of(port),
            lambda asked, why: self._waiting(asked, port, why),
            still=still,
        )

    def _address(self, port: int) -> tuple[str, int]:
        process = self._supervisor.serving(port)
        return process.host if process is not None else "127.0.0.1", port

    def _port(self, request: Head) -> int:
        values = list(request.all(PORT_HEADER))
        if not values:
            return self._settings.app.port
        given = values[0]
        if len(values) > 1 or not given.isdigit() or len(given) > 5 or not _UNPRIVILEGED <= int(given) <= 65535:
            raise StatusError(400, f"one port between {_UNPRIVILEGED} and 65535 is needed")
        if int(given) in _OWN_PORTS:
            raise StatusError(403, f"port {int(given)} belongs to the runner's agent")
        return int(given)

    def _waiting(self, request: Head, port: int, why: str, *, hung: float | None = None) -> Reply:
        look = self._look(port, why, hung)
        page = preview_page.page(look, time.time(), request.id)
        if not wants_page(request):
            message = look.message if look.process and not look.ready and hung is None else page.message
            return _status(request, StatusError(503, f"{page.title}: {message}", retry_after=RELOAD_SECONDS))
        return _reply(request, 503, b"text/html; charset=utf-8", page.html(), retry=True)

    def _look(self, port: int, why: str, hung: float | None) -> preview_page.Look:
        process = self._supervisor.serving(port)
        if process is None:
            return preview_page.Look(port, lines=self._logbook.last_lines(_LINES_READ, WEB), why=why, hung=hung)
        now, record = process.shown(), self._supervisor.install_json()
        reason, message = now.reason or now.state, now.message or why
        if process.name == WEB and not process.ready:
            condition = self._supervisor.condition()
            reason, message = condition["reason"], condition["message"]
        installs = reason in ("Installing", "InstallFailed")
        return preview_page.Look(
            port,
            process.name,
            web=process.name == WEB,
            ready=process.ready,
            state=now.state,
            reason=reason,
            message="the log shows how far it is" if reason == "Installing" else message,
            since=now.since,
            command=" ".join(record["command"]) if installs else process.command_shown,
            lines=self._logbook.last_lines(_LINES_READ, INSTALL if installs else process.name),
            install_failures=record.get("failures", 0),
            install_lines=record.get("lines", ()),
            why=why,
            hung=hung,
        )


def wants_page(request: Head) -> bool:
    """Whether a person looks at the answer: a browser goes to a page, or, without word of that, HTML is taken."""
    return b"text/html" in (request.get(b"accept") or b"")


async def start_preview(
    settings: Settings, supervisor: Supervisor, logbook: LogBook, activity: Activity, *, by_name: bool = False
) -> PreviewServer:
    """Listens on every address of the pod; ``by_name`` as `doorkeeper.listen` has it."""
    router = Preview(settings, supervisor, logbook, activity)
    proxy = Proxy(router, max_clients=_MAX_CONNECTIONS, remember=_REMEMBERED)
    loop = asyncio.get_running_loop()
    doors = doorkeeper.listen(settings.preview_port, _PLACES, by_name=by_name)
    return PreviewServer(
        [await loop.create_server(proxy.protocol, sock=door, backlog=doorkeeper.BACKLOG) for door in doors], proxy
    )


class PreviewServer:
    def __init__(self, servers: Sequence[asyncio.Server], proxy: Proxy) -> None:
        self._servers = servers
        self._proxy = proxy

    @property
    def port(self) -> int:
        return int(self._servers[0].sockets[0].getsockname()[1])

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        self._proxy.close()


def rewritten(request: Head, port: int) -> bytes:
    """The header block as the app sees it. Host becomes ``localhost:<port>``, which every dev server accepts.

    A request that says to come from the preview's own origin is shown one world: Origin and Referer become that local address,
    and no X-Forwarded-Host or -Proto contradicts it, so a framework's check against forgery passes whatever it compares
    (Django: Origin and Host; Rails and Next.js: Origin and X-Forwarded-Host). A foreign Origin stays foreign. All others keep
    what the browser asked for in X-Forwarded-Host, from which frameworks make absolute links.
    """
    host = request.get(b"host") or b""
    local = b"localhost:%d" % port
    own = _is_at(request.get(b"origin") or b"", host)
    headers = []
    for name, value in request.end_to_end(lambda name: name == PORT_HEADER or (own and name in _FORWARDED)):
        match name.lower():
            case b"host":
                headers.append((name, local))
            case b"origin" if own:
                headers.append((name, b"http://" + local))
            case b"referer" if own and _is_at(value, host):
                headers.append((name, b"http://" + local + value[len(_origin(value)) :]))
            case _:
                headers.append((name, value))
    if not own and request.get(b"x-forwarded-host") is None:
        headers.append((b"X-Forwarded-Host", host))
    return encode_block([*headers, *_upgrade(request)])


def _origin(url: bytes) -> bytes:
    match = _ORIGIN.match(url)
    return match[0] if match is not None else b""


def _is_at(url: bytes, host: bytes) -> bool:
    return _origin(url).partition(b"://")[2].lower() == host.lower()


@lru_cache(32)
def response_of(port: int) -> Callable[[Head], bytes]:
    """The response head of the app on ``port``; the same function for the same port, as equal heads are remembered with it."""
    local = re.compile(rb"(?:https?:)?//(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\]):%d(?=[/?#]|$)" % port, re.IGNORECASE)

    def response(head: Head) -> bytes:
        headers = [
            (name, _from_here(value, local) if name.lower() == b"location" else value) for name, value in head.end_to_end()
        ]
        return encode_response(head.status, head.reason, [*headers, *(_upgrade(head) if head.status == 101 else ())])

    return response


def _from_here(location: bytes, local: re.Pattern[bytes]) -> bytes:
    """A redirect to the address under which the app knows itself leads the browser to the place that it asked: a path on the same
    host. One slash only: two would name another host."""
    here = local.match(location)
    if here is None:
        return location
    rest = location[here.end() :]
    return b"/" + rest.lstrip(b"/\\")


def _upgrade(head: Head) -> list[tuple[bytes, bytes]]:
    protocol = head.upgrade
    return [(b"Connection", b"Upgrade"), (b"Upgrade", protocol)] if protocol else []


def _status(request: Head, error: StatusError) -> Reply:
    return _reply(
        request, error.code, b"application/json", json.dumps(error.body()).encode() + b"\n", retry=error.retry_after is not None
    )


def _reply(request: Head, code: int, kind: bytes, body: bytes, *, retry: bool) -> Reply:
    headers = [(b"Content-Type", kind), (b"Content-Length", b"%d" % len(body)), (b"Cache-Control", b"no-store")]
    headers.append((b"Content-Security-Policy", waiting_page.CONTENT_SECURITY_POLICY))
    if retry:
        headers.append((b"Retry-After", b"%d" % RELOAD_SECONDS))
    reason = {400: b"Bad Request", 403: b"Forbidden"}.get(code, b"Service Unavailable")
    head = encode_response(code, reason, headers)
    return Reply(head if request.method == b"HEAD" else head + body)
