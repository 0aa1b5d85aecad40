"""One request after the other: from its host to a runner, from its session to a right, from there to the agent's preview port."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from sandbox_operator.model.preview_token import Claims, TokenError
from sandbox_operator.preview import audit, pages, rewrite, session, siblings
from sandbox_operator.preview.access import Access, RightUnknownError, Standing, suspended
from sandbox_operator.settings import Preview
from sandbox_protocol import names
from sandbox_protocol.errors import StatusError
from sandbox_protocol.http1 import Head
from sandbox_protocol.http1_memo import Memo
from sandbox_protocol.http1_routing import Address, Forward, Load, Reply
from sandbox_protocol.refs import Refs, from_public_host

RESOLVED_SECONDS = 10.0
"""A Service keeps its address for life; only one that was deleted and made again gets another."""
RUNNER_EXCHANGES = 256
"""Of one runner at once, open WebSockets and event streams included: a browser opens 6 connections and some sockets."""
_WHY = {
    "absent": "A preview is opened with a signed URL, and this browser has no session here.",
    "expired": "The preview session has expired.",
    "revoked": "The preview was revoked.",
}
REASONS = ("host", "session", "gone", "right", "right-unknown", "suspended", "crowded")
"""Why a request reaches no app: none of our hosts, no good session, no such runner, no right, nobody to ask, asleep, too many."""
_RESOLVED = 4096
_HOSTS = 4096
_LOADS = 8192


class Resolver:
    """Addresses of preview Services by cluster DNS, remembered for seconds: a lookup per connection would double its cost."""

    def __init__(self) -> None:
        self._known: Memo[str, tuple[float, str]] = Memo(_RESOLVED)

    async def __call__(self, host: str) -> Address:
        """OSError when there is no such name."""
        known = self._known.get(host)
        now = time.monotonic()
        if known is None or known[0] < now:
            found = await asyncio.get_running_loop().getaddrinfo(host, names.PREVIEW_PORT, type=socket.SOCK_STREAM)
            known = (now + RESOLVED_SECONDS, str(found[0][4][0]))
            self._known.put(host, known)
        return known[1], names.PREVIEW_PORT


@dataclass(frozen=True, slots=True)
class Site:
    """What a public host stands for."""

    host: str
    refs: Refs
    port: int


class Gateway:
    """The router of the proxy. ``resolve`` finds the address of a preview Service."""

    def __init__(self, access: Access, public: Preview, resolve: Callable[[str], Awaitable[Address]] | None = None) -> None:
        self._access = access
        self._public = public
        self._resolve = resolve or Resolver()
        self._sites: Memo[bytes, Site] = Memo(_HOSTS)
        self._loads: Memo[str, Load] = Memo(_LOADS)
        self.begun = 0
        """Signed URLs swapped for a session."""
        self.refused = dict.fromkeys(REASONS, 0)

    async def __call__(self, request: Head, peer: str) -> Forward | Reply:
        site = self._site(request.get(b"host") or b"")
        if site is None:
            self.refused["host"] += 1
            return pages.answer(request, StatusError(404, "No preview has this address."), "No such preview")
        origin = siblings.origin_of(request, site.refs.uid, site.host, self._public)
        if origin is None:
            return await self._decide(request, site, peer)
        if session.is_preflight(request):
            return siblings.preflight(request, origin)
        decision = await self._decide(request, site, peer)
        if isinstance(decision, Reply):
            return siblings.told(decision, origin)
        unavailable = decision.unavailable
        return replace(
            decision,
            rewrite=siblings.response_for(origin),
            unavailable=lambda asked, why: siblings.told(unavailable(asked, why), origin),
        )

    async def _decide(self, request: Head, site: Site, peer: str) -> Forward | Reply:
        token, target = session.split_token(request.target)
        if token is not None:
            return await self._begin(request, site, token, target, peer)
        try:
            claims = self._claims(request, site.host)
        except TokenError as error:
            if session.is_preflight(request):
                return await self._preflight(request, site, peer)
            return self._no_session(request, str(error))
        refused = await self._refusal(request, claims, peer)
        if refused is not None:
            return refused
        return await self._forward(request, site, claims, peer)

    def _site(self, host: bytes) -> Site | None:
        site = self._sites.get(host)
        if site is None:
            name = host.decode("latin-1").lower().partition(":")[0]
            try:
                refs, port = from_public_host(name, self._public.base_domain)
            except ValueError:
                return None
            site = Site(name, refs, port)
            self._sites.put(host, site)
        return site

    async def _begin(self, request: Head, site: Site, token: str, target: bytes, peer: str) -> Reply:
        """Swap a token for a cookie."""
        if request.method not in (b"GET", b"HEAD"):
            return pages.answer(request, StatusError(405, "Open the signed preview URL with GET."), "Not like this")
        try:
            claims = self._access.session(token, site.host)
            cookie = session.set_cookie(token, claims.expires - int(self._access.clock()))
        except TokenError as error:
            try:  # a bookmark of a signed URL: its token is over, and the session may be another one's
                claims, cookie = self._claims(request, site.host), None
            except TokenError:
                return self._no_session(request, str(error))
        refused = await self._refusal(request, claims, peer)
        if refused is not None:
            return refused
        if cookie is not None:
            self.begun += 1
            audit.session("session begun", request, peer, claims)
            # only a browser on its way to a page goes round: it keeps cookies, and whoever calls an API asked for one place
            if siblings.is_hop(target) or (claims.ports and request.get(b"sec-fetch-mode") == b"navigate"):
                target = siblings.next_place(claims, token, target, self._public)
        return Reply(rewrite.redirect(target, cookie))

    def _claims(self, request: Head, host: str) -> Claims:
        for value in request.all(b"cookie"):
            token = session.cookie_token(value)
            if token is not None:
                return self._access.session(token, host)
        raise TokenError("absent")

    def _no_session(self, request: Head, why: str) -> Reply:
        self.refused["session"] += 1
        error = StatusError(
            401, f"{_WHY.get(why, 'The preview session is not good.')} Ask for a new URL: kubectl sandbox preview NAME."
        )
        return pages.answer(request, error, "This preview needs a signed URL")

    async def _refusal(self, request: Head, claims: Claims, peer: str) -> Reply | None:
        runner = self._access.runner(claims)
        if runner is None:
            self.refused["gone"] += 1
            return pages.answer(
                request, StatusError(404, "This sandbox does not exist any more."), "The sandbox is gone", failed=True
            )
        try:
            allowed = await self._access.allowed(claims)
        except RightUnknownError:
            self.refused["right-unknown"] += 1
            error = StatusError(503, "The cluster does not say whether you may see this; it is asked again.", retry_after=2)
            return pages.answer(request, error, "One moment", reload=True)
        if not allowed:
            self.refused["right"] += 1
            audit.session("session refused: no right", request, peer, claims)
            error = StatusError(403, f"{claims.user} may no longer see previews of {claims.namespace}/{claims.name}.")
            return pages.answer(request, error, "Access was withdrawn", failed=True)
        if suspended(runner):
            self.refused["suspended"] += 1
            error = StatusError(503, "Its files are kept. Set spec.operatingMode to Running to wake it.", reason="Suspended")
            return pages.answer(request, error, "The sandbox is suspended", reload=True)
        return None

    async def _forward(self, request: Head, site: Site, claims: Claims, peer: str) -> Forward | Reply:
        def unavailable(asked: Head, why: str) -> Reply:
            runner = self._access.runner(claims)
            error = StatusError(503, explain(runner) or f"Its agent does not answer: {why}.", retry_after=pages.RELOAD_SECONDS)
            return pages.answer(asked, error, "The sandbox is not ready", reload=True)

        way = await self._way(request, site, peer, unavailable, claims.inject)
        if isinstance(way, Reply):
            return way
        address, block, load = way
        holds = Standing(self._access, claims).holds

        def still(target: bytes) -> bool:
            return session.PARAMETER not in target and load.open < RUNNER_EXCHANGES and holds()

        return Forward(address, block, rewrite.response, unavailable, claims, load, still=still)

    async def _preflight(self, request: Head, site: Site, peer: str) -> Forward | Reply:
        """A browser asks without cookies whether a page elsewhere may call the app; the app's own rules say. Whoever asks learns
        these rules and nothing else, see THREAT_MODEL.md G8."""

        def unavailable(asked: Head, why: str) -> Reply:
            return pages.answer(asked, StatusError(503, "The app does not answer.", retry_after=2), "The app does not answer")

        runner = self._access.runner_of(site.refs.uid)
        if runner is None or suspended(runner):
            return self._no_session(request, "absent")
        way = await self._way(request, site, peer, unavailable)
        if isinstance(way, Reply):
            return way
        address, block, load = way
        return Forward(address, block, rewrite.preflight, unavailable, None, load, head_only=True)

    async def _way(
        self, request: Head, site: Site, peer: str, unavailable: Callable[[Head, str], Reply], inject: tuple[str, ...] = ()
    ) -> tuple[Address, bytes, Load] | Reply:
        """To the agent: its address, the header block to send, and what counts the exchange; or why there is none now."""
        load = self._load(site)
        if load.open >= RUNNER_EXCHANGES:
            return self._crowded(request)
        try:
            address = await self._resolve(site.refs.preview_host)
        except OSError:
            return unavailable(request, "its address is not known yet")
        return address, rewrite.request(request, site.port, self._public.scheme, peer, inject), load

    def _crowded(self, request: Head) -> Reply:
        self.refused["crowded"] += 1
        text = f"{RUNNER_EXCHANGES} requests and open streams of this preview are under way, and no more may be."
        error = StatusError(429, f"{text} Close other tabs of it, or try again.", retry_after=2)
        return pages.answer(request, error, "Too many at once")

    def _load(self, site: Site) -> Load:
        load = self._loads.get(site.refs.uid)
        if load is None:
            load = Load()
            self._loads.put(site.refs.uid, load)
        return load


def explain(runner: dict[str, Any] | None) -> str:
    """The condition that keeps a runner from being Ready, in its own words; they decide nothing."""
    conditions = ((runner or {}).get("status") or {}).get("conditions") or ()
    for condition in conditions:
        if isinstance(condition, dict) and condition.get("type") == "Ready" and condition.get("status") != "True":
            return f"{condition.get('reason')}: {condition.get('message')}"[:300]
    return ""
