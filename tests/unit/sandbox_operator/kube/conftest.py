"""An API server in miniature, so that client, reflector and lease are tested over real HTTP without a cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.config import ClusterConfig, Token


class Script:
    """Answers in turn, and what was asked. A list as answer is a watch stream of its entries that then ends; None hangs."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.headers: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        self.asked.append((request.method, request.path, dict(request.query), json.loads(content) if content else None))
        self.headers.append(dict(request.headers))
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, list):
            stream = web.StreamResponse()
            await stream.prepare(request)
            for entry in answer:
                await stream.write(json.dumps(entry).encode() + b"\n")
            return stream
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return web.json_response(body, status=status)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def kube(script: Script) -> AsyncIterator[Kube]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.answer)
    async with TestServer(app, shutdown_timeout=0) as server:
        config = ClusterConfig(str(server.make_url("")).rstrip("/"), None, Token("secret"))
        async with await Kube.connect(config) as client:
            yield client
