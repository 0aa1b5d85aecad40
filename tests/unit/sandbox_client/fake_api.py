"""An API server in memory, just enough of one: runners with watches, and a workspace that takes both forms of a sync."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

from aiohttp import web
from backports import zstd

from sandbox_protocol import names
from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import ManifestEntry

T0 = "2026-01-02T03:04:05.000000000Z"
GROUP = f"/apis/{names.GROUP}/{names.VERSION}"
VERBS = f"/apis/{names.SUBRESOURCE_GROUP}/{names.VERSION}/namespaces/{{namespace}}/sandboxrunners/{{name}}"


class FakeApi:
    """``requests`` records what came in; ``fail`` lets a test answer a request itself, once."""

    def __init__(self) -> None:
        self.runners: dict[tuple[str, str], dict[str, Any]] = {}
        self.tree: dict[str, tuple[ManifestEntry, bytes]] = {}
        self.number = 0
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.fail: Callable[[web.Request], web.StreamResponse | None] = lambda _: None
        self.app_status: list[dict[str, Any]] = []
        self.log = b""
        self.uploads: dict[str, bytearray] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.lose: Callable[[web.Request, bytes], int | None] = lambda _, __: None
        """How much of a part arrives before its connection breaks; None: all of it, and it is answered."""
        self.events: list[list[dict[str, Any]]] = []
        """What each watch is told, one after another."""
        self.log_breaks = 0
        self.log_pieces: list[bytes] = []
        """What each log request is answered with, one after another, as it stands; ``log`` when there is none left."""
        self.log_held = False
        """Such an answer does not end until its reader hangs up."""
        self.logs_left = 0
        """How many readers hung up on a held answer."""
        self._version = 0
        self._watchers: set[asyncio.Queue[tuple[str, dict[str, Any]] | None]] = set()

    # what a controller would do

    def report(self, name: str, *conditions: dict[str, Any], namespace: str = "demo") -> None:
        runner = self.runners[namespace, name]
        self._put({**runner, "status": {"conditions": list(conditions)}}, "MODIFIED")

    def remove(self, name: str, namespace: str = "demo") -> None:
        runner = self.runners.pop((namespace, name))
        self._tell("DELETED", runner)

    def end_watches(self) -> None:
        for queue in self._watchers:
            queue.put_nowait(None)

    def add(self, name: str, spec: dict[str, Any] | None = None, namespace: str = "demo") -> dict[str, Any]:
        metadata = {"name": name, "namespace": namespace, "uid": f"uid-{self._version}", "generation": 1}
        return self._put(
            {"kind": names.KIND, "apiVersion": f"{names.GROUP}/{names.VERSION}", "metadata": metadata, "spec": spec or {}},
            "ADDED",
        )

    async def until(self, happened: Callable[[], bool]) -> None:
        """Gives the event loop its turns; what is waited for needs no time, only turns."""
        async with asyncio.timeout(10):
            while not happened():  # noqa: ASYNC110 - it is the code under test that makes it happen, and it sets no event
                await asyncio.sleep(0)

    def watched(self) -> bool:
        return bool(self._watchers)

    @property
    def revision(self) -> str | None:
        digest = hashlib.sha256(repr(sorted((path, entry.sha256) for path, (entry, _) in self.tree.items())).encode()).hexdigest()
        return f"{self.number}-{digest[:16]}" if self.number else None

    def _put(self, runner: dict[str, Any], event: str) -> dict[str, Any]:
        self._version += 1
        runner = {**runner, "metadata": {**runner["metadata"], "resourceVersion": str(self._version)}}
        self.runners[runner["metadata"]["namespace"], runner["metadata"]["name"]] = runner
        self._tell(event, runner)
        return runner

    def _tell(self, event: str, runner: dict[str, Any]) -> None:
        for queue in self._watchers:
            queue.put_nowait((event, runner))

    # HTTP

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._edge], client_max_size=1 << 30)
        one, many = (
            f"{GROUP}/namespaces/{{namespace}}/sandboxrunners/{{name}}",
            f"{GROUP}/namespaces/{{namespace}}/sandboxrunners",
        )
        app.add_routes(
            [
                web.get(f"{GROUP}/sandboxrunners", self._list),
                web.get(many, self._list),
                web.post(many, self._create),
                web.get(one, self._get),
                web.patch(one, self._patch),
                web.delete(one, self._delete),
                web.get(f"{VERBS}/sync", self._manifest),
                web.post(f"{VERBS}/sync", self._sync),
                web.get(f"{VERBS}/status", self._status),
                web.post(f"{VERBS}/restart", self._restart),
                web.get(f"{VERBS}/log", self._log),
                web.post(f"{VERBS}/preview", self._preview),
                web.delete(f"{VERBS}/preview", self._revoke),
                web.route("*", f"{VERBS}/proxy/{{rest:.*}}", self._proxy),
            ]
        )
        return app

    @web.middleware
    async def _edge(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        if (answer := self.fail(request)) is not None:
            return answer
        try:
            response: web.StreamResponse = await handler(request)
        except StatusError as error:
            return web.json_response(error.body(), status=error.code)
        return response

    def _found(self, request: web.Request) -> dict[str, Any]:
        key = request.match_info["namespace"], request.match_info["name"]
        if key not in self.runners:
            raise StatusError(404, f'sandboxrunners.{names.GROUP} "{key[1]}" not found')
        return self.runners[key]

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._found(request))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            return await self._watch(request)
        namespace = request.match_info.get("namespace")
        return web.json_response({"items": [item for key, item in sorted(self.runners.items()) if namespace in (None, key[0])]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        queue: asyncio.Queue[tuple[str, dict[str, Any]] | None] = asyncio.Queue()
        for runner in self.runners.values():
            if int(runner["metadata"]["resourceVersion"]) > int(request.query["resourceVersion"]):
                queue.put_nowait(("MODIFIED", runner))
        self._watchers.add(queue)
        await response.prepare(request)
        try:
            while (item := await queue.get()) is not None:
                line = json.dumps({"type": item[0], "object": item[1]}).encode() + b"\n"
                await response.write(line[:10])  # an event may arrive in pieces
                await response.write(line[10:])
        finally:
            self._watchers.discard(queue)
        return response

    async def _create(self, request: web.Request) -> web.Response:
        manifest = await request.json()
        name, namespace = manifest["metadata"]["name"], request.match_info["namespace"]
        if (namespace, name) in self.runners:
            raise StatusError(409, f'"{name}" already exists', reason="AlreadyExists")
        return web.json_response(self.add(name, manifest["spec"], namespace), status=201)

    async def _patch(self, request: web.Request) -> web.Response:
        patch = json.loads(self.bodies[-1])
        name, namespace = request.match_info["name"], request.match_info["namespace"]
        if (namespace, name) not in self.runners:
            if request.content_type != "application/apply-patch+yaml":
                self._found(request)
            return web.json_response(self.add(name, patch.get("spec"), namespace), status=201)
        runner = self._found(request)
        metadata = {**runner["metadata"], "generation": runner["metadata"]["generation"] + 1}
        merged = {**runner["spec"], **patch.get("spec", {})}
        spec = {field: value for field, value in merged.items() if value is not None}
        return web.json_response(self._put({**runner, "metadata": metadata, "spec": spec}, "MODIFIED"))

    async def _delete(self, request: web.Request) -> web.Response:
        runner = self._found(request)
        metadata = {**runner["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
        return web.json_response(self._put({**runner, "metadata": metadata}, "MODIFIED"))

    async def _part(self, request: web.Request) -> web.Response:
        identity, at, content = request.query["upload"], int(request.headers["Upload-Offset"]), self.bodies[-1]
        if identity not in self.answers:
            body = self.uploads.setdefault(identity, bytearray())
            if at != len(body):
                raise StatusError(409, f"continue at {len(body)}")
            arrived = self.lose(request, content)
            body += content[:arrived]
            last = request.headers["Upload-Complete"] == "?1" and len(body) == at + len(content)
            if last:
                self.bodies[-1] = bytes(body)
                self.answers[identity] = json.loads((await self._whole(request)).body or b"")  # type: ignore[arg-type]
            if arrived is not None:
                assert request.transport is not None
                request.transport.abort()
            elif not last:
                return web.Response(status=204, headers={"Upload-Offset": str(len(body))})
        return web.json_response(self.answers[identity])

    def _uploaded(self, identity: str) -> web.Response:
        if identity not in self.uploads:
            raise StatusError(404, "no such upload")
        return web.json_response(
            {"kind": "SyncUpload", "offset": len(self.uploads[identity]), "complete": identity in self.answers}
        )

    def _file(self, request: web.Request) -> web.Response:
        path = request.query["file"]
        if path not in self.tree:
            raise StatusError(404, f"there is no {path}")
        entry, content = self.tree[path]
        headers = {"ETag": f'"{entry.sha256}"'}
        wanted = request.http_range
        fits = request.headers.get("If-Range", headers["ETag"]) == headers["ETag"]
        if "Range" in request.headers and fits:
            return web.Response(status=206, body=content[wanted.start : wanted.stop], headers=headers)
        return web.Response(body=content, headers=headers)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if not self.events:
            raise StatusError(403, "enough")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        data = b"".join(json.dumps(event).encode() + b"\n" for event in self.events.pop(0))
        await response.write(data[:7])
        await response.write(data[7:])
        return response

    async def _manifest(self, request: web.Request) -> web.StreamResponse:
        if "upload" in request.query:
            return self._uploaded(request.query["upload"])
        if "file" in request.query:
            return self._file(request)
        if "watch" in request.query:
            return await self._events(request)
        if request.headers["Accept"].startswith("application/x-tar"):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as tar:
                for path, (_, content) in sorted(self.tree.items()):
                    if not request.query.getall("path", []) or path in request.query.getall("path"):
                        info = tarfile.TarInfo(path)
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
            return web.Response(body=out.getvalue(), content_type="application/x-tar")
        entries = [entry.to_json() for _, (entry, _) in sorted(self.tree.items())]
        return web.json_response({"kind": "SyncManifest", "revision": self.revision, "entries": entries})

    async def _sync(self, request: web.Request) -> web.Response:
        return await (self._part(request) if "upload" in request.query else self._whole(request))

    async def _whole(self, request: web.Request) -> web.Response:
        wanted = request.headers.get("If-Match")
        if wanted is not None and wanted != f'"{self.revision}"':
            raise StatusError(412, f"the workspace is at {self.revision}, not {wanted}")
        body = self.bodies[-1]
        if request.content_type == "application/json":
            document = json.loads(body)
            files = [(f["path"], int(f["mode"], 8), _content(f), "file") for f in document["files"]]
            deletes, restart = document["delete"], document["restart"]
        else:
            files, deletes, restart = _untar(body), request.query.getall("delete", []), request.query["restart"]
        for path in deletes:
            self.tree.pop(path, None)
        for path, mode, content, kind in files:
            digest = hashlib.sha256(content).hexdigest()
            self.tree[path] = (ManifestEntry(path, kind, len(content), mode, digest), content)  # type: ignore[arg-type]
        self.number += bool(files or deletes or not self.number)
        return web.json_response(
            {
                "kind": "SyncResult",
                "revision": self.revision,
                "written": len(files),
                "deleted": len(deletes),
                "bytes": sum(len(content) for _, _, content, _ in files),
                "restarted": restart == "always",
            }
        )

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(self.app_status.pop(0) if len(self.app_status) > 1 else self.app_status[0])

    async def _restart(self, request: web.Request) -> web.Response:
        return web.json_response({"name": json.loads(self.bodies[-1]).get("process", "web"), "state": "Starting", "restarts": 0})

    async def _log(self, request: web.Request) -> web.StreamResponse:
        """Text in pieces; records after the cursor, and a connection that breaks when ``log_breaks`` of them were sent."""
        if self.log_pieces:
            return await self._log_piece(request, self.log_pieces.pop(0))
        if "x-ndjson" not in request.headers["Accept"]:
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            await response.prepare(request)
            for start in range(0, len(self.log), 7):
                await response.write(self.log[start : start + 7])
            return response
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        after = int(request.query.get("cursor", "0"))
        for number, line in enumerate(self.log.decode().splitlines()[after:], after + 1):
            if self.log_breaks and number % self.log_breaks == 0 and after + 1 != number:
                await response.write(b'{"cursor":')
                assert request.transport is not None
                request.transport.abort()
                break
            process, _, text = line.rpartition(": ")
            record = {"cursor": str(number), "time": T0, "process": process or "web", "stream": "stdout", "text": text}
            await response.write(json.dumps(record).encode() + b"\n")
        return response

    async def _log_piece(self, request: web.Request, piece: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(piece)
        if self.log_held:
            assert request.transport is not None
            await self.until(request.transport.is_closing)
            self.logs_left += 1
        return response

    async def _preview(self, request: web.Request) -> web.Response:
        port = json.loads(self.bodies[-1])["spec"].get("port", 3000)
        status = {
            "url": f"http://{port}-x.preview.localhost:8090/?sandbox_token=t",
            "expirationTimestamp": "2026-11-24T10:00:00Z",
        }
        return web.json_response({"kind": "PreviewURL", "status": status}, status=201)

    async def _revoke(self, _: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _proxy(self, request: web.Request) -> web.Response:
        self._found(request)
        return web.Response(status=404, text=f"{request.method} {request.rel_url.raw_path_qs}", headers={"X-App": "yes"})


def _content(file: dict[str, str]) -> bytes:
    return file["content"].encode() if "content" in file else base64.b64decode(file["contentBase64"])


def _untar(body: bytes) -> list[tuple[str, int, bytes, str]]:
    found = []
    with tarfile.open(fileobj=io.BytesIO(_plain(body))) as tar:
        for member in tar:
            if member.issym():
                found.append((member.name, member.mode, member.linkname.encode(), "symlink"))
            elif content := tar.extractfile(member):
                found.append((member.name, member.mode, content.read(), "file"))
    return found


def _plain(body: bytes) -> bytes:
    if body.startswith(b"\x28\xb5\x2f\xfd"):
        return bytes(zstd.decompress(body))
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
