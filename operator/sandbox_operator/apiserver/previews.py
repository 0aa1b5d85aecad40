"""Issuing and voiding of preview URLs: the one place that holds the private key ring, and the one that writes revocations."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from sandbox_operator.apiserver.authn import User
from sandbox_operator.apiserver.preview import MAX_SECONDS
from sandbox_operator.apiserver.runners import Runner
from sandbox_operator.kube import errors as kube_errors
from sandbox_operator.kube import resources
from sandbox_operator.kube.client import Kube
from sandbox_operator.model import preview_token
from sandbox_operator.model.preview_keys import Ring
from sandbox_operator.settings import Settings
from sandbox_protocol.errors import StatusError

REVOCATIONS = "preview-revocations"
_KEYS = "keys.json"
# Browsers refuse a cookie above 4096 bytes, its name and attributes included; the token comes back as one.
_TOKEN_BYTES = 3900


class Previews:
    """``folder`` is the mounted Secret preview-signing, read for every signature: rotation needs no restart."""

    def __init__(
        self,
        kube: Kube,
        settings: Settings,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._kube = kube
        self._public = settings.preview
        self._namespace = settings.namespace
        self._folder = folder
        self._clock = clock
        self._sleep = sleep

    def issue(self, user: User, runner: Runner, port: int, seconds: int, inject: tuple[str, ...] = ()) -> tuple[str, int]:
        """URL and Unix time of its end. ``inject`` names scripts for its pages.

        StatusError 422 for a user whose groups make the token longer than a cookie may be.
        """
        now = int(self._clock())
        host = runner.refs.public_host(port, self._public.base_domain)
        claims = preview_token.Claims(
            host=host,
            user=user.name,
            groups=user.groups,
            uid=runner.refs.uid,
            namespace=runner.namespace,
            name=runner.name,
            port=port,
            jti=secrets.token_urlsafe(16),
            issued=now,
            expires=now + seconds,
            inject=inject,
            ports=tuple(other for other in runner.ports if other != port and port in runner.ports)[: preview_token.MOST_PORTS],
        )
        token = preview_token.sign(self._ring(), claims)
        if len(token) > _TOKEN_BYTES:
            raise StatusError(
                422,
                f"the {len(user.groups)} groups of {user.name[:200]} make a preview token of {len(token)} bytes, and browsers "
                f"take {_TOKEN_BYTES}: ask as a ServiceAccount or a user with fewer groups",
            )
        return f"{self._public.scheme}://{host}{self._public.port_suffix}/?sandbox_token={token}", claims.expires

    async def revoke(self, runner: Runner) -> None:
        """Voids what was issued until now, and returns once nothing issued from then on is void as well.

        Tokens tell their age in whole seconds, so the present second is voided to its end, and waited for.
        """
        now = self._clock()
        until = int(now) + 1
        try:
            found = await self._kube.get(resources.CONFIG_MAPS, REVOCATIONS, self._namespace)
            data: dict[str, str | None] = dict.fromkeys(forgettable(found.get("data") or {}, now))
            data[runner.refs.uid] = str(until)
            await self._kube.merge_patch(resources.CONFIG_MAPS, REVOCATIONS, {"data": data}, self._namespace)
        except (kube_errors.ApiError, aiohttp.ClientError, TimeoutError) as error:
            raise StatusError(503, "the revocation could not be written; try again", retry_after=1) from error
        await self._sleep(max(0.0, until - self._clock()))

    def _ring(self) -> Ring:
        try:
            ring: Ring = json.loads((self._folder / _KEYS).read_bytes())
            if not ring["keys"][0]["d"]:
                raise KeyError("d")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise StatusError(503, "there is no usable key to sign previews with yet; try again", retry_after=5) from error
        return ring


def forgettable(data: dict[str, Any], now: float) -> list[str]:
    """Entries that no token can be as old as any more: so the ConfigMap holds a day's revocations, not all there ever were."""
    return [
        uid for uid, at in data.items() if not str(at).isdecimal() or now - int(at) > MAX_SECONDS + preview_token.LEEWAY_SECONDS
    ]
