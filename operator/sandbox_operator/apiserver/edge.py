"""The edge of the server: every request comes in here, every answer goes out here, and every failure becomes one Status.

The order is fixed: who (authn), what (target, route table), how much of this user (limits), may they (authz), which runner,
how much of this runner (limits), then the verb's own file.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from aiohttp import web

from sandbox_operator.apiserver import authn, discovery, lifetime, metrics, openapi, relay, request_id, runners, target, tunnel
from sandbox_operator.apiserver.authz import Authorizer
from sandbox_operator.apiserver.limits import Kind, Limiter, TooManyError
from sandbox_operator.apiserver.verb import Call, Services, Verb
from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import JSON

_LOG = logging.getLogger("sandbox_operator.apiserver.access")
# As nginx writes it: the caller went away before the answer.
_CALLER_GONE = 499
# Characters of a name that a line of the log keeps: user names have no bound of their own.
_LOGGED = 256


@dataclass(slots=True)
class State:
    """What changes while the server runs. ``not_ready`` says why it must not get requests; None when it may."""

    authentication: authn.RequestHeaderConfig | None = None
    not_ready: Callable[[], str | None] = lambda: None
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Checks:
    """What a request must pass before it reaches its verb."""

    limiter: Limiter
    authorizer: Authorizer
    store: runners.Store


@dataclass(slots=True)
class _Record:
    """One line of the access log, filled as far as the request comes."""

    id: str
    verb: str = metrics.OTHER
    action: str = ""
    namespace: str = ""
    name: str = ""
    user: str = ""
    kind: Kind = "requests"
    code: int = _CALLER_GONE
    reason: str = ""
    sent: int = 0

    def fields(self, request: web.BaseRequest, seconds: float) -> dict[str, object]:
        return {
            "request": self.id,
            "user": self.user[:_LOGGED],
            "method": request.method[:16],
            "verb": self.verb,
            "action": self.action,
            "namespace": self.namespace,
            "name": self.name,
            "code": self.code,
            "reason": self.reason,
            "ms": round(seconds * 1000, 1),
            "received": request.content.total_bytes,
            "sent": self.sent,
        }


class Edge:
    """The request handler of the whole server."""

    def __init__(self, verbs: dict[str, Verb], state: State, checks: Checks, services: Services, meter: metrics.Metrics) -> None:
        self._verbs = verbs
        self._state = state
        self._checks = checks
        self._services = services
        self._meter = meter
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
            return web.Response(body=self._meter.render(), headers={"Content-Type": metrics.CONTENT_TYPE})
        return None

    async def _recorded(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        began = time.monotonic()
        record = _Record(request_id.accepted(request.headers.get("Audit-ID")))
        request_id.CURRENT.set(record.id)
        response: web.StreamResponse | None = None
        try:
            response = await self._answered(request, path, record)
            record.code = response.status
            if not response.prepared:
                response.headers[request_id.HEADER] = record.id
            return response
        finally:
            seconds = time.monotonic() - began
            record.sent = _length(request, response)
            self._meter.observe(record.verb, record.code, seconds if record.kind == "requests" else None)
            self._meter.transferred(record.verb, request.content.total_bytes, record.sent)
            if record.verb != metrics.OTHER or record.code >= 400:
                _LOG.info("request", extra={"fields": record.fields(request, seconds)})

    async def _answered(self, request: web.BaseRequest, path: str, record: _Record) -> web.StreamResponse:
        try:
            return await self._served(request, path, record)
        except StatusError as error:
            record.reason = error.reason
            if isinstance(error, TooManyError):
                self._meter.limited(error.limit)
            return _failure(request, error)
        except ConnectionError:
            return relay.Finished(_CALLER_GONE)
        except Exception:
            _LOG.exception("cannot answer", extra={"fields": {"request": record.id, "verb": record.verb}})
            return _failure(request, StatusError(500, f"the sandbox API server failed; its log says why (request {record.id})"))

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
        record.verb, record.action, record.namespace, record.name = verb.name, operation.action, wanted.namespace, wanted.name
        upgrade = tunnel.wants_upgrade(request)
        kind: Kind = "streams" if lifetime.endless(verb.name, request.query, upgrade=upgrade) else "requests"
        record.kind = kind
        checks = self._checks
        with self._meter.in_flight(kind), checks.limiter.user(user.name, kind):
            await checks.authorizer.authorize(user, operation.action, wanted)
            runner = runners.find(checks.store, wanted)
            if operation.needs_running:
                runners.running(runner)
            bounds = lifetime.arriving(request.content) if kind == "streams" else lifetime.deadline(request.content)
            with checks.limiter.runner(runner.refs.uid, runner.name, user.name, kind):
                async with bounds:
                    return await operation.handle(Call(request, user, wanted, runner, operation), self._services)

    def _document(self, request: web.BaseRequest, path: str) -> web.Response | None:
        if request.method != "GET" or path not in self._documents:
            return None
        if path == "/apis" and discovery.wants_aggregated(request.headers.get("Accept", "")):
            return web.Response(body=self._aggregated, headers={"Content-Type": discovery.AGGREGATED})
        return web.Response(body=self._documents[path], content_type=JSON)


def _length(request: web.BaseRequest, response: web.StreamResponse | None) -> int:
    """Bytes of the answer: of its body where that is still to be written, else of all that was, head and chunk marks too."""
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        return len(response.body)
    return request.writer.output_size


def _failure(request: web.BaseRequest, error: StatusError) -> web.StreamResponse:
    if request.writer.output_size > 0:
        # An answer has begun. Ending it in due form would tell the caller that it is whole.
        if request.transport is not None:
            request.transport.abort()
        return relay.Finished(error.code)
    headers = error.headers if error.retry_after is None else {**error.headers, "Retry-After": str(error.retry_after)}
    # not msgspec: a message may quote bytes that are no UTF-8, and this must not fail
    body = json.dumps(error.body()).encode()
    return web.Response(status=error.code, body=body, content_type=JSON, headers=headers)
