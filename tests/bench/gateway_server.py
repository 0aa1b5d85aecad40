"""`python -m tests.bench.gateway_server PORT BACKEND`: the gateway as deployed, but for a cluster that is given to it.

Keys, UID and domain come from PREVIEW_RING, PREVIEW_UID and PREVIEW_DOMAIN; every user has the right; every runner is BACKEND.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

import uvloop

from sandbox_operator.preview.access import Access
from sandbox_operator.preview.gateway import Gateway
from sandbox_operator.settings import Preview
from sandbox_protocol.http1_proxy import Proxy
from sandbox_protocol.http1_routing import Address


class _Runners:
    def __init__(self, uid: str) -> None:
        self._runner = {"metadata": {"uid": uid}, "spec": {}}

    def get(self, namespace: str | None, name: str) -> dict[str, Any] | None:
        return self._runner

    def by_uid(self, uid: str) -> dict[str, Any] | None:
        return self._runner


async def serve(port: int, backend: int) -> None:
    ring = json.loads(os.environ["PREVIEW_RING"])

    async def ask(review: dict[str, Any]) -> dict[str, Any]:
        return {"status": {"allowed": True}}

    async def resolve(host: str) -> Address:
        return "127.0.0.1", backend

    access = Access(_Runners(os.environ["PREVIEW_UID"]), dict, lambda: ring, ask)
    proxy = Proxy(Gateway(access, Preview(os.environ["PREVIEW_DOMAIN"], "http", port), resolve), names_requests=True)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(proxy.protocol, "127.0.0.1", port, backlog=1024)
    await stop.wait()
    server.close()
    proxy.close()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
