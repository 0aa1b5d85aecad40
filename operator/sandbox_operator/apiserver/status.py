"""``status``: the agent's own view of process, ports, revision and usage, fresher than the object's status."""

from __future__ import annotations

from aiohttp import web

from sandbox_operator.apiserver import relay
from sandbox_operator.apiserver.dial import AgentRequest
from sandbox_operator.apiserver.verb import Call, Operation, Services, Verb
from sandbox_protocol.wire import JSON


async def get(call: Call, services: Services) -> web.StreamResponse:
    call.query()
    async with services.dialer.ask(call.runner, AgentRequest("GET", "/v1/status", repeatable=True)) as upstream:
        return await relay.answer(call.request, upstream)


VERB = Verb(
    "status", "RunnerStatus", (Operation("GET", "get", "What the app is doing now.", get, returns=((JSON, "RunnerStatus"),)),)
)
