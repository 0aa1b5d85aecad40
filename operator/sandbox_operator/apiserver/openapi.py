"""OpenAPI v3 of the group, from the route table. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from sandbox_operator.apiserver.schemas import SCHEMAS
from sandbox_operator.apiserver.target import PREFIX
from sandbox_operator.apiserver.verb import Answer, Operation, Parameter, Verb
from sandbox_protocol import names
from sandbox_protocol.wire import JSON

INDEX = "/openapi/v3"
DOCUMENT = f"{INDEX}{PREFIX}"

_RUNNER = f"{PREFIX}/namespaces/{{namespace}}/{names.PLURAL}/{{name}}"
_PATH_PARAMETERS = [
    {
        "name": name,
        "in": "path",
        "required": True,
        "description": f"{name} of the SandboxRunner",
        "schema": {"type": "string", "pattern": pattern, "minLength": 1, "maxLength": longest},
        "example": example,
    }
    for name, pattern, longest, example in (
        ("namespace", "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 63, "team-a"),
        ("name", "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", 253, "shop"),
    )
]
_BELOW = {
    "name": "path",
    "in": "path",
    "required": True,
    "description": "Path of the app's own, sent to it as it is.",
    "schema": {"type": "string", "minLength": 1},
    "example": "index.html",
}

REFUSALS = {
    400: "The request makes no sense; the field is named.",
    401: "The Kubernetes API does not know who asks.",
    403: "RBAC does not allow this subresource with this verb.",
    404: "No such SandboxRunner, file or upload.",
    406: "None of the types that are accepted can be given.",
    408: "The request's body did not come in time.",
    409: "The runner is suspended, or its state is in the way; the message says what to do.",
    410: "The SandboxRunner is being deleted, or what was asked for is not kept any more.",
    412: "If-Match names a revision that is not the current one; both are named.",
    413: "A limit is exceeded; it is named with both numbers.",
    415: "The body is of a type or coding that is not taken.",
    416: "The range lies outside of the file.",
    422: "Values are not possible; each has a cause.",
    429: "A limit of the user or the runner, or priority and fairness of the Kubernetes API. Retry-After says when to come back.",
    500: "A fault of the server; the request id in the message finds it in its log.",
    502: "The runner's agent or the app answered what makes no sense.",
    503: "The runner does not answer (yet), or the API server cannot reach us. With Retry-After, waiting helps.",
    504: "The runner did not answer in time, or the Kubernetes API gave up after 60 s.",
    507: "The workspace's volume is full.",
}
# Of every verb; then of those that ask an agent.
_COMMON = (400, 401, 403, 404, 410, 429, 500, 503, 504)
_OF_AGENTS = (409, 502)
# The aggregator speaks plain text where it finds nobody to pass a request to.
_IN_TEXT = frozenset({429, 502, 503, 504})
_RETRY_AFTER = {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}}
_REQUEST_ID = {"description": "The Audit-ID of the request.", "schema": {"type": "string", "maxLength": 64}}


def index(document: bytes) -> dict[str, Any]:
    """Where the document is; the hash in the address lets the API server keep it until it changes."""
    digest = hashlib.sha256(document).hexdigest()[:32]
    return {"paths": {PREFIX.removeprefix("/"): {"serverRelativeURL": f"{DOCUMENT}?hash={digest}"}}}


def document(verbs: Iterable[Verb]) -> bytes:
    paths: dict[str, Any] = {}
    for verb in verbs:
        item = {operation.method.lower(): _operation(verb, operation) for operation in verb.operations}
        paths[f"{_RUNNER}/{verb.name}"] = {"parameters": _PATH_PARAMETERS, **item}
        if verb.below:
            below = {method: {**found, "operationId": f"{found['operationId']}Path"} for method, found in item.items()}
            paths[f"{_RUNNER}/{verb.name}/{{path}}"] = {"parameters": [*_PATH_PARAMETERS, _BELOW], **below}
    return msgspec.json.encode(
        {
            "openapi": "3.0.0",
            "info": {
                "title": "SandboxRunner subresources",
                "version": names.VERSION,
                "description": "The data plane of a SandboxRunner: files, processes, logs and previews of its live app.",
            },
            "paths": paths,
            "components": {"schemas": {name: _named(name, schema) for name, schema in SCHEMAS.items()}},
        }
    )


def _named(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    if name == "Status" or "oneOf" in schema:
        return schema
    kind = {"group": names.SUBRESOURCE_GROUP, "version": names.VERSION, "kind": name}
    return {**schema, "x-kubernetes-group-version-kind": [kind]}


def _operation(verb: Verb, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.action}{names.KIND}{verb.name.capitalize()}{operation.method.capitalize()}",
        "summary": operation.summary,
        "tags": [names.SUBRESOURCE_GROUP],
        "parameters": [
            *(_parameter(parameter, "query") for parameter in operation.parameters),
            *(_parameter(parameter, "header") for parameter in operation.headers),
        ],
        "responses": _responses(verb, operation),
        "x-kubernetes-action": "connect",
    }
    if operation.accepts:
        described["requestBody"] = {"content": _content(operation.accepts)}
    return described


def _parameter(parameter: Parameter, where: str) -> dict[str, Any]:
    found = {"name": parameter.name, "in": where, "description": parameter.description, "schema": parameter.schema}
    return {**found, "required": True} if parameter.required else found


def _responses(verb: Verb, operation: Operation) -> dict[str, Any]:
    if verb.below:
        return {"default": {"description": "What the app answers, of any code and type; or a Status where it is not reached."}}
    usual = Answer(operation.code, "Success.", operation.returns, operation.answer_headers)
    codes = sorted({*_COMMON, *(_OF_AGENTS if operation.needs_running else ()), *operation.refusals})
    return {
        **{str(answer.code): _answer(answer) for answer in (usual, *operation.answers)},
        **{str(code): _refusal(code) for code in codes},
    }


def _answer(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": answer.description,
        "headers": {
            "X-Request-Id": _REQUEST_ID,
            **{header.name: {"description": header.description, "schema": header.schema} for header in answer.headers},
        },
    }
    return {**found, "content": _content(answer.content)} if answer.content else found


def _refusal(code: int) -> dict[str, Any]:
    text = (("text/plain", ""),) if code in _IN_TEXT else ()
    return {
        "description": REFUSALS[code],
        "headers": {"X-Request-Id": _REQUEST_ID, **({"Retry-After": _RETRY_AFTER} if code in {429, 503} else {})},
        "content": _content(((JSON, "Status"), *text)),
    }


def _content(media: Iterable[tuple[str, str]]) -> dict[str, Any]:
    raw = {"type": "string", "format": "binary"}
    return {kind: {"schema": {"$ref": f"#/components/schemas/{name}"} if name else raw} for kind, name in media}
