"""The preview port: all that arrives goes to the app on loopback; while it does not answer, a page says why and looks again.

Reached by the API server and the gateway only (network policy); no credential of anybody passes here.
"""

from __future__ import annotations

import asyncio
import html
import json

from runner_agent.activity import Activity
from runner_agent.logs import LogBook
from runner_agent.process import Supervisor
from runner_agent.settings import Settings
from sandbox_protocol import names
from sandbox_protocol.errors import StatusError
from sandbox_protocol.http1 import Head, encode_request, encode_response
from sandbox_protocol.http1_proxy import Forward, Proxy, Reply

PORT_HEADER = b"x-sandbox-port"
RELOAD_SECONDS = 1
LAST_LINES = 10
_OWN_PORTS = frozenset({names.CONTROL_PORT, names.LAUNCHER_PORT, names.PREVIEW_PORT})
_UNPRIVILEGED = 1024
_LINE_CHARACTERS = 200
_PAGE_BYTES = 4096
"""It comes again every second, for as long as an install takes."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="{seconds}"><title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0 }}
main {{ max-width: 44rem; padding: 2rem }} h1 {{ font-size: 1.3rem; margin: 0 0 .5rem }} p {{ margin: 0; opacity: .8 }}
pre {{ font: 13px/1.4 ui-monospace, monospace; overflow: auto; padding: 1rem; border: 1px solid #8884; border-radius: 6px }}
</style></head><body><main><h1>{title}</h1><p>{message}</p>{lines}</main></body></html>
"""


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
        return Forward(
            (self._supervisor.app_host if port == self._settings.app.port else "127.0.0.1", port),
            rewritten(request, port),
            _response,
            lambda why: self._waiting(request, port, why),
        )

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

    def _waiting(self, request: Head, port: int, why: str) -> Reply:
        if port == self._settings.app.port:
            condition = self._supervisor.condition()
            title, message = _title(condition["reason"]), condition["message"].partition("\n")[0]
            if condition["status"] == "True":  # it answered a moment ago
                title, message = "The app does not answer", why
        else:
            title, message = f"Nothing answers on port {port}", why
        if b"text/html" not in (request.get(b"accept") or b""):
            return _status(request, StatusError(503, f"{title}: {message}", retry_after=RELOAD_SECONDS))
        lines = [line[:_LINE_CHARACTERS] for line in self._logbook.last_lines(LAST_LINES)]
        return _reply(request, 503, b"text/html; charset=utf-8", _page(title, message, lines), retry=True)


async def start_preview(settings: Settings, supervisor: Supervisor, logbook: LogBook, activity: Activity) -> PreviewServer:
    """Listens on every address of the pod."""
    proxy = Proxy(Preview(settings, supervisor, logbook, activity))
    server = await asyncio.get_running_loop().create_server(proxy.protocol, port=settings.preview_port, reuse_address=True)
    return PreviewServer(server, proxy)


class PreviewServer:
    def __init__(self, server: asyncio.Server, proxy: Proxy) -> None:
        self._server = server
        self._proxy = proxy

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()
        self._proxy.close()


def rewritten(request: Head, port: int) -> bytes:
    """The head as the app sees it. Host becomes ``localhost:<port>``, which every dev server accepts; an Origin that is the
    preview's own becomes the same, and a foreign one stays foreign. X-Forwarded-Host keeps what the browser asked for."""
    host = request.get(b"host") or b""
    local = b"localhost:%d" % port
    headers = []
    for name, value in request.end_to_end(lambda name: name == PORT_HEADER):
        match name.lower():
            case b"host":
                headers.append((name, local))
            case b"origin" if value.partition(b"://")[2].lower() == host.lower():
                headers.append((name, b"http://" + local))
            case _:
                headers.append((name, value))
    if request.get(b"x-forwarded-host") is None:
        headers.append((b"X-Forwarded-Host", host))
    return encode_request(request.method, request.target, [*headers, *_upgrade(request)])


def _response(head: Head) -> bytes:
    return encode_response(head.status, head.reason, [*head.end_to_end(), *(_upgrade(head) if head.status == 101 else ())])


def _upgrade(head: Head) -> list[tuple[bytes, bytes]]:
    protocol = head.upgrade
    return [(b"Connection", b"Upgrade"), (b"Upgrade", protocol)] if protocol else []


def _page(title: str, message: str, lines: list[str]) -> bytes:
    """At most _PAGE_BYTES: the oldest lines give way."""
    pre = f"<pre>{html.escape(chr(10).join(lines))}</pre>" if lines else ""
    words = {"title": html.escape(title), "message": html.escape(message[:300])}
    page = _PAGE.format(seconds=RELOAD_SECONDS, lines=pre, **words).encode()
    return page if len(page) <= _PAGE_BYTES or not lines else _page(title, message, lines[1:])


def _title(reason: str) -> str:
    return {
        "AwaitingFirstSync": "Waiting for the first files",
        "Installing": "Installing dependencies",
        "CrashLoop": "The app keeps crashing",
        "InstallFailed": "Dependencies could not be installed",
        "NoCommand": "Nothing to run yet",
    }.get(reason, "The app is starting")


def _status(request: Head, error: StatusError) -> Reply:
    return _reply(
        request, error.code, b"application/json", json.dumps(error.body()).encode() + b"\n", retry=error.retry_after is not None
    )


def _reply(request: Head, code: int, kind: bytes, body: bytes, *, retry: bool) -> Reply:
    headers = [(b"Content-Type", kind), (b"Content-Length", b"%d" % len(body)), (b"Cache-Control", b"no-store")]
    if retry:
        headers.append((b"Retry-After", b"%d" % RELOAD_SECONDS))
    reason = {400: b"Bad Request", 403: b"Forbidden"}.get(code, b"Service Unavailable")
    head = encode_response(code, reason, headers)
    return Reply(head if request.method == b"HEAD" else head + body)
