"""One request after the other: from its host to a runner, from its session to a right, from there to the agent's preview port."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from sandbox_operator.model.preview_token import Claims, TokenError
from sandbox_operator.preview import pages, rewrite, session
from sandbox_operator.preview.access import Access
from sandbox_operator.settings import Preview
from sandbox_protocol import names
from sandbox_protocol.errors import StatusError
from sandbox_protocol.http1 import Head
from sandbox_protocol.http1_proxy import Address, Forward, Reply
from sandbox_protocol.refs import Refs, from_public_host

RESOLVED_SECONDS = 10.0
"""A Service keeps its address for life; only one that was deleted and made again gets another."""
_RESOLVED = 4096


class Resolver:
    """Addresses of preview Services by cluster DNS, remembered for seconds: a lookup per connection would double its cost."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str]] = {}

    async def __call__(self, host: str) -> Address:
        """OSError when there is no such name."""
        known = self._known.get(host)
        now = time.monotonic()
        if known is None or known[0] < now:
            found = await asyncio.get_running_loop().getaddrinfo(host, names.PREVIEW_PORT, type=socket.SOCK_STREAM)
            known = (now + RESOLVED_SECONDS, str(found[0][4][0]))
            if len(self._known) >= _RESOLVED:
                self._known.clear()
            self._known[host] = known
        return known[1], names.PREVIEW_PORT


class Gateway:
    """The router of the proxy. ``resolve`` finds the address of a preview Service."""

    def __init__(self, access: Access, public: Preview, resolve: Any = None) -> None:
        self._access = access
        self._public = public
        self._resolve = resolve or Resolver()

    async def __call__(self, request: Head, peer: str) -> Forward | Reply:
        host = (request.get(b"host") or b"").decode("latin-1").lower().partition(":")[0]
        try:
            refs, port = from_public_host(host, self._public.base_domain)
        except ValueError:
            return pages.answer(request, StatusError(404, "No preview has this address."), "No such preview")
        token, target = session.split_token(request.target)
        if token is not None:
            return await self._begin(request, host, token, target)
        try:
            claims = self._claims(request, host)
        except TokenError as error:
            return self._no_session(request, str(error))
        refused = await self._refusal(request, claims)
        if refused is not None:
            return refused
        return await self._forward(request, refs, port, claims, peer)

    async def _begin(self, request: Head, host: str, token: str, target: bytes) -> Reply:
        """Swap a token for a cookie."""
        if request.method not in (b"GET", b"HEAD"):
            return pages.answer(request, StatusError(405, "Open the signed preview URL with GET."), "Not like this")
        try:
            claims = self._access.session(token, host)
        except TokenError as error:
            return self._no_session(request, str(error))
        refused = await self._refusal(request, claims)
        seconds = claims.expires - int(time.time())
        return refused or Reply(rewrite.redirect(target, session.set_cookie(token, seconds)))

    def _claims(self, request: Head, host: str) -> Claims:
        for value in request.all(b"cookie"):
            token = session.cookie_token(value)
            if token is not None:
                return self._access.session(token, host)
        raise TokenError("absent")

    def _no_session(self, request: Head, why: str) -> Reply:
        error = StatusError(401, f"The preview session is {why}. Ask for a new URL: kubectl sandbox preview NAME.")
        return pages.answer(request, error, "This preview needs a signed URL")

    async def _refusal(self, request: Head, claims: Claims) -> Reply | None:
        runner = self._access.runner(claims)
        if runner is None:
            return pages.answer(request, StatusError(404, "This sandbox does not exist any more."), "The sandbox is gone")
        if not await self._access.allowed(claims):
            error = StatusError(403, f"{claims.user} may no longer see previews of {claims.namespace}/{claims.name}.")
            return pages.answer(request, error, "Access was withdrawn")
        if (runner.get("spec") or {}).get("operatingMode") == "Suspended":
            error = StatusError(503, "Its files are kept. Set spec.operatingMode to Running to wake it.", reason="Suspended")
            return pages.answer(request, error, "The sandbox is suspended", reload=True)
        return None

    async def _forward(self, request: Head, refs: Refs, port: int, claims: Claims, peer: str) -> Forward | Reply:
        def unavailable(why: str) -> Reply:
            runner = self._access.runner(claims)
            error = StatusError(503, explain(runner) or f"Its agent does not answer: {why}.", retry_after=pages.RELOAD_SECONDS)
            return pages.answer(request, error, "The sandbox is starting", reload=True)

        try:
            address = await self._resolve(refs.preview_host)
        except OSError:
            return unavailable("its address is not known yet")
        head = rewrite.request(request, request.target, port, self._public.scheme, peer)
        return Forward(address, head, rewrite.response, unavailable, claims)


def explain(runner: dict[str, Any] | None) -> str:
    """The condition that keeps a runner from being Ready, in its own words; they decide nothing."""
    conditions = ((runner or {}).get("status") or {}).get("conditions") or ()
    for condition in conditions:
        if isinstance(condition, dict) and condition.get("type") == "Ready" and condition.get("status") != "True":
            return f"{condition.get('reason')}: {condition.get('message')}"[:300]
    return ""
