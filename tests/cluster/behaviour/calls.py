"""How each verb is asked, and how its answer becomes one line."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import secrets
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from sandbox_client import execution
from sandbox_client.api import Api, Query, Request, path
from sandbox_protocol import names
from sandbox_protocol.wire import JSON, TAR
from tests.cluster.behaviour import table
from tests.cluster.behaviour.table import Answer
from tests.harness.preview import Visitor, browserlike

SECONDS = 90
"""Longer than the longest answer: a frozen agent is replaced by the kubelet's liveness probe after 60 s."""
_CHARACTERS = 4000
_STREAMS = frozenset({table.FOLLOW, table.WATCH})
_GETS: Mapping[str, tuple[str, Query, Mapping[str, str]]] = {
    table.MANIFEST: ("sync", (), {}),
    table.TREE: ("sync", (), {"Accept": TAR}),
    table.FILE: ("sync", [("file", "index.html")], {}),
    table.WATCH: ("sync", [("watch", "true")], {}),
    table.LOG: ("log", (), {}),
    table.FOLLOW: ("log", [("follow", "true")], {}),
    table.STATUS: ("status", (), {}),
    table.PROXY: ("proxy", (), {}),
    table.EXEC_PLAIN: ("exec", [("command", "true"), ("stdout", "true")], {}),
}


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a state's calls are for. ``url`` is a preview URL signed before; ``pad`` bytes are added to each body."""

    namespace: str
    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    pad: int = 0

    def request(self, verb: str) -> Request:
        if verb in _GETS:
            subresource, query, headers = _GETS[verb]
            return Request("GET", self._path(subresource) + ("/" if verb == table.PROXY else ""), query, headers)
        text = "x" * self.pad
        match verb:
            case table.SYNC_JSON:
                return self._json("sync", {"files": [{"path": "asked.txt", "content": text}], "restart": "never"})
            case table.SYNC_TAR:
                return self._tar(text.encode(), (), {})
            case table.PART:
                only_one = {"Upload-Offset": "0", "Upload-Complete": "?1"}
                return self._tar(text.encode(), [("upload", secrets.token_hex(8))], only_one)
            case table.EXEC:
                return Request("GET", self._path("exec"), [("command", "true"), ("stdout", "true")], _handshake())
            case table.RESTART | table.PREVIEW:
                return self._json(verb, {"metadata": {"annotations": {"pad": text}}} if text else {})
            case table.REVOKE:
                return Request("DELETE", self._path("preview"))
            case _:
                raise ValueError(f"no request for {verb!r}")

    def _tar(self, content: bytes, query: Query, headers: Mapping[str, str]) -> Request:
        sent = {"Content-Type": TAR, **headers, **self.headers}
        return Request("POST", self._path("sync"), [("restart", "never"), *query], sent, _tar(content))

    def _path(self, verb: str) -> str:
        group = path("apis", names.SUBRESOURCE_GROUP, names.VERSION, "namespaces", self.namespace)
        return group + path(names.PLURAL, self.name, verb)

    def _json(self, verb: str, body: Mapping[str, Any]) -> Request:
        return Request("POST", self._path(verb), (), {"Content-Type": JSON, **self.headers}, json.dumps(body).encode())


async def ask(api: Api, target: Target, verb: str) -> Answer:
    """Raises as the SDK does when the API server gives no answer at all."""
    if verb == table.BROWSER:
        return await _browse(target.url)
    response = await api.exchange(target.request(verb), stream=True)
    if response.status == 101:
        return await _entered(api, target, response)
    async with response:
        # a stream ends when we do; every other answer ends by itself
        body = await (response.content.readany() if verb in _STREAMS and response.ok else response.read())
        return _answer(response, body)


def _handshake() -> dict[str, str]:
    """By hand, as aiohttp's own client throws away the body of a refusal."""
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": execution.PROTOCOL,
    }


async def _entered(api: Api, target: Target, response: aiohttp.ClientResponse) -> Answer:
    """What the handshake agreed on, and what a session of the SDK then brings."""
    protocol = response.headers.get("Sec-WebSocket-Protocol", "")
    response.close()
    done = await execution.run(api, target.request(table.EXEC).path, ["echo", "here"], None)
    told = [f"{name}: {data.decode()}" for name, data in (("stdout", done.stdout), ("stderr", done.stderr)) if data]
    return Answer(response.status, "; ".join([protocol, *told, f"exit code {done.exit_code}"]))


async def _browse(signed: str) -> Answer:
    visitor = Visitor(signed)
    async with browserlike() as http:
        response, body = await visitor.enter(http)
        if response.status != 302:
            return _answer(response, body)
        headers = {**visitor.headers, "Accept": "text/html"}
        async with http.get(visitor.origin, headers=headers, allow_redirects=False) as response:
            return _answer(response, await response.read())


def _answer(response: aiohttp.ClientResponse, body: bytes) -> Answer:
    retry = response.headers.get("Retry-After")
    reason, text = _read(response.content_type, body)
    return Answer(response.status, text[:_CHARACTERS], reason, None if retry is None else int(retry))


def _read(content_type: str, body: bytes) -> tuple[str, str]:
    """Reason and text."""
    text = body.decode("utf-8", "replace")
    if content_type == "text/html" and (found := re.search(r"<h1>(.*?)</h1><p>(.*?)</p>", text, re.DOTALL)):
        return "", html.unescape(re.sub(r"<[^>]*>", "", f"{found[1]}: {found[2]}"))
    if content_type == JSON:
        told = json.loads(text)
        if told.get("kind") == "Status":
            return str(told.get("reason", told["status"])), str(told.get("message", ""))
        return "", json.dumps(told, separators=(",", ":"))
    return "", text


def _tar(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("asked.txt")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()
