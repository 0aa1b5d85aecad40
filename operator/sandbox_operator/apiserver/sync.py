"""``sync``: files into the workspace (POST), and what is in it (GET). The agent checks and applies; we only pass the stream."""

from __future__ import annotations

from aiohttp import web

from sandbox_operator.apiserver import headers, relay
from sandbox_operator.apiserver.dial import AgentRequest
from sandbox_operator.apiserver.verb import Answer, Call, Operation, Parameter, Services, Verb
from sandbox_protocol.wire import JSON, TAR

_PATH = "/v1/sync"
_POST_HEADERS = ("Content-Type", "Content-Encoding", "If-Match", "Upload-Offset", "Upload-Complete")
_GET_HEADERS = ("If-None-Match", "Range", "If-Range")
FILE, EVENTS = "application/octet-stream", "application/x-ndjson"


async def put(call: Call, services: Services) -> web.StreamResponse:
    query = call.query()
    body, length = await relay.request_body(call.request)
    kept = headers.only(call.request.headers, _POST_HEADERS)
    wanted = AgentRequest(
        "POST",
        _PATH,
        query,
        {**kept, **length},
        body,
        # the same files again change nothing; a precondition would fail on what the first attempt did, and the offset of a part
        repeatable=not {"If-Match", "Upload-Offset"} & kept.keys(),
    )
    async with services.dialer.ask(call.runner, wanted) as upstream:
        return await relay.answer(call.request, upstream)


async def get(call: Call, services: Services) -> web.StreamResponse:
    query = call.query()
    asked = {name for name, _ in query}
    if "file" in asked:
        types = (FILE,)
    elif "watch" in asked:
        types = (EVENTS,)
    else:
        types = (TAR,) if TAR in call.request.headers.get("Accept", "") else (JSON,)
    kept = headers.only(call.request.headers, _GET_HEADERS)
    wanted = AgentRequest("GET", _PATH, query, {**kept, "Accept": types[0]}, repeatable=True)
    async with services.dialer.ask(call.runner, wanted) as upstream:
        return await relay.answer(call.request, upstream, content_types=types)


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "format": "int64", "minimum": 0}
_ETAG = Parameter("ETag", "The workspace's revision, in quotes; of a single file its sha256.", _TEXT)
_OFFSET = Parameter("Upload-Offset", "Bytes of the upload that have arrived.", _COUNT)
_RANGES = (Parameter("Content-Range", "Which bytes of the file these are.", _TEXT), _ETAG)
_UPLOAD = Parameter(
    "upload",
    "The name of an upload in parts, chosen by the caller at random.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{8,64}$"},
)

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
                Parameter(
                    "drift",
                    "keep leaves a file alone that something in the pod changed and this sync does not; overwrite writes it.",
                    {"type": "string", "enum": ["keep", "overwrite"], "default": "keep"},
                ),
                Parameter("delete", "A path to delete; may be repeated.", {"type": "array", "items": {"type": "string"}}),
                _UPLOAD,
            ),
            accepts=((JSON, "SyncRequest"), (TAR, "")),
            returns=((JSON, "SyncResult"),),
            headers=(
                Parameter(
                    "If-Match", "The revision that the caller knows, in quotes; 412 when it is not the current one.", _TEXT
                ),
                Parameter("Content-Encoding", "How the body is compressed.", {"type": "string", "enum": ["zstd", "gzip"]}),
                Parameter("Upload-Offset", "With upload: where in the whole body this part begins.", _COUNT),
                Parameter(
                    "Upload-Complete",
                    "With upload: ?1 with the last part, ?0 with others.",
                    {"type": "string", "enum": ["?0", "?1"]},
                ),
            ),
            answer_headers=(_ETAG, _OFFSET),
            answers=(Answer(204, "A part of an upload has arrived, and is not the last one.", headers=(_OFFSET,)),),
            refusals=(408, 412, 413, 415, 422, 507),
        ),
        Operation(
            "GET",
            "get",
            "The manifest of what was synced; with Accept: application/x-tar all files, or those below the paths asked for; one "
            "file; how far an upload came; or a stream of changes.",
            get,
            parameters=(
                Parameter(
                    "path", "A file or folder of the tar; may be repeated.", {"type": "array", "items": {"type": "string"}}
                ),
                Parameter("file", "One file, sent as it is.", _TEXT),
                _UPLOAD,
                Parameter(
                    "watch", "true streams what changes in the tree, for at most 55 s.", {"type": "string", "enum": ["true"]}
                ),
                Parameter("cursor", "With watch: continue after the event that carried it.", _TEXT),
            ),
            returns=((JSON, "SyncState"), (TAR, ""), (FILE, ""), (EVENTS, "")),
            headers=(
                Parameter("If-None-Match", "Versions that the caller has; 304 when it is one of them.", _TEXT),
                Parameter("Range", "With file: bytes=<first>-<last>, one range.", _TEXT),
                Parameter("If-Range", "With file: the version that the range is of; another one is sent whole.", _TEXT),
            ),
            answer_headers=(_ETAG, _OFFSET),
            answers=(
                Answer(206, "The range of the file.", ((FILE, ""),), _RANGES),
                Answer(304, "The caller has this version.", headers=(_ETAG,)),
            ),
            refusals=(413, 416, 422, 507),
        ),
    ),
)
