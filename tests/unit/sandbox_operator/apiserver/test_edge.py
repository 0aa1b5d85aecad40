"""The whole server over real TLS, called as the aggregator calls it; beyond it an agent, an app and an API server are played."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sandbox_operator.apiserver import routes
from sandbox_operator.apiserver.target import PREFIX
from sandbox_protocol.errors import StatusError
from tests.unit.sandbox_operator.apiserver.world import (
    ALICE,
    REFS,
    SHOP,
    Authorities,
    Caller,
    World,
    app_port_of,
    authorities,
    caller,
    world,
)

__all__ = ["app_port_of", "authorities", "caller", "world"]


# who


async def test_forged_user_headers_without_a_certificate_are_unauthorized(world: World, caller: Caller) -> None:
    async with caller(None).post(world.url(f"{SHOP}/sync"), headers=ALICE, data=b"{}") as response:
        assert response.status == 401
        assert (await response.json())["reason"] == "Unauthorized"
    assert world.agent.asked == []


async def test_a_certificate_of_the_ca_with_another_name_is_unauthorized(
    world: World, caller: Caller, authorities: Authorities
) -> None:
    async with caller(authorities.other).post(world.url(f"{SHOP}/sync"), headers=ALICE, data=b"{}") as response:
        assert response.status == 401
    assert world.agent.asked == []


async def test_a_user_of_a_thousand_groups_is_served(world: World) -> None:
    headers = [("X-Remote-User", "alice"), *(("X-Remote-Group", f"group-{n}") for n in range(1000))]
    assert (await world.answer("GET", f"{SHOP}/status", headers=headers))[0] == 200


async def test_a_certificate_of_another_ca_does_not_even_connect(
    world: World, caller: Caller, new_pair: Callable[..., Any]
) -> None:
    forged = new_pair("front-proxy-client", issuer=new_pair("front-proxy-ca", authority=True))
    with pytest.raises(aiohttp.ClientError):
        async with caller(forged).post(world.url(f"{SHOP}/sync"), headers=ALICE, data=b"{}"):
            pass
    assert world.agent.asked == []


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/metrics"])
async def test_kubelet_and_prometheus_need_no_certificate(world: World, caller: Caller, path: str) -> None:
    async with caller(None).get(world.url(path)) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["/", "/apis", PREFIX, "/openapi/v3", "/version", "/debug/pprof", f"{SHOP}/log"])
async def test_everything_else_does(world: World, caller: Caller, path: str) -> None:
    async with caller(None).get(world.url(path), headers=ALICE) as response:
        assert response.status == 401


# may they

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.mark.parametrize("verb", [*routes.VERBS, "exec", "env", "scale"])
@pytest.mark.parametrize("method", METHODS)
async def test_without_rights_no_verb_and_no_method_reaches_the_agent_or_the_app(world: World, verb: str, method: str) -> None:
    world.allowed.clear()
    async with world.request(method, f"{SHOP}/{verb}") as response:
        served = verb in routes.VERBS and method in {operation.method for operation in routes.VERBS[verb].operations}
        assert response.status == (403 if served else 405 if verb in routes.VERBS else 404)
    assert (world.agent.asked, world.app, world.previews.revoked) == ([], [], [])


async def test_a_get_right_on_every_verb_neither_writes_nor_restarts(world: World) -> None:
    world.allowed.intersection_update({("alice", "get", verb) for verb in routes.VERBS})
    for method, verb in (("POST", "sync"), ("POST", "restart"), ("POST", "preview"), ("DELETE", "preview"), ("POST", "proxy")):
        assert (await world.answer(method, f"{SHOP}/{verb}"))[0] == 403
    assert (world.agent.asked, world.app, world.previews.issued) == ([], [], [])


async def test_a_right_is_asked_before_it_is_told_whether_the_runner_exists(world: World) -> None:
    world.allowed.clear()
    world.runners.clear()
    assert (await world.answer("GET", f"{SHOP}/log"))[0] == 403


# which


async def test_a_missing_runner_is_404_and_a_dying_one_410_and_a_suspended_one_409(world: World) -> None:
    found = world.runners["team", "shop"]
    found["spec"]["operatingMode"] = "Suspended"
    code, body = await world.answer("GET", f"{SHOP}/status")
    assert (code, body["reason"]) == (409, "Suspended")
    assert (await world.answer("DELETE", f"{SHOP}/preview"))[0] == 200
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert (await world.answer("GET", f"{SHOP}/status"))[0] == 410
    world.runners.clear()
    assert (await world.answer("GET", f"{SHOP}/status"))[0] == 404


# sync


async def test_a_sync_reaches_the_agent_with_its_body_query_and_listed_headers_only(world: World) -> None:
    async def take(request: web.Request) -> web.Response:
        world.agent.bodies.append(await request.read())
        return web.json_response(
            {"kind": "SyncResult", "revision": "2-ab"}, headers={"ETag": '"2-ab"', "Set-Cookie": "a=b", "X-Odd": "1"}
        )

    world.agent.handler = take
    headers = {
        **ALICE,
        "Content-Type": "application/x-tar",
        "Content-Encoding": "gzip",
        "If-Match": '"1-00"',
        "Authorization": "Bearer of-the-user",
        "Cookie": "c=d",
        "X-Other": "1",
    }
    async with world.request(
        "POST", f"{SHOP}/sync?mode=mirror&delete=a%20b&delete=c%26d&timeout=60s", headers=headers, data=b"\x1f\x8bnot gzip"
    ) as response:
        assert response.status == 200
        assert response.headers["ETag"] == '"2-ab"'
        assert not {"Set-Cookie", "X-Odd"} & set(response.headers)
    (asked,) = world.agent.asked
    assert world.agent.bodies == [b"\x1f\x8bnot gzip"]
    assert list(asked.query.items()) == [("mode", "mirror"), ("delete", "a b"), ("delete", "c&d")]
    assert asked.headers["Authorization"] == f"Bearer {world.agent.token}"
    ours = {"Host", "Authorization", "Content-Length", "X-Request-ID"}
    assert set(asked.headers) == {"Content-Type", "Content-Encoding", "If-Match", *ours}


async def test_a_large_body_passes_while_it_is_sent(world: World) -> None:
    sent, seen = asyncio.Event(), asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
            seen.set()
        return web.json_response({"bytes": size})

    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 300_000
        await seen.wait()
        yield b"y" * 300_000
        sent.set()

    world.agent.handler = take
    assert (await world.answer("POST", f"{SHOP}/sync", data=body())) == (200, {"bytes": 600_000})
    assert sent.is_set()
    assert world.agent.asked[0].headers["Transfer-Encoding"] == "chunked"


async def test_a_large_body_of_known_length_keeps_its_length(world: World) -> None:
    async def take(request: web.Request) -> web.Response:
        return web.json_response({"bytes": len(await request.read())})

    world.agent.handler = take
    assert (await world.answer("POST", f"{SHOP}/sync", data=io.BytesIO(b"x" * 3_000_000))) == (200, {"bytes": 3_000_000})
    assert world.agent.asked[0].headers["Content-Length"] == "3000000"


async def test_a_caller_that_waits_for_continue_is_told_to_only_when_it_is_going_to_be_served(world: World) -> None:
    async def take(request: web.Request) -> web.Response:
        return web.json_response({"bytes": len(await request.read())})

    world.agent.handler = take
    assert (await world.answer("POST", f"{SHOP}/sync", data=b"x" * 200_000, expect100=True)) == (200, {"bytes": 200_000})
    world.allowed.clear()
    code, _ = await world.answer("POST", f"{PREFIX}/namespaces/team/sandboxrunners/shop/restart", data=b"x", expect100=True)
    assert code == 403


async def test_a_caller_that_breaks_off_its_upload_breaks_it_off_at_the_agent(world: World) -> None:
    began, broken = asyncio.Event(), asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        try:
            async for _ in request.content.iter_any():
                began.set()
        except BaseException:
            broken.set()
            raise
        raise AssertionError("a sync that was cut off looked whole")

    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 200_000
        await asyncio.Event().wait()

    world.agent.handler = take
    upload = asyncio.create_task(world.answer("POST", f"{SHOP}/sync", data=body()))
    await began.wait()
    upload.cancel()
    await broken.wait()


async def test_a_misspelt_parameter_is_refused_by_name(world: World) -> None:
    code, body = await world.answer("POST", f"{SHOP}/sync?mod=mirror", data=b"{}")
    assert code == 400
    assert "'mod'" in body["message"]
    assert world.agent.asked == []


async def test_the_manifest_is_json_and_the_tree_is_a_tar(world: World) -> None:
    async def take(request: web.Request) -> web.Response:
        return web.Response(body=b"content", headers={"Content-Type": request.headers["Accept"]})

    world.agent.handler = take
    async with world.request("GET", f"{SHOP}/sync") as response:
        assert response.content_type == "application/json"
    async with world.request("GET", f"{SHOP}/sync?path=src&path=b", headers={**ALICE, "Accept": "application/x-tar"}) as response:
        assert response.content_type == "application/x-tar"
    assert world.agent.asked[1].query.getall("path") == ["src", "b"]


async def test_an_agent_cannot_make_its_answer_a_page(world: World) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<script>", content_type="text/html")

    world.agent.handler = page
    for path in ("status", "sync"):
        async with world.request("GET", f"{SHOP}/{path}") as response:
            assert response.content_type == "application/json"
            assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_error_of_the_agent_keeps_its_code_and_words(world: World) -> None:
    async def full(request: web.Request) -> web.Response:
        return web.json_response(
            {"kind": "Status", "code": 507, "reason": "InsufficientStorage", "message": "the volume is full"}, status=507
        )

    world.agent.handler = full
    code, body = await world.answer("POST", f"{SHOP}/sync", data=b"{}")
    assert (code, body["reason"], body["message"]) == (507, "InsufficientStorage", "the volume is full")


async def test_an_answer_cut_off_at_the_agent_is_cut_off_for_the_caller(world: World) -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x" * 1000)
        assert request.transport is not None
        request.transport.abort()
        return response

    world.agent.handler = breaks
    with pytest.raises(aiohttp.ClientError):
        async with world.request("GET", f"{SHOP}/sync") as response:
            await response.read()


# restart, status


async def test_a_restart_passes_its_body(world: World) -> None:
    async def take(request: web.Request) -> web.Response:
        return web.json_response({"state": "Starting", "took": await request.json()})

    world.agent.handler = take
    assert (await world.answer("POST", f"{SHOP}/restart", data=b'{"gracePeriodSeconds":1}'))[1]["took"] == {
        "gracePeriodSeconds": 1
    }
    assert (await world.answer("POST", f"{SHOP}/restart"))[1]["took"] == {}
    code, told = await world.answer("POST", f"{SHOP}/restart", data=b"x" * 5000)
    assert code == 413
    assert "5000 bytes; 4096 are allowed" in told["message"]


async def test_a_part_of_an_upload_passes_with_its_place_and_the_answer_without_a_body(world: World) -> None:
    async def take(request: web.Request) -> web.Response:
        assert await request.read() == b"part"
        return web.Response(status=204, headers={"Upload-Offset": "9", "Server-Secret": "x"})

    world.agent.handler = take
    headers = {**ALICE, "Upload-Offset": "5", "Upload-Complete": "?0"}
    async with world.request("POST", f"{SHOP}/sync?upload=abcdefgh", headers=headers, data=b"part") as response:
        assert (response.status, response.headers["Upload-Offset"], await response.read()) == (204, "9", b"")
        assert "Server-Secret" not in response.headers
    (asked,) = world.agent.asked
    assert (asked.headers["Upload-Offset"], asked.headers["Upload-Complete"], asked.query["upload"]) == ("5", "?0", "abcdefgh")


@pytest.mark.parametrize(("told", "passed"), [("12", "12"), ("12, x", None), ("-1", None)])
async def test_a_refused_part_says_where_to_continue(world: World, told: str, passed: str | None) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response(StatusError(409, "not here").body(), status=409, headers={"Upload-Offset": told})

    world.agent.handler = refuse
    async with world.request("POST", f"{SHOP}/sync?upload=abcdefgh", data=b"part") as response:
        assert (response.status, response.headers.get("Upload-Offset")) == (409, passed)


async def test_a_file_passes_with_its_range_and_never_as_a_page(world: World) -> None:
    async def give(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match"):
            return web.Response(status=304, headers={"ETag": '"a"'})
        return web.Response(status=206, body=b"bc", headers={"Content-Range": "bytes 1-2/9", "Content-Type": "text/html"})

    world.agent.handler = give
    headers = {**ALICE, "Range": "bytes=1-2", "If-Range": '"a"', "Cookie": "c"}
    async with world.request("GET", f"{SHOP}/sync?file=a%20b", headers=headers) as response:
        assert (response.status, response.headers["Content-Range"], await response.read()) == (206, "bytes 1-2/9", b"bc")
        assert response.content_type == "application/octet-stream"
    asked = world.agent.asked[0]
    assert (asked.query["file"], asked.headers["Range"], asked.headers["If-Range"]) == ("a b", "bytes=1-2", '"a"')
    async with world.request("GET", f"{SHOP}/sync?file=a", headers={**ALICE, "If-None-Match": '"a"'}) as response:
        assert (response.status, response.headers["ETag"], await response.read()) == (304, '"a"', b"")


async def test_an_agent_that_says_not_modified_to_who_did_not_ask_makes_no_sense(world: World) -> None:
    async def odd(_: web.Request) -> web.Response:
        return web.Response(status=304)

    world.agent.handler = odd
    assert (await world.answer("GET", f"{SHOP}/sync"))[0] == 502


async def test_changes_of_files_are_streamed(world: World) -> None:
    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(b"{}\n")
        await asyncio.sleep(3600)
        return response

    world.agent.handler = watch
    async with world.request("GET", f"{SHOP}/sync?watch=true&cursor=1-2") as response:
        assert response.content_type == "application/x-ndjson"
        assert await response.content.readline() == b"{}\n"
    assert dict(world.agent.asked[0].query) == {"watch": "true", "cursor": "1-2"}


# log


async def follow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    await response.write(b"one\n")
    await asyncio.Event().wait()
    return response


async def test_a_followed_log_comes_line_by_line(world: World) -> None:
    world.agent.handler = follow
    async with world.request("GET", f"{SHOP}/log?follow=true&tailLines=3&stream=stderr") as response:
        assert response.content_type == "text/plain"
        assert await response.content.readline() == b"one\n"
    assert dict(world.agent.asked[0].query) == {"follow": "true", "tailLines": "3", "stream": "stderr"}


async def test_records_are_asked_for_and_passed_on(world: World) -> None:
    world.agent.handler = follow
    headers = {**ALICE, "Accept": "application/x-ndjson, application/json"}
    async with world.request("GET", f"{SHOP}/log?follow&process=web", headers=headers) as response:
        assert response.content_type == "application/x-ndjson"
        assert await response.content.readline() == b"one\n"
    assert world.agent.asked[0].headers["Accept"] == "application/x-ndjson"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("tailLines=-1", "tailLines: '-1' is not a whole number of at least 0"),
        ("limitBytes=0", "limitBytes: '0' is not a whole number of at least 1"),
        ("sinceTime=today", "sinceTime: 'today' is not a time such as 2026-01-31T10:00:00Z"),
        ("sinceTime=2026-01-31T10:00:00Z&sinceSeconds=3", "give sinceSeconds or sinceTime, not both"),
        ("stream=stdin", "stream: 'stdin' is none of stdout, stderr, system"),
        ("process=Web", "process: 'Web' is not the name of a process"),
        ("cursor=12", "cursor: '12' is not a cursor that came with a line of this log"),
        ("follow=maybe", "follow: 'maybe' is neither true nor false"),
        ("tailLines=1&tailLines=2", "tailLines: give it once"),
    ],
)
async def test_a_bad_log_query_is_refused_before_the_agent_is_asked(world: World, query: str, words: str) -> None:
    code, body = await world.answer("GET", f"{SHOP}/log?{query}")
    assert code == 400
    assert words in body["message"]
    assert body["details"]["causes"][0]["field"] == words.partition(":")[0] if ":" in words else True
    assert world.agent.asked == []


async def test_a_cursor_that_the_agent_does_not_know_is_told_in_its_words(world: World) -> None:
    async def gone(_: web.Request) -> web.Response:
        return web.json_response(StatusError(410, "cursor: the oldest is x", reason="Expired").body(), status=410)

    world.agent.handler = gone
    code, body = await world.answer("GET", f"{SHOP}/log?cursor=00000000.1.1")
    assert (code, body["reason"], body["message"]) == (410, "Expired", "cursor: the oldest is x")


async def test_a_reader_that_leaves_ends_the_log_at_the_agent(world: World) -> None:
    left = asyncio.Event()

    async def watch(request: web.Request) -> web.StreamResponse:
        try:
            return await follow(request)
        finally:
            left.set()

    world.agent.handler = watch
    response = await world.request("GET", f"{SHOP}/log?follow=true")
    await response.content.readline()
    response.close()
    await left.wait()


async def test_a_followed_log_ends_in_due_form_when_the_server_stops(world: World) -> None:
    world.agent.handler = follow
    async with world.request("GET", f"{SHOP}/log?follow=true") as response:
        await response.content.readline()
        world.long_running.end()
        assert await response.content.read() == b""


# preview


async def test_a_preview_is_issued_for_the_user_and_the_runners_own_port(world: World) -> None:
    code, body = await world.answer("POST", f"{SHOP}/preview")
    assert code == 201
    assert body["status"] == {"url": "https://preview/", "expirationTimestamp": "2027-01-15T08:00:00Z"}
    ((user, runner, port, seconds),) = world.previews.issued
    assert (user.name, runner.refs, port, seconds) == ("alice", REFS, 8000, 3600)


@pytest.mark.parametrize(
    ("spec", "code", "field"),
    [
        ({"expirationSeconds": 59}, 422, "spec.expirationSeconds"),
        ({"expirationSeconds": 86401}, 422, "spec.expirationSeconds"),
        ({"port": 7070}, 422, "spec.port"),
        ({"port": 0}, 422, "spec.port"),
        ({"port": "80"}, 400, None),
        ({"host": "evil.example"}, 400, None),
        ([], 400, None),
    ],
)
async def test_a_preview_out_of_bounds_is_refused_by_field(world: World, spec: Any, code: int, field: str | None) -> None:
    got, body = await world.answer("POST", f"{SHOP}/preview", data=json.dumps({"spec": spec}))
    assert got == code
    assert field is None or body["details"]["causes"][0]["field"] == field
    assert world.previews.issued == []


async def test_revoking_is_for_the_runner(world: World) -> None:
    assert (await world.answer("DELETE", f"{SHOP}/preview"))[0] == 200
    assert [runner.refs for runner in world.previews.revoked] == [REFS]


# proxy


async def test_the_app_gets_the_request_without_the_callers_rights(world: World) -> None:
    headers = {**ALICE, "Authorization": "Bearer x", "Cookie": "c", "X-Sandbox-Port": "22", "X-Kept": "1"}
    async with world.request("PUT", f"{SHOP}/proxy/a%2Fb/../c?d=%20", headers=headers, data=b"x" * 200_000) as response:
        seen = await response.json()
        assert response.headers["X-App"] == "1"
        assert "Set-Cookie" not in response.headers
        assert response.headers["Content-Security-Policy"] == "sandbox"
    assert (seen["method"], seen["path"], seen["bytes"]) == ("PUT", "/a%2Fb/../c?d=%20", 200_000)
    assert seen["headers"]["X-Sandbox-Port"] == "8000"
    assert seen["headers"]["X-Kept"] == "1"
    assert not {"Authorization", "Cookie", "X-Remote-User", "X-Remote-Group"} & set(seen["headers"])
    assert world.agent.asked == []


@pytest.mark.parametrize(
    ("method", "action"), [("GET", "get"), ("POST", "create"), ("PUT", "update"), ("PATCH", "patch"), ("DELETE", "delete")]
)
async def test_each_method_to_the_app_needs_its_own_right(world: World, method: str, action: str) -> None:
    world.allowed.intersection_update({("alice", action, "proxy")})
    assert [(await world.answer(each, f"{SHOP}/proxy/x"))[0] for each in ("GET", "POST", "PUT", "PATCH", "DELETE")] == [
        200 if each == method else 403 for each in ("GET", "POST", "PUT", "PATCH", "DELETE")
    ]


async def test_a_websocket_is_carried_to_the_app_and_back(world: World) -> None:
    async with world.session.ws_connect(world.url(f"{SHOP}/proxy/ws"), headers=ALICE, protocols=["vite-hmr"]) as ws:
        assert ws.protocol == "vite-hmr"
        for text in ("a", "b" * 300_000):
            await ws.send_str(text)
            assert await ws.receive_str() == f"echo {text}"
    assert "X-Remote-User" not in world.app[0].headers


async def test_a_websocket_that_the_app_declines_is_a_bad_gateway(world: World) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as declined:
        await world.session.ws_connect(world.url(f"{SHOP}/proxy/declines"), headers=ALICE)
    assert declined.value.status == 502


async def test_a_websocket_ends_when_the_server_stops(world: World) -> None:
    async with world.session.ws_connect(world.url(f"{SHOP}/proxy/ws"), headers=ALICE) as ws:
        await ws.send_str("a")
        await ws.receive_str()
        world.long_running.end()
        assert (await ws.receive()).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR}


async def test_an_answer_without_a_body_stays_one(world: World) -> None:
    async with world.request("HEAD", f"{SHOP}/proxy/x") as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) > 0
        assert await response.read() == b""
    assert (await world.answer("GET", f"{SHOP}/proxy/x"))[0] == 200


async def test_an_upgrade_of_another_method_is_no_upgrade(world: World) -> None:
    headers = {**ALICE, "Connection": "Upgrade", "Upgrade": "websocket"}
    code, seen = await world.answer("DELETE", f"{SHOP}/proxy/x", headers=headers)
    assert (code, seen["method"]) == (200, "DELETE")
    assert "Upgrade" not in seen["headers"]


# discovery, shutting down, telling


async def test_discovery_lists_each_verb_with_its_rbac_verbs(world: World) -> None:
    resources = {r["name"]: r["verbs"] for r in (await world.answer("GET", PREFIX))[1]["resources"]}
    assert resources == {
        "sandboxrunners": [],
        "sandboxrunners/sync": ["create", "get"],
        "sandboxrunners/restart": ["create"],
        "sandboxrunners/log": ["get"],
        "sandboxrunners/status": ["get"],
        "sandboxrunners/exec": ["create", "get"],
        "sandboxrunners/preview": ["create", "delete"],
        "sandboxrunners/proxy": ["create", "delete", "get", "patch", "update"],
    }


async def test_aggregated_discovery_says_the_same(world: World) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    async with world.request("GET", "/apis", headers={**ALICE, "Accept": accept}) as response:
        assert response.headers["Content-Type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        (group,) = (await response.json())["items"]
    found = {s["subresource"]: s["verbs"] for s in group["versions"][0]["resources"][0]["subresources"]}
    assert found == {name: verb.actions for name, verb in routes.VERBS.items()}
    assert (await world.answer("GET", "/apis"))[1]["kind"] == "APIGroupList"


async def test_openapi_describes_every_operation_and_resolves_every_reference(world: World) -> None:
    _, index = await world.answer("GET", "/openapi/v3")
    (address,) = (entry["serverRelativeURL"] for entry in index["paths"].values())
    text = json.dumps(document := (await world.answer("GET", address))[1])
    for name, verb in routes.VERBS.items():
        item = document["paths"][f"{PREFIX}/namespaces/{{namespace}}/sandboxrunners/{{name}}/{name}"]
        assert {key.upper() for key in item} - {"PARAMETERS"} == {operation.method for operation in verb.operations}
    assert {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]} <= set(document["components"]["schemas"])


async def test_a_draining_server_is_not_ready_and_sends_callers_elsewhere(world: World) -> None:
    world.state.draining = True
    async with world.session.get(world.url("/readyz")) as response:
        assert (response.status, await response.text()) == (503, "shutting down")
    async with world.request("GET", f"{SHOP}/status") as response:
        assert response.status == 200
        assert response.headers["Connection"] == "close"


async def test_a_bug_is_500_without_its_details(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(world.previews, "issue", broken)
    code, body = await world.answer("POST", f"{SHOP}/preview")
    assert code == 500
    assert "secret" not in json.dumps(body)
