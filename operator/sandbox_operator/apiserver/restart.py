"""``restart``: stop the whole process tree of the app, or of one named process, and start it again."""

from __future__ import annotations

from aiohttp import web

from sandbox_operator.apiserver import relay
from sandbox_operator.apiserver.dial import AgentRequest
from sandbox_operator.apiserver.verb import Call, Operation, Services, Verb
from sandbox_protocol.wire import JSON

# A number and a name; the rest is room for a client's kind and apiVersion.
_BODY_BYTES = 4096


async def post(call: Call, services: Services) -> web.StreamResponse:
    call.query()
    body = await relay.small_body(call.request, _BODY_BYTES)
    wanted = AgentRequest("POST", "/v1/restart", headers={"Content-Type": JSON}, body=body or b"{}")
    async with services.dialer.ask(call.runner, wanted) as upstream:
        return await relay.answer(call.request, upstream)


VERB = Verb(
    "restart",
    "ProcessState",
    (
        Operation(
            "POST",
            "create",
            "Restart all processes, or the named one. They have gracePeriodSeconds to end by themselves.",
            post,
            accepts=((JSON, "RestartRequest"),),
            returns=((JSON, "ProcessState"),),
            refusals=(408, 413),
        ),
    ),
)
