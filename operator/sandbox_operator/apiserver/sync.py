"""``sync``: files into the workspace (POST), and what is in it (GET). The agent checks and applies; we only pass the stream."""

from __future__ import annotations

from aiohttp import web

from sandbox_operator.apiserver import headers, relay
from sandbox_operator.apiserver.dial import AgentRequest
from sandbox_operator.apiserver.verb import Call, Operation, Parameter, Services, Verb
from sandbox_protocol.wire import JSON, MANIFEST_KIND, TAR

_PATH = "/v1/sync"


async def put(call: Call, services: Services) -> web.StreamResponse:
    query = call.query()
    body, length = await relay.request_body(call.request)
    kept = headers.only(call.request.headers, ("Content-Type", "Content-Encoding", "If-Match"))
    wanted = AgentRequest(
        "POST",
        _PATH,
        query,
        {**kept, **length},
        body,
        # the same files again change nothing; a precondition would fail on what the first attempt did
        repeatable="If-Match" not in kept,
    )
    async with services.dialer.ask(call.runner, wanted) as upstream:
        return await relay.answer(call.request, upstream)


async def get(call: Call, services: Services) -> web.StreamResponse:
    tar = TAR in call.request.headers.get("Accept", "")
    wanted = AgentRequest("GET", _PATH, call.query(), {"Accept": TAR if tar else JSON}, repeatable=True)
    async with services.dialer.ask(call.runner, wanted) as upstream:
        return await relay.answer(call.request, upstream, content_types=(TAR,) if tar else (JSON,))


VERB = Verb(
    "sync",
    "SyncResult",
    (
        Operation(
            "POST",
            "create",
            "Write files into the workspace, as JSON or as a tar stream. If-Match with the known revision refuses a stale sync.",
            put,
            parameters=(
                Parameter(
                    "mode",
                    "merge keeps files that the sync does not name; mirror deletes them.",
                    {"type": "string", "enum": ["merge", "mirror"], "default": "merge"},
                ),
                Parameter(
                    "restart",
                    "auto restarts the app when a file changed that it reads only at its start.",
                    {"type": "string", "enum": ["auto", "always", "never"], "default": "auto"},
                ),
                Parameter("delete", "A path to delete; may be repeated.", {"type": "array", "items": {"type": "string"}}),
            ),
            accepts=((JSON, "SyncRequest"), (TAR, "")),
            returns=((JSON, "SyncResult"),),
        ),
        Operation(
            "GET",
            "get",
            "The manifest of the workspace; with Accept: application/x-tar its files, or those below the paths asked for.",
            get,
            parameters=(
                Parameter(
                    "path", "A file or folder of the tar; may be repeated.", {"type": "array", "items": {"type": "string"}}
                ),
            ),
            returns=((JSON, MANIFEST_KIND), (TAR, "")),
        ),
    ),
)
