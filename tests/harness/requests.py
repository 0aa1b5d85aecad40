"""Requests that the SDK would not make: another content type, a forged status, a body that is cut."""

from __future__ import annotations

import asyncio
from typing import Any

from sandbox_client.api import Api, Request
from sandbox_client.kubeconfig import Connection


def send(connection: Connection, request: Request) -> Any:
    """The answer's JSON. Raises as the SDK does."""

    async def one() -> Any:
        async with Api(connection) as api:
            return await api.json(request)

    return asyncio.run(one())
