"""The edge of the server: every request comes in here, every answer goes out here, and every failure becomes one Status.

The order is fixed: who (authn), what (target, route table), may they (authz), which runner, then the verb's own file.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from aiohttp import web

from sandbox_operator.apiserver import authn, discovery, openapi, relay, runners, target
from sandbox_operator.apiserver.authz import Authorizer
from sandbox_operator.apiserver.metrics import OTHER, Metrics
from sandbox_operator.apiserver.verb import Call, Services, Verb
from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import JSON

_LOG = logging.getLogger("sandbox_operator.apiserver.access")
# As nginx writes it: the caller went away before the answer.
_CALLER_GONE = 499
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}")


@dataclass(slots=True)
class State:
    """What changes while the server runs. ``not_ready`` says why it must not get requests; None when it may."""

    authentication: authn.RequestHeaderConfig | None = None
    not_ready: Callable[[], str | None] = lambda: None
    draining: bool = False


@dataclass(slots=True)
class _Record:
    """One line of the access log, filled as far as the request comes."""

    verb: str = OTHER
    action: str = ""
    runner: str = ""
    user: str = ""
    code: int = _CALLER_GONE


class Edge:
    """The request handler of the whole server."""

    def __init__(
        self, verbs: dict[str, Verb], state: State, authorizer: Authorizer, store: runners.Store, services: Services
    ) -> None:
        self._verbs = verbs
        self._state = state
        self._authorizer = authorizer
        self._store = store
        self._services = services
        self.metrics = Metrics(verbs)
        document = openapi.document(verbs.values())
        encode = msgspec.json.encode
        self._aggregated = encode(discovery.aggregated(verbs.values()))
        self._documents = {
            "/apis": encode(discovery.api_group_list()),
            target.PREFIX.rpartition("/")[0]: encode(discovery.api_group()),
            target.PREFIX: encode(discovery.api_resource_list(verbs.values())),
            openapi.INDEX: encode(openapi.index(document)),
            openapi.DOCUMENT: document,
        }

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        opened = self._open(path)
        response = opened if opened is not None else await self._recorded(request, path)
        if self._state.draining:
            # the aggregator shall take its next request to another replica
            response.force_close()
        return response

    def _open(self, path: str) -> web.Response | None:
        """Paths for kubelet and Prometheus, which have no client certificate. They tell nothing about anybody."""
        if path in {"/livez", "/healthz"}:
            return web.Response(text="ok")
        if path == "/readyz":
            why = "shutting down" if self._state.draining else self._state.not_ready()
            return web.Response(text="ok") if why is None else web.Response(text=why, status=503)
        if path == "/metrics":
            return web.Response(text=self.metrics.render(), content_type="text/plain")
        return None

    async def _recorded(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        began = time.monotonic()
        record = _Record()
        self.metrics.in_flight += 1
        try:
            response = await self._answered(request, path, record)
            record.code = response.status
            return response
        finally:
            self.metrics.in_flight -= 1
            seconds = time.monotonic() - began
            self.metrics.observe(record.verb, record.code, seconds)
            if record.verb != OTHER or record.code >= 400:
                _LOG.info(
                    "request id=%s method=%s verb=%s action=%s runner=%s user=%s code=%d ms=%.1f",
                    request_id(request.headers.get("Audit-ID")),
                    request.method,
                    record.verb,
                    record.action,
                    record.runner,
                    msgspec.json.encode(record.user[:200]).decode(),
                    record.code,
                    seconds * 1000,
                )

    async def _answered(self, request: web.BaseRequest, path: str, record: _Record) -> web.StreamResponse:
        try:
            return await self._served(request, path, record)
        except StatusError as error:
            return _failure(request, error)
        except ConnectionError:
            return relay.Finished(_CALLER_GONE)
        except Exception:
            _LOG.exception("cannot answer %s of %s", record.verb, record.runner)
            return _failure(request, StatusError(500, "the sandbox API server failed; its log says why"))

    async def _served(self, request: web.BaseRequest, path: str, record: _Record) -> web.StreamResponse:
        peer = request.transport.get_extra_info("peercert") if request.transport is not None else None
        user = authn.authenticate(self._state.authentication, peer, request.headers)
        record.user = user.name
        if (document := self._document(request, path)) is not None:
            return document
        wanted = target.parse(path)
        verb = self._verbs.get(wanted.verb)
        if verb is None:
            raise StatusError(404, f'SandboxRunner has no subresource "{wanted.verb}", only {", ".join(sorted(self._verbs))}')
        operation = verb.operation(request.method, wanted.rest)
        record.verb, record.action, record.runner = verb.name, operation.action, str(wanted)
        await self._authorizer.authorize(user, operation.action, wanted)
        runner = runners.find(self._store, wanted)
        if operation.needs_running:
            runners.running(runner)
        return await operation.handle(Call(request, user, wanted, runner, operation), self._services)

    def _document(self, request: web.BaseRequest, path: str) -> web.Response | None:
        if request.method != "GET" or path not in self._documents:
            return None
        if path == "/apis" and discovery.wants_aggregated(request.headers.get("Accept", "")):
            return web.Response(body=self._aggregated, headers={"Content-Type": discovery.AGGREGATED})
        return web.Response(body=self._documents[path], content_type=JSON)


def request_id(audit_id: str | None) -> str:
    """The API server's id for this request, so that both logs can be read side by side; a new one when it sent none."""
    return audit_id if audit_id is not None and _REQUEST_ID.fullmatch(audit_id) else str(uuid.uuid4())


def _failure(request: web.BaseRequest, error: StatusError) -> web.StreamResponse:
    if request.writer.output_size > 0:
        # An answer has begun. Ending it in due form would tell the caller that it is whole.
        if request.transport is not None:
            request.transport.abort()
        return relay.Finished(error.code)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return web.Response(status=error.code, body=msgspec.json.encode(error.body()), content_type=JSON, headers=headers)
