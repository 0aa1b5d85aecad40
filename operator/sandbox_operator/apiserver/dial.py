"""How an agent is reached: one pooled, pinned TLS connection away, and what it means when it does not answer.

The host is computed from the UID, the certificate is the one in the runner's Secret, and the token goes to the control port only.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from yarl import URL

from sandbox_operator.apiserver import request_id
from sandbox_operator.apiserver.credentials import Credentials, CredentialStore
from sandbox_operator.apiserver.runners import Runner
from sandbox_operator.kube import errors as kube_errors
from sandbox_protocol import limits, names
from sandbox_protocol.errors import Cause, StatusError

# A pod of the same cluster answers a SYN within a millisecond; two seconds forgive one lost packet (first retry after one).
CONNECT_SECONDS = 2.0
# The API server gives up after 60 s; ending before it lets us say why.
ANSWER_SECONDS = 58.0
# Seconds after which data that a vanished node does not acknowledge ends a connection. Linux alone would wait 15 minutes.
_DEAD_AFTER = 15
# Service addresses do not change while a runner lives; failures forget them at once.
_DNS_SECONDS = 60
# Below the agent's own (75 s), so that it is us who close an idle connection, never the agent while we send.
_KEEPALIVE_SECONDS = 50.0

# What an agent may tell a user. Its 401 and 403 are about us, and redirects have no meaning here.
_PASSED_CODES = frozenset({400, 404, 405, 406, 408, 409, 410, 411, 412, 413, 415, 416, 422, 429, 500, 503, 504, 507})
_ERROR_BYTES = 64 * 1024
_MESSAGE_CHARACTERS = 2000
_CAUSES = 100
# A path of the workspace, at its longest.
_FIELD_CHARACTERS = limits.PATH_BYTES
_REASON = re.compile(r"[A-Za-z]{1,64}")
# Where to continue an upload, and how long a file is that was asked for behind its end.
_TOLD = {"Upload-Offset": re.compile(r"\d{1,15}"), "Content-Range": re.compile(r"bytes \*/\d{1,15}")}
# What an agent does that we do not believe, by cause.
_DISBELIEVED = {"certificate": "shows a certificate that is not its own", "token": "does not know our token yet"}


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """One request for the agent. ``body`` is bytes, or a stream that can be read only once; ``repeatable`` says that doing it
    twice is harmless, so that a connection which broke before the answer may be tried again."""

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | aiohttp.StreamReader | None = None
    repeatable: bool = False
    answer_seconds: float | None = ANSWER_SECONDS


def connector(resolver: AbstractResolver | None = None) -> aiohttp.TCPConnector:
    """For agents and preview ports alike: no limit, because each connection answers a request that :mod:`limits` has counted."""
    return aiohttp.TCPConnector(
        limit=0,
        resolver=resolver,
        ttl_dns_cache=_DNS_SECONDS,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        socket_factory=_socket,
        happy_eyeballs_delay=None,
    )


def session(pool: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    """No cookies (one jar would carry them from runner to runner), no decompression (bodies pass as they are), no redirects."""
    return aiohttp.ClientSession(
        connector=pool,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )


def _socket(address: Any) -> socket.socket:
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    keep_alive(made)
    return made


def keep_alive(made: socket.socket) -> None:
    """Ends a connection whose other side vanished, within about 15 s."""
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER * 1000),
    ):
        made.setsockopt(level, option, value)


class Dialer:
    """Speaks to agents. Every failure is a StatusError: the agent's own words, or why it could not be asked. ``failed`` is told
    one of :data:`metrics.DIAL_FAILURES` for each of the latter."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        credentials: CredentialStore,
        *,
        port: int = names.CONTROL_PORT,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._credentials = credentials
        self._port = port
        self._failed = failed

    @asynccontextmanager
    async def ask(self, runner: Runner, wanted: AgentRequest) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer, its body unread. Leaving the context early ends the request at once."""
        response = await self._send(runner, wanted)
        try:
            if response.status >= 300 and not (response.status == 304 and "If-None-Match" in wanted.headers):
                raise agent_error(response.status, await _read_at_most(response, _ERROR_BYTES), response.headers)
            yield response
        except aiohttp.ClientPayloadError as error:
            self._failed("broken")
            raise runner.unavailable("the runner's agent broke off its answer") from error
        finally:
            response.close() if not response.content.is_eof() else response.release()

    async def _send(self, runner: Runner, wanted: AgentRequest) -> aiohttp.ClientResponse:
        credentials = await self._known(runner)
        try:
            response = await self._once(runner, wanted, credentials)
        except aiohttp.ClientSSLError:
            # nothing has been sent: the agent showed another certificate than the one we know
            credentials = await self._renewed(runner, credentials, "certificate")
            return await self._last(runner, wanted, credentials)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if isinstance(error, aiohttp.ClientConnectorError) or not wanted.repeatable or _streams(wanted):
                raise self._failure(runner, error) from error
            return await self._last(runner, wanted, credentials)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._failure(runner, error) from error
        if response.status != 401:
            return response
        response.close()
        credentials = await self._renewed(runner, credentials, "token")
        if _streams(wanted):
            raise StatusError(503, "the runner's token has just been rotated: send the request again", retry_after=1)
        return await self._last(runner, wanted, credentials)

    async def _last(self, runner: Runner, wanted: AgentRequest, credentials: Credentials) -> aiohttp.ClientResponse:
        try:
            response = await self._once(runner, wanted, credentials)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._failure(runner, error) from error
        if response.status == 401:
            response.close()
            self._failed("token")
            raise runner.unavailable(f"the runner's agent {_DISBELIEVED['token']}")
        return response

    async def _once(self, runner: Runner, wanted: AgentRequest, credentials: Credentials) -> aiohttp.ClientResponse:
        url = URL.build(
            scheme="https", host=runner.refs.control_host, port=self._port, path=wanted.path, query=list(wanted.query)
        )
        return await self._client.request(
            wanted.method,
            url,
            headers={**wanted.headers, **request_id.headers(), "Authorization": f"Bearer {credentials.token}"},
            data=wanted.body,
            ssl=credentials.tls,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=wanted.answer_seconds),
        )

    async def _known(self, runner: Runner) -> Credentials:
        try:
            return await self._credentials.get(runner.refs)
        except (kube_errors.ApiError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._failed("credentials")
            raise runner.unavailable(_unreadable(error)) from error

    async def _renewed(self, runner: Runner, refused: Credentials, cause: str) -> Credentials:
        try:
            renewed = await self._credentials.renew(runner.refs, refused)
        except (kube_errors.ApiError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._failed("credentials")
            raise runner.unavailable(_unreadable(error)) from error
        if renewed is refused:
            if cause == "token" and (older := self._credentials.before(runner.refs, refused)) is not None:
                return older
            self._failed(cause)
            raise runner.unavailable(f"the runner's agent {_DISBELIEVED[cause]}")
        return renewed

    def _failure(self, runner: Runner, error: Exception) -> StatusError:
        if isinstance(error, aiohttp.SocketTimeoutError):
            self._failed("silent")
            return StatusError(
                504, f"the runner's agent did not answer within {ANSWER_SECONDS:.0f} s; ask its status before you repeat"
            )
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            self._failed("unreachable")
            pool = self._client.connector
            if isinstance(pool, aiohttp.TCPConnector):
                pool.clear_dns_cache(runner.refs.control_host, self._port)
            return runner.unavailable("the runner's agent cannot be reached")
        self._failed("broken")
        return runner.unavailable("the connection to the runner's agent broke before it answered")


def _unreadable(error: Exception) -> str:
    if isinstance(error, kube_errors.NotFound | kube_errors.Forbidden):
        # no Secret, or no RoleBinding yet: the controller has still to make them
        return "the runner's runtime is not provisioned yet"
    return str(error) if isinstance(error, ValueError) else "the runner's control Secret cannot be read"


def _streams(wanted: AgentRequest) -> bool:
    return not (wanted.body is None or isinstance(wanted.body, bytes))


async def _read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    content = b""
    while len(content) < limit and (chunk := await response.content.read(limit - len(content))):
        content += chunk
    return content


def agent_error(code: int, content: bytes, headers: Mapping[str, str] | None = None) -> StatusError:
    """What the agent refused, in its own words but within bounds: an agent is in the pod, and may have been taken over."""
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    if code not in _PASSED_CODES or not isinstance(body, dict) or body.get("kind") != "Status":
        return StatusError(502, f"the runner's agent answered HTTP {code}, which means nothing here")
    details = body.get("details")
    if not isinstance(details, dict) or not isinstance(details.get("causes") or [], list):
        body = {**body, "details": {}}
    told = StatusError.from_body(code, body)
    return StatusError(
        code,
        told.message[:_MESSAGE_CHARACTERS],
        reason=told.reason if _REASON.fullmatch(told.reason) else None,
        causes=[
            Cause(cause.field[:_FIELD_CHARACTERS], cause.reason[:64], cause.message[:_MESSAGE_CHARACTERS])
            for cause in told.causes[:_CAUSES]
        ],
        retry_after=None if told.retry_after is None else min(max(told.retry_after, 1), 300),
        headers={name: value for name, value in (headers or {}).items() if (form := _TOLD.get(name)) and form.fullmatch(value)},
    )
