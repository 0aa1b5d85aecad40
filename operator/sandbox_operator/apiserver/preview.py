"""``preview``: a signed URL for a person's browser (POST), as TokenRequest does for tokens, and voiding all of them (DELETE)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from sandbox_operator.apiserver import relay
from sandbox_operator.apiserver.runners import Runner, app_port
from sandbox_operator.apiserver.verb import API_VERSION, Call, Operation, Services, Verb
from sandbox_protocol.errors import Cause, StatusError
from sandbox_protocol.wire import JSON

KIND = "PreviewRequest"
# Below a minute a slow page load outlives its URL; above a day a forgotten browser tab is a standing right.
MIN_SECONDS, DEFAULT_SECONDS, MAX_SECONDS = 60, 3600, 24 * 3600
_BODY_BYTES = 4096


class _Spec(msgspec.Struct, forbid_unknown_fields=True):
    port: int | None = None
    expirationSeconds: int = DEFAULT_SECONDS  # noqa: N815 - as on the wire
    reload: bool = False


class _Request(msgspec.Struct):
    kind: str = KIND
    apiVersion: str = API_VERSION  # noqa: N815 - as on the wire
    spec: _Spec = msgspec.field(default_factory=_Spec)


def parse(body: bytes, runner: Runner) -> tuple[int, int, bool]:
    """Port and seconds that a request asks for, and whether its pages load anew after a sync.

    StatusError 400 for another form, 422 with the field for another range.
    """
    try:
        wanted = msgspec.json.decode(body or b"{}", type=_Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StatusError(400, f'not a {KIND}: {error}; want {{"spec":{{"port":3000,"expirationSeconds":3600}}}}') from error
    if (wanted.kind, wanted.apiVersion) != (KIND, API_VERSION):
        raise StatusError(
            400, f"want kind {KIND} and apiVersion {API_VERSION}, not {wanted.kind[:80]} and {wanted.apiVersion[:80]}"
        )
    seconds = wanted.spec.expirationSeconds
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        message = f"{seconds} is not between {MIN_SECONDS} and {MAX_SECONDS} seconds"
        raise StatusError(
            422, f"spec.expirationSeconds: {message}", causes=[Cause("spec.expirationSeconds", "FieldValueInvalid", message)]
        )
    return app_port(runner.port if wanted.spec.port is None else wanted.spec.port, "spec.port"), seconds, wanted.spec.reload


async def post(call: Call, services: Services) -> web.StreamResponse:
    call.query()
    port, seconds, reload = parse(await relay.small_body(call.request, _BODY_BYTES), call.runner)
    url, expires = services.previews.issue(call.user, call.runner, port, seconds, ("reload",) if reload else ())
    body: dict[str, Any] = {
        "kind": KIND,
        "apiVersion": API_VERSION,
        "metadata": {"name": call.runner.name, "namespace": call.runner.namespace},
        "spec": {"port": port, "expirationSeconds": seconds, "reload": reload},
        "status": {"url": url, "expirationTimestamp": datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")},
    }
    return _answer(201, body)


async def delete(call: Call, services: Services) -> web.StreamResponse:
    call.query()
    await services.previews.revoke(call.runner)
    return _answer(200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200})


def _answer(code: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=code, body=msgspec.json.encode(body), content_type=JSON, headers={"Cache-Control": "no-store"})


VERB = Verb(
    "preview",
    KIND,
    (
        Operation(
            "POST",
            "create",
            "Sign a preview URL for the requesting user.",
            post,
            accepts=((JSON, KIND),),
            returns=((JSON, KIND),),
            code=201,
            refusals=(408, 413, 422),
            needs_running=False,  # the gateway's waiting page tells a visitor that the runner is suspended
        ),
        Operation(
            "DELETE",
            "delete",
            "Void every preview URL and session of the runner.",
            delete,
            returns=((JSON, "Status"),),
            needs_running=False,
        ),
    ),
)
