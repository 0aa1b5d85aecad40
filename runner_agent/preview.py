"""The preview port: all that arrives goes to the app on loopback; while it does not answer, a page says why and looks again.

Reached by the API server and the gateway only (network policy); no credential of anybody passes here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence

from runner_agent import doorkeeper, empty_page_script, frameworks, injection, preview_page, probe, reload_script
from runner_agent.activity import Activity
from runner_agent.host_check import Worlds
from runner_agent.injection import Script
from runner_agent.install import LABEL as INSTALL
from runner_agent.logs import LogBook
from runner_agent.page_reloads import MOST_WAITING, PageReloads
from runner_agent.preview_heads import OWN_PORTS, PORT_HEADER, public_origin, response_of, rewritten
from runner_agent.process import Process
from runner_agent.settings import WEB, Settings
from runner_agent.supervisor import Supervisor
from sandbox_protocol import names, waiting_page
from sandbox_protocol.errors import StatusError
from sandbox_protocol.http1 import Head, encode_response
from sandbox_protocol.http1_memo import Memo
from sandbox_protocol.http1_proxy import Proxy
from sandbox_protocol.http1_routing import HANGS, Address, Forward, Reply

RELOAD_SECONDS = 1
SCRIPTS = reload_script.SCRIPT + empty_page_script.SCRIPT
HANG_SECONDS = (10.0, 30.0, 60.0, 120.0)
"""For a page to begin; the next try has more time, as the app may just be slow: a first compilation takes half a minute."""
_HANGING = 64
"""Pages whose last tries are remembered."""
HOLD_SECONDS = 2.0
"""For a restart of ours: what most apps need for it. A request that waits longer is better told why."""
_MOST_HELD = 64
"""Requests of all ports held at once; each may bring 128 kB of its body. The next one is answered with the page."""
_HOLD_LOOK_SECONDS = 0.05
_REMEMBERED = 64
"""Heads of each direction: a hundred files of one page share a few, and every pod pays for them."""
_MAX_CONNECTIONS = 1024
_PLACES = doorkeeper.Places(own_pod=32)
_UNPRIVILEGED = 1024
_OF_A_SERVICE = b".svc:%d" % names.PREVIEW_PORT
_LINES_READ = 200
"""Of the log, for a page that shows 40 of them: an error may lie above what was printed after it."""


class Preview:
    """Routes one request; the proxy does the rest."""

    def __init__(
        self, settings: Settings, supervisor: Supervisor, logbook: LogBook, activity: Activity, reloads: PageReloads
    ) -> None:
        self._activity = activity
        self._settings = settings
        self._supervisor = supervisor
        self._logbook = logbook
        self._reloads = reloads
        self._worlds = Worlds()
        self._held = 0
        self._hung: Memo[tuple[int, bytes], int] = Memo(_HANGING)

    async def __call__(self, request: Head, peer: str) -> Forward | Reply:
        ours = injection.is_ours(request.target, request)
        if not ours:  # a page that waits for news is no visit
            self._activity.visited_from(peer)
        try:
            port = self._port(request)
        except StatusError as error:
            return _status(request, error)
        if ours:
            return await self._own(request, port)
        process = self._supervisor.serving(port)
        if process is not None and process.restarting_by_us:
            await self._hold(port)
        await self._supervisor.look(port)
        return await self._forward(request, port, process, peer)

    async def _forward(self, request: Head, port: int, process: Process | None, peer: str) -> Forward:
        address, framework, inside = self._address(port), "", False
        command = () if process is None else process.command
        if process is not None and process.ready:
            framework = frameworks.word(process.framework, command)
            run, host = process.shown().since, request.get(b"host") or b""
            # the API server's proxy asks at the name of a Service, which is no place where the app is seen
            inside = host.endswith(_OF_A_SERVICE)
            world = "local" if inside else await self._worlds.learn(port, run, framework, address, host)
        else:
            world = self._worlds.known(port)
        scripts = self._scripts(request, port, framework)
        origin = public_origin(request)

        def still(target: bytes) -> bool:
            if injection.is_ours(target, request):
                return False  # ours, though its headers are those of what the app was asked for
            self._activity.visited_from(peer)
            same = process is None or (process.command is command and not process.restarting_by_us)
            return same and self._address(port) == address and (inside or self._worlds.known(port) == world)

        in_public = response_of(address[1], origin)

        def answered(response: Head) -> bytes:
            if response.status == 101 or (response.get(b"content-type") or b"").lower().startswith(b"text/event-stream"):
                self._reloads.connected(port)
            return in_public(response)

        page = (port, request.target)
        tries = self._hung.get(page) or 0

        def unavailable(asked: Head, why: str) -> Reply:
            if why is not HANGS:
                return self._waiting(asked, port, why)
            self._hung.put(page, tries + 1)
            return self._waiting(asked, port, why, hung=HANG_SECONDS[min(tries, len(HANG_SECONDS) - 1)])

        return Forward(
            address,
            rewritten(request, address[1], world, framework, page=bool(scripts)),
            answered,
            unavailable,
            still=still,
            change=(lambda response: injection.injected(response, scripts, origin)) if scripts else None,
            retry=lambda: self._again(port, process),
            # not one that is sent (POST): whoever looks again would send it twice, and its answer would be lost
            hangs=HANG_SECONDS[min(tries, len(HANG_SECONDS) - 1)] if injection.asks_for_page(request) else None,
        )

    # Scripts of ours in its pages

    def _scripts(self, request: Head, port: int, framework: str) -> tuple[Script, ...]:
        if not injection.wants_scripts(request):
            return ()
        named = request.tokens(injection.HEADER)
        if b"reload" not in named:
            return ()
        seen = (b"data-seen", self._reloads.mark(port).encode())
        follows = ((b"data-follows", b"1"),) if frameworks.reloads_pages(framework) else ()
        return (Script(injection.PATH + b"reload.js", (seen, *follows)),)

    async def _own(self, request: Head, port: int) -> Reply:
        path, _, query = request.target.removeprefix(injection.PATH).partition(b"?")
        if path == b"reload.js" and request.method == b"GET":
            return _reply(request, 200, b"text/javascript; charset=utf-8", SCRIPTS, retry=False)
        if path == b"changed" and request.method == b"GET" and query.startswith(b"seen="):
            question = dict(part.partition(b"=")[::2] for part in query.split(b"&"))
            seen, age, asked_at = question[b"seen"].decode("latin-1"), question.get(b"age", b""), time.monotonic()
            mark = self._reloads.mark(port) if self._reloads.is_new(port, seen) else await self._reloads.wait(port, seen)
            if mark is None:
                return _status(request, StatusError(503, f"{MOST_WAITING} pages wait already", retry_after=5))
            new = self._reloads.is_new(port, seen)
            # of a page of so many milliseconds: a client of its own that is not connected yet does not hear of an edit
            begun = asked_at - (int(age) / 1000 if age.isdigit() and len(age) < 12 else 0)
            missed = bool(age) and not self._reloads.hears(port, begun, synced=new)
            body = json.dumps({"mark": mark, "new": new, "missed": missed}).encode()
            return _reply(request, 200, b"application/json", body, retry=False)
        return _status(request, StatusError(404, "nothing of the preview's own is here"))

    # Restarts

    async def _hold(self, port: int) -> None:
        """Until the app is ready again, or not within HOLD_SECONDS. The request's body stays in the connection meanwhile."""
        process = self._supervisor.serving(port)
        if process is None or self._held >= _MOST_HELD:
            return
        self._held += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HOLD_SECONDS):
                    while not process.ready and not process.dead:  # noqa: ASYNC110 - the process tells nobody
                        await asyncio.sleep(_HOLD_LOOK_SECONDS)
        finally:
            self._held -= 1

    async def _again(self, port: int, process: Process | None) -> Address | None:
        """Where to try once more when nothing listened: for an app that was ready a moment ago, and so restarts by itself or by
        us. Nobody waits for one that starts for the first time, or has failed."""
        if process is None or process.dead or not (process.ready or process.restarting_by_us) or self._held >= _MOST_HELD:
            return None
        self._held += 1
        try:
            loop = asyncio.get_running_loop()
            end = loop.time() + HOLD_SECONDS
            while loop.time() < end and not process.dead:
                await asyncio.sleep(_HOLD_LOOK_SECONDS)
                address = self._address(port)
                if await probe.accepts(address[0], address[1]):
                    return address
            return None
        finally:
            self._held -= 1

    def _address(self, port: int) -> Address:
        """Where the app is really; PORT on loopback while nothing listens, so that the connection's failure is told."""
        where = self._supervisor.where(port)
        if where is None:
            return "127.0.0.1", port
        return (where.host, where.port, probe.unverified()) if where.tls else (where.host, where.port)

    def _port(self, request: Head) -> int:
        values = list(request.all(PORT_HEADER))
        if not values:
            return self._settings.app.port
        given = values[0]
        if len(values) > 1 or not given.isdigit() or len(given) > 5 or not _UNPRIVILEGED <= int(given) <= 65535:
            raise StatusError(400, f"one port between {_UNPRIVILEGED} and 65535 is needed")
        if int(given) in OWN_PORTS:
            raise StatusError(403, f"port {int(given)} belongs to the runner's agent")
        return int(given)

    def _waiting(self, request: Head, port: int, why: str, *, hung: float | None = None) -> Reply:
        process = self._supervisor.serving(port)
        if process is not None:
            process.doubt()
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


async def start_preview(router: Preview, port: int, *, by_name: bool = False) -> PreviewServer:
    """Listens on every address of the pod; ``by_name`` as `doorkeeper.listen` has it."""
    proxy = Proxy(router, max_clients=_MAX_CONNECTIONS, remember=_REMEMBERED)
    loop = asyncio.get_running_loop()
    doors = doorkeeper.listen(port, _PLACES, by_name=by_name)
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


def _status(request: Head, error: StatusError) -> Reply:
    return _reply(
        request, error.code, b"application/json", json.dumps(error.body()).encode() + b"\n", retry=error.retry_after is not None
    )


def _reply(request: Head, code: int, kind: bytes, body: bytes, *, retry: bool) -> Reply:
    headers = [(b"Content-Type", kind), (b"Content-Length", b"%d" % len(body)), (b"Cache-Control", b"no-store")]
    headers.append((b"Content-Security-Policy", waiting_page.CONTENT_SECURITY_POLICY))
    if retry:
        headers.append((b"Retry-After", b"%d" % RELOAD_SECONDS))
    reason = {200: b"OK", 400: b"Bad Request", 403: b"Forbidden", 404: b"Not Found"}.get(code, b"Service Unavailable")
    head = encode_response(code, reason, headers)
    return Reply(head if request.method == b"HEAD" else head + body)
