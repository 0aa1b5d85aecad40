"""What a verb is made of. Each verb's file declares one :class:`Verb`; routing, discovery, OpenAPI and authorization read it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
from aiohttp import web
from multidict import MultiMapping

from sandbox_operator.apiserver.authn import User
from sandbox_operator.apiserver.dial import Dialer
from sandbox_operator.apiserver.lifetime import LongRunning
from sandbox_operator.apiserver.pods import RunnerPods
from sandbox_operator.apiserver.runners import Runner
from sandbox_operator.apiserver.sessions import Sessions
from sandbox_operator.apiserver.target import Target
from sandbox_protocol import names
from sandbox_protocol.errors import Cause, StatusError
from sandbox_protocol.wire import JSON

API_VERSION = f"{names.SUBRESOURCE_GROUP}/{names.VERSION}"

# As the API server maps methods to RBAC verbs, before it asks us.
METHOD_ACTIONS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

# What client-go adds on its own; it concerns the API server, which has already acted on it.
_CLIENT_PARAMETERS = frozenset({"timeout", "pretty", "fieldManager", "fieldValidation"})


class PreviewIssuer(Protocol):
    """Makes and voids preview URLs (:mod:`sandbox_operator.apiserver.preview`)."""

    def issue(self, user: User, runner: Runner, port: int, seconds: int, inject: tuple[str, ...] = ()) -> tuple[str, int]:
        """URL and Unix time of its end. ``inject`` names scripts for its pages."""

    async def revoke(self, runner: Runner) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers use of the world outside, made once at start."""

    dialer: Dialer
    apps: aiohttp.ClientSession
    previews: PreviewIssuer
    long_running: LongRunning
    sessions: Sessions
    pods: RunnerPods
    preview_port: int = names.PREVIEW_PORT


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated and authorized request for an existing runner."""

    request: web.BaseRequest
    user: User
    target: Target
    runner: Runner
    operation: Operation

    def query(self) -> list[tuple[str, str]]:
        """The declared parameters of the request, in their order. StatusError 400 names one that the verb does not know."""
        return known_parameters(self.request.query, self.operation.parameters)


Handler = Callable[[Call, Services], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or a header; ``schema`` is OpenAPI's, and is checked by whoever acts on the value, as is that it
    is there if ``required``."""

    name: str
    description: str
    schema: dict[str, Any]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer beside the usual one: its code, when it comes, its content as in ``Operation.returns``, its headers."""

    code: int
    description: str
    content: Sequence[tuple[str, str]] = ()
    headers: Sequence[Parameter] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a verb. ``action`` is the RBAC verb that must be allowed; ``accepts`` and ``returns`` map a media type to the
    name of a schema in :mod:`sandbox_operator.apiserver.schemas`, or to "" for bytes. With ``needs_running`` a suspended
    runner is answered 409. What callers are told besides: request ``headers``, the ``code`` and ``answer_headers`` of success,
    ``answers`` that are successful too, and ``refusals``, the codes of errors beyond those that every verb has
    (:data:`sandbox_operator.apiserver.openapi.REFUSALS` has their words)."""

    method: str
    action: str
    summary: str
    handle: Handler
    parameters: Sequence[Parameter] = ()
    accepts: Sequence[tuple[str, str]] = ()
    returns: Sequence[tuple[str, str]] = ((JSON, ""),)
    needs_running: bool = True
    headers: Sequence[Parameter] = ()
    code: int = 200
    answer_headers: Sequence[Parameter] = ()
    answers: Sequence[Answer] = ()
    refusals: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Verb:
    """A subresource. ``below`` says that a path may follow its name; ``kind`` is what discovery says it serves."""

    name: str
    kind: str
    operations: Sequence[Operation]
    below: bool = False

    def operation(self, method: str, rest: str) -> Operation:
        """StatusError 404 for a path below a verb that has none, 405 for a method it does not serve."""
        if rest and not self.below:
            raise StatusError(404, f'"{self.name}" has no path below it')
        for operation in self.operations:
            if operation.method == method:
                return operation
        allowed = ", ".join(sorted(operation.method for operation in self.operations))
        raise StatusError(405, f'"{self.name}" does not serve {method[:16]}, only {allowed}', headers={"Allow": allowed})

    @property
    def actions(self) -> list[str]:
        """RBAC verbs that its callers need: ours, and the one by which the API server judges the method."""
        return sorted({action for each in self.operations for action in (each.action, METHOD_ACTIONS[each.method])})


def known_parameters(query: MultiMapping[str], parameters: Sequence[Parameter]) -> list[tuple[str, str]]:
    """Unknown ones are refused, not dropped: a misspelt ``mode`` would otherwise delete or keep the wrong files."""
    known = {parameter.name for parameter in parameters}
    unknown = [name for name in query if name not in known and name not in _CLIENT_PARAMETERS]
    if unknown:
        may = f"known are {', '.join(sorted(known))}" if known else "it has none"
        raise StatusError(
            400,
            f"unknown query parameter {unknown[0][:80]!r}: {may}",
            causes=[Cause(unknown[0][:80], "FieldValueNotSupported", "not a parameter of this verb")],
        )
    return [(name, value) for name, value in query.items() if name in known]
