"""The key to each agent: token and pinned certificate from the Secret in the runner's own namespace, kept until they are refused.

We may read that Secret only where the controller has bound us (RoleBinding ``data-plane``): there is no right to lose elsewhere.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from sandbox_protocol import names
from sandbox_protocol.refs import Refs

# Of one request header; b64token of RFC 6750, so that it can end nothing and start nothing in the request head.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,4096}")
# A TLS context with one certificate takes about 30 kB.
MAX_RUNNERS = 4096


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """``tls`` trusts exactly the agent's own certificate and checks that it is for the runner's control host. While a rotation is
    under way the agent may not know of it: then the certificate before is trusted too, and ``previous`` is the token before."""

    token: str
    certificate: str
    tls: ssl.SSLContext
    previous: str | None = None


def parse(secret: dict[str, Any]) -> Credentials:
    """ValueError when the Secret lacks a part or has an odd one."""
    token = _token(secret, names.SECRET_TOKEN)
    rotated = names.SECRET_PREVIOUS_TOKEN in secret["data"] and names.SECRET_PREVIOUS_CERT in secret["data"]
    previous = _token(secret, names.SECRET_PREVIOUS_TOKEN) if rotated else None
    certificate = _text(secret, names.SECRET_TLS_CERT)
    if rotated:
        certificate += "\n" + _text(secret, names.SECRET_PREVIOUS_CERT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # the certificate itself is the anchor, whoever signed it
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=certificate)
    except ssl.SSLError as error:
        raise ValueError(f"Secret {names.CONTROL_SECRET}: {names.SECRET_TLS_CERT} is not a certificate") from error
    return Credentials(token, certificate, context, previous)


def _token(secret: dict[str, Any], key: str) -> str:
    token = _text(secret, key).strip()
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"Secret {names.CONTROL_SECRET}: {key} is not a bearer token")
    return token


def _text(secret: dict[str, Any], key: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {})[key], validate=True).decode("ascii")
    except (KeyError, binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"Secret {names.CONTROL_SECRET} has no usable {key}") from error


Fetch = Callable[[str], Awaitable[dict[str, Any]]]
"""The control Secret of a runtime namespace."""


class CredentialStore:
    """Credentials by UID. Errors of ``fetch`` and ValueError pass through, and nothing is remembered of them."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._known: OrderedDict[str, Credentials] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[Credentials]] = {}

    async def get(self, refs: Refs) -> Credentials:
        known = self._known.get(refs.uid)
        return known if known is not None else await self._fresh(refs)

    async def renew(self, refs: Refs, refused: Credentials) -> Credentials:
        """What replaces ``refused``. The very same object when the Secret has not changed: then another try is useless."""
        known = self._known.get(refs.uid)
        return known if known is not None and known is not refused else await self._fresh(refs)

    def before(self, refs: Refs, refused: Credentials) -> Credentials | None:
        """The same with the token before the last rotation, if that is not over; used from now on, until it is refused too."""
        if refused.previous is None:
            return None
        older = replace(refused, token=refused.previous, previous=None)
        self._known[refs.uid] = older
        return older

    def forget(self, uid: str) -> None:
        self._known.pop(uid, None)

    async def _fresh(self, refs: Refs) -> Credentials:
        task = self._fetching.get(refs.uid)
        if task is None:
            task = asyncio.create_task(self._read(refs))
            self._fetching[refs.uid] = task
            task.add_done_callback(lambda _: self._fetching.pop(refs.uid, None))
        return await asyncio.shield(task)

    async def _read(self, refs: Refs) -> Credentials:
        found = parse(await self._fetch(refs.namespace))
        known = self._known.get(refs.uid)
        if known is not None and (known.token, known.certificate) == (found.token, found.certificate):
            return known
        self._known[refs.uid] = found
        while len(self._known) > MAX_RUNNERS:
            self._known.popitem(last=False)
        return found
