"""``log``: what the app wrote, with the query of pods/log. Spelled like that, the API server lets it run longer than 60 s.

The query is checked here with the agent's own code, so that a mistake costs nobody a connection; lines pass as they come, at the
pace of the caller: what it does not take stays at the agent, on its volume.
"""

from __future__ import annotations

import time
from contextlib import nullcontext

from aiohttp import web

from sandbox_operator.apiserver import relay
from sandbox_operator.apiserver.dial import ANSWER_SECONDS, AgentRequest
from sandbox_operator.apiserver.verb import Call, Operation, Parameter, Services, Verb
from sandbox_protocol import log_query
from sandbox_protocol.errors import Cause, StatusError
from sandbox_protocol.log_query import NDJSON, TEXT


async def get(call: Call, services: Services) -> web.StreamResponse:
    query = call.query()
    once = dict(query)
    if twice := next((name for name in once if sum(name == other for other, _ in query) > 1), None):
        raise StatusError(400, f"{twice}: give it once", causes=[Cause(twice, "FieldValueDuplicate", "give it once")])
    follows = log_query.parse(once, time.time_ns()).follow
    media = NDJSON if log_query.wants_ndjson(call.request.headers.get("Accept", "")) else TEXT
    # a quiet app is no failure; keep-alive probes of the connection notice when the node is gone
    patience = None if follows else ANSWER_SECONDS
    wanted = AgentRequest("GET", "/v1/log", query, {"Accept": media}, repeatable=True, answer_seconds=patience)
    async with services.dialer.ask(call.runner, wanted) as upstream:
        response = web.StreamResponse(
            headers={"Content-Type": f"{media}; charset=utf-8", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        )
        # a follower takes an end for an end and asks again; a log that was to be whole must not end in due form before it is
        async with services.long_running.until_shutdown() if follows else nullcontext():
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
            "The log of the runner's processes, as text, or as one JSON object a line with a cursor to go on from.",
            get,
            parameters=(
                Parameter("follow", "Keep the answer open and send lines as they are written.", _BOOLEAN),
                Parameter("tailLines", "Start with the last lines, this many.", _INTEGER),
                Parameter("sinceSeconds", "Only lines of the last seconds, this many.", _INTEGER),
                Parameter("sinceTime", "Only lines after this time.", {"type": "string", "format": "date-time"}),
                Parameter("timestamps", "Start each line of text with its time.", _BOOLEAN),
                Parameter("limitBytes", "End after this many bytes.", _INTEGER),
                Parameter("previous", "The run before the present one, of each process.", _BOOLEAN),
                Parameter(
                    "stream",
                    "Only this stream; all of them otherwise.",
                    {"type": "string", "enum": list(log_query.STREAMS)},
                ),
                Parameter(
                    "process",
                    "Only this process: web, a name of spec.processes, install, or agent for what the runner says itself.",
                    {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"},
                ),
                Parameter(
                    "cursor",
                    "Go on after the line that came with this cursor; 410 when it is none of this log.",
                    {"type": "string", "pattern": "^[0-9a-f]{8}[.][0-9a-f]{1,12}[.][0-9a-f]{1,10}$"},
                ),
            ),
            returns=((TEXT, ""), (NDJSON, "")),
        ),
    ),
)
