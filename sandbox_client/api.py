"""HTTP to the API server, as the user: JSON in and out, failures as ApiError, watches, and streams for logs.

Knows nothing of sandboxes. Retries nothing but a request refused for a credential that could be read anew (401): whether a
failed write may be sent again is for its caller to know.
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from sandbox_client.credentials import Credentials, tls_context
from sandbox_client.errors import ApiError, InvalidName, Unreachable
from sandbox_client.impersonation import PREFIX
from sandbox_client.kubeconfig import Connection
from sandbox_protocol.dns_names import name_fault, namespace_fault
from sandbox_protocol.entry_names import shown

Query = Sequence[tuple[str, str]]

CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 70.0
"""The API server itself ends a request after 60 s; ten more let its answer arrive."""
WATCH_SECONDS = 300
"""A watch ends by itself and is begun anew, so that a silently dead connection costs minutes, not for ever."""
WHOLE_BYTES = 1024 * 1024
USER_AGENT = "appstudio-sandbox-client"


def path(*segments: str) -> str:
    """An API path from the names that it is made of: groups, versions, kinds, namespaces, objects. Raises InvalidName.

    A name is never escaped into its segment: the API server decodes ``%2F``, and ``shop/proxy`` would lead to an app.
    """
    return "/" + "/".join(map(checked_name, segments))


def checked_name(name: str) -> str:
    """The same. Raises InvalidName for what no object can be called."""
    if fault := name_fault(name):
        raise InvalidName(fault)
    return name


def checked_namespace(namespace: str) -> str:
    """The same. Raises InvalidName for what no namespace can be called."""
    if fault := namespace_fault(namespace):
        raise InvalidName(fault)
    return namespace


def path_below(target: str) -> str:
    """The part of a path that an app answers to, escaped. InvalidName for ``.`` and ``..``, which proxies and servers resolve."""
    parts = target.lstrip("/").split("/")
    for part in parts:
        if part in (".", ".."):
            raise InvalidName(f"{part!r} in the path {shown(target)!r} would lead elsewhere: write the path without it")
    return "/" + "/".join(quote(part, safe="") for part in parts)


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` is escaped already (:func:`path`); ``body`` is bytes, or a function that opens a fresh body for each attempt."""

    method: str
    path: str
    query: Query = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Callable[[], Any] | None = None


def json_request(method: str, url_path: str, body: Any, *, query: Query = (), content_type: str = "application/json") -> Request:
    """A request that carries ``body`` as JSON."""
    return Request(method, url_path, query, {"Content-Type": content_type}, json.dumps(body).encode())


class Api:
    """One connection to one API server. Use as ``async with``; not shared between event loops."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._credentials = Credentials(connection)
        self._acting_as = connection.impersonation.headers()
        self._sessions: list[aiohttp.ClientSession] = []  # the last one is in use; streams may still run over earlier ones
        self._client_cert: str | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        while self._sessions:
            await self._sessions.pop().close()
        await self._drop_unsent()

    async def _drop_unsent(self) -> None:
        """A server that hangs up amid a body leaves bytes that nobody takes, and asyncio's TLS, flushing them by then, ignores an
        abort: such a socket would outlive the event loop. A send that fails ends it: one turn to fail, one to close."""
        for left in self._sockets:
            with suppress(OSError):  # closed, as nearly all are
                left.shutdown(socket.SHUT_RDWR)
        for _ in range(2):
            await asyncio.sleep(0)

    async def json(self, request: Request) -> Any:
        """The answer's JSON. Raises ApiError, Unreachable."""
        async with self.open(request) as answer:
            return await answer.json(content_type=None)

    @asynccontextmanager
    async def open(self, request: Request, *, stream: bool = False) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, once its head says success; the caller reads the body. ``stream``: it may last and pause for ever."""
        answer = await self.exchange(request, stream=stream)
        if answer.status >= 300:  # the API server never redirects; following one would carry the credential elsewhere
            raise await _failure(answer)
        try:
            yield answer
        except (aiohttp.ClientError, TimeoutError) as error:  # a body cut short
            raise Unreachable(
                f"{self.connection.server} broke off its answer to {request.method} {request.path}: {error or 'timeout'}"
            ) from error
        finally:
            if stream:
                answer.close()
            else:
                answer.release()

    async def watch(
        self, collection: str, *, query: Query = (), resource_version: str
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Events (type, object) until the server ends the watch. An ERROR event (such as 410) is raised as ApiError."""
        full = [*query, ("watch", "true"), ("resourceVersion", resource_version), ("timeoutSeconds", str(WATCH_SECONDS))]
        async with self.open(Request("GET", collection, full), stream=True) as answer:
            buffered = b""
            async for chunk in answer.content.iter_any():  # readline() would refuse an object larger than its buffer
                *lines, buffered = (buffered + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError.from_body(int(event["object"].get("code") or 500), event["object"])
                    yield event["type"], event["object"]

    @asynccontextmanager
    async def websocket(self, url_path: str, query: Query, protocol: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket of that subprotocol; leaving the context closes it. Raises ApiError, Unreachable."""
        url = URL(f"{self.connection.server}{url_path}?{urlencode(query, errors='surrogateescape')}", encoded=True)
        for may_renew in (True, False):
            session, own = await self._ready()
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    socket = await session.ws_connect(
                        url,
                        protocols=[protocol],
                        headers=own,
                        proxy=self.connection.proxy_url,
                        server_hostname=self.connection.tls_server_name,
                        max_msg_size=0,
                    )
            except aiohttp.WSServerHandshakeError as error:
                if error.status == 401 and may_renew and self._credentials.refuse():
                    continue
                raise await self._refusal(url_path, query, error) from error
            except (aiohttp.ClientError, OSError) as error:
                raise Unreachable(f"no answer from {self.connection.server}: {error or 'timeout'}") from error
            break
        try:
            yield socket
        finally:
            await socket.close()

    async def _refusal(self, url_path: str, query: Query, error: aiohttp.WSServerHandshakeError) -> ApiError:
        """Why a handshake was refused. aiohttp throws the answer's body away, so the server is asked again, without an upgrade;
        an answer with another code is about that, and not about what we asked first."""
        answer = await self.exchange(Request("GET", url_path, query))
        if answer.status == error.status:
            return await _failure(answer)
        answer.release()
        return ApiError.from_body(error.status, f"{self.connection.server} refused the WebSocket: HTTP {error.status}")

    async def exchange(self, request: Request, *, stream: bool = False) -> aiohttp.ClientResponse:
        """The answer whatever its status says; the caller releases it. Raises Unreachable."""
        query = f"?{urlencode(request.query, errors='surrogateescape')}" if request.query else ""
        url = URL(f"{self.connection.server}{request.path}{query}", encoded=True)
        timeout = aiohttp.ClientTimeout(total=None if stream else REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        for may_renew in (True, False):
            session, own = await self._ready()
            try:
                answer = await session.request(
                    request.method,
                    url,
                    headers=_over(own, {"Accept": "application/json", **request.headers}),
                    data=_sendable(request.body),
                    timeout=timeout,
                    proxy=self.connection.proxy_url,
                    server_hostname=self.connection.tls_server_name,
                    allow_redirects=False,
                )
            except aiohttp.ClientConnectorCertificateError as error:
                raise Unreachable(
                    f"the kubeconfig does not trust the certificate of {self.connection.server}: {error}"
                ) from error
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                raise Unreachable(f"no answer from {self.connection.server}: {error or 'timeout'}") from error
            if answer.status == 401 and may_renew and self._credentials.refuse():
                answer.release()
                continue
            break
        return answer

    async def _ready(self) -> tuple[aiohttp.ClientSession, CIMultiDict[str]]:
        """The session, and the headers that say who asks and as whom; a new session when a plugin handed out another client
        certificate."""
        credential = await self._credentials.current()
        if not self._sessions or credential.client_cert != self._client_cert:
            context = await asyncio.to_thread(tls_context, self.connection, credential)
            self._client_cert = credential.client_cert
            connector = aiohttp.TCPConnector(ssl=context, limit=64, socket_factory=self._socket)
            self._sessions.append(aiohttp.ClientSession(connector=connector, headers={"User-Agent": USER_AGENT}))
        own = CIMultiDict(self._acting_as)
        if credential.token:
            own["Authorization"] = f"Bearer {credential.token}"
        return self._sessions[-1], own

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        made = socket.socket(*address[:3])
        self._sockets.add(made)
        return made


def _over(own: CIMultiDict[str], asked: Mapping[str, str]) -> CIMultiDict[str]:
    """Both; where a header of ``asked`` would be a second word on who asks or as whom, ours alone."""
    acts = any(name.lower().startswith(PREFIX) for name in own)
    kept = [item for item in asked.items() if item[0] not in own and not (acts and item[0].lower().startswith(PREFIX))]
    return CIMultiDict([*kept, *own.items()])


def _sendable(body: bytes | Callable[[], Any] | None) -> Any:
    """Large bytes as a file: aiohttp then sends them in pieces, and other tasks get their turns in between."""
    sent = body() if callable(body) else body
    return io.BytesIO(sent) if isinstance(sent, bytes) and len(sent) > WHOLE_BYTES else sent


async def _failure(answer: aiohttp.ClientResponse) -> ApiError:
    try:
        text = await answer.text(errors="replace")
    except (aiohttp.ClientError, OSError):
        text = answer.reason or ""
    finally:
        answer.release()
    try:
        body = json.loads(text)
    except ValueError:
        body = text
    return ApiError.from_body(answer.status, body)
