"""OpenAPI v3 of the group, from the route table. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from sandbox_operator.apiserver.schemas import SCHEMAS
from sandbox_operator.apiserver.target import PREFIX
from sandbox_operator.apiserver.verb import Operation, Verb
from sandbox_protocol import names

INDEX = "/openapi/v3"
DOCUMENT = f"{INDEX}{PREFIX}"

_RUNNER = f"{PREFIX}/namespaces/{{namespace}}/{names.PLURAL}/{{name}}"
_PATH_PARAMETERS = [
    {"name": name, "in": "path", "required": True, "description": f"{name} of the SandboxRunner", "schema": {"type": "string"}}
    for name in ("namespace", "name")
]


def index(document: bytes) -> dict[str, Any]:
    """Where the document is; the hash in the address lets the API server keep it until it changes."""
    digest = hashlib.sha256(document).hexdigest()[:32]
    return {"paths": {PREFIX.removeprefix("/"): {"serverRelativeURL": f"{DOCUMENT}?hash={digest}"}}}


def document(verbs: Iterable[Verb]) -> bytes:
    paths: dict[str, Any] = {}
    for verb in verbs:
        item = {operation.method.lower(): _operation(verb, operation) for operation in verb.operations}
        paths[f"{_RUNNER}/{verb.name}"] = {"parameters": _PATH_PARAMETERS, **item}
    return msgspec.json.encode(
        {
            "openapi": "3.0.0",
            "info": {"title": "SandboxRunner subresources", "version": names.VERSION},
            "paths": paths,
            "components": {"schemas": {name: _named(name, schema) for name, schema in SCHEMAS.items()}},
        }
    )


def _named(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    if name == "Status":
        return schema
    kind = {"group": names.SUBRESOURCE_GROUP, "version": names.VERSION, "kind": name}
    return {**schema, "x-kubernetes-group-version-kind": [kind]}


def _operation(verb: Verb, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.action}{names.KIND}{verb.name.capitalize()}{operation.method.capitalize()}",
        "summary": operation.summary,
        "tags": [names.SUBRESOURCE_GROUP],
        "parameters": [
            {"name": p.name, "in": "query", "description": p.description, "schema": p.schema} for p in operation.parameters
        ],
        "responses": {
            "2XX": {"description": "Success", "content": _content(operation.returns)},
            "default": {"description": "Failure", "content": _content((("application/json", "Status"),))},
        },
        "x-kubernetes-action": "connect",
    }
    if operation.accepts:
        described["requestBody"] = {"content": _content(operation.accepts)}
    return described


def _content(media: Iterable[tuple[str, str]]) -> dict[str, Any]:
    raw = {"type": "string", "format": "binary"}
    return {kind: {"schema": {"$ref": f"#/components/schemas/{name}"} if name else raw} for kind, name in media}
