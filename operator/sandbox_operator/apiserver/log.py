"""``log``: what the app wrote, with the query of pods/log. Spelled like that, the API server lets it run longer than 60 s."""

from __future__ import annotations

from aiohttp import web

from sandbox_operator.apiserver import relay
from sandbox_operator.apiserver.dial import ANSWER_SECONDS, AgentRequest
from sandbox_operator.apiserver.verb import Call, Operation, Parameter, Services, Verb

_TEXT = "text/plain"


async def get(call: Call, services: Services) -> web.StreamResponse:
    query = call.query()
    follows = dict(query).get("follow", "false") not in {"false", "0", ""}
    # a quiet app is no failure; keep-alive probes of the connection notice when the node is gone
    wanted = AgentRequest("GET", "/v1/log", query, repeatable=True, answer_seconds=None if follows else ANSWER_SECONDS)
    async with services.dialer.ask(call.runner, wanted) as upstream:
        response = web.StreamResponse(
            headers={"Content-Type": f"{_TEXT}; charset=utf-8", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        )
        async with services.long_running.until_shutdown():
            await relay.copy(call.request, response, upstream.content)
        return response


_INTEGER = {"type": "integer", "format": "int64", "minimum": 0}
_BOOLEAN = {"type": "boolean", "default": False}

VERB = Verb(
    "log",
    "Log",
    (
        Operation(
            "GET",
            "get",
            "The log of the app.",
            get,
            parameters=(
                Parameter("follow", "Keep the answer open and send lines as they are written.", _BOOLEAN),
                Parameter("tailLines", "Start with the last lines, this many.", _INTEGER),
                Parameter("sinceSeconds", "Only lines of the last seconds, this many.", _INTEGER),
                Parameter("sinceTime", "Only lines after this time.", {"type": "string", "format": "date-time"}),
                Parameter("timestamps", "Start each line with its time.", _BOOLEAN),
                Parameter("limitBytes", "End after this many bytes.", _INTEGER),
                Parameter("previous", "The log of the process before the last restart.", _BOOLEAN),
                Parameter(
                    "stream",
                    "Only this stream; all of them otherwise.",
                    {"type": "string", "enum": ["stdout", "stderr", "system"]},
                ),
            ),
            returns=((_TEXT, ""),),
        ),
    ),
)
