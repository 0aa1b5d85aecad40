"""HTTP to the API server, as the user: JSON in and out, failures as ApiError, watches, and streams for logs.

Knows nothing of sandboxes. Retries nothing but a request refused for a credential that could be read anew (401): whether a
failed write may be sent again is for its caller to know.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from sandbox_client.credentials import Credentials, tls_context
from sandbox_client.errors import ApiError, Unreachable
from sandbox_client.kubeconfig import Connection

Query = Sequence[tuple[str, str]]

CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 70.0
"""The API server itself ends a request after 60 s; ten more let its answer arrive."""
WATCH_SECONDS = 300
"""A watch ends by itself and is begun anew, so that a silently dead connection costs minutes, not for ever."""
WHOLE_BYTES = 1024 * 1024
USER_AGENT = "appstudio-sandbox-client"


def path(*segments: str) -> str:
    """An API path from its segments, each escaped: a name never becomes a second segment.

    ``.`` and ``..`` cannot be escaped in a URL; no Kubernetes object may carry them as a name, so they are refused.
    """
    for segment in segments:
        if segment in ("", ".", ".."):
            raise ValueError(f"{segment!r} is not a name")
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


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
        self._sessions: list[aiohttp.ClientSession] = []  # the last one is in use; streams may still run over earlier ones
        self._client_cert: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        while self._sessions:
            await self._sessions.pop().close()

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

    async def exchange(self, request: Request, *, stream: bool = False) -> aiohttp.ClientResponse:
        """The answer whatever its status says; the caller releases it. Raises Unreachable."""
        query = f"?{urlencode(request.query)}" if request.query else ""
        url = URL(f"{self.connection.server}{request.path}{query}", encoded=True)
        timeout = aiohttp.ClientTimeout(total=None if stream else REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        for may_renew in (True, False):
            session, authorization = await self._ready()
            try:
                answer = await session.request(
                    request.method,
                    url,
                    headers={"Accept": "application/json", **request.headers, **authorization},
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

    async def _ready(self) -> tuple[aiohttp.ClientSession, dict[str, str]]:
        """The session and the Authorization header; a new session when a plugin handed out another client certificate."""
        credential = await self._credentials.current()
        if not self._sessions or credential.client_cert != self._client_cert:
            context = await asyncio.to_thread(tls_context, self.connection, credential)
            self._client_cert = credential.client_cert
            connector = aiohttp.TCPConnector(ssl=context, limit=64)
            self._sessions.append(aiohttp.ClientSession(connector=connector, headers={"User-Agent": USER_AGENT}))
        return self._sessions[-1], {"Authorization": f"Bearer {credential.token}"} if credential.token else {}


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
