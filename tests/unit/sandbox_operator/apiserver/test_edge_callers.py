"""What the edge does the same for every verb: limits, ids, the access log, metrics."""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from sandbox_operator.apiserver import lifetime
from sandbox_operator.apiserver.limits import Allowance, Limiter, Limits
from sandbox_operator.apiserver.metrics import Metrics
from sandbox_operator.apiserver.target import PREFIX
from sandbox_protocol.json_log import JsonLines
from tests.unit.sandbox_operator.apiserver.world import ALICE, SHOP, World, app_port_of, authorities, caller, world

__all__ = ["app_port_of", "authorities", "caller", "world"]

BOB = {"X-Remote-User": "bob"}
AUDIT = "8a1f0c5e-0000-4000-8000-000000000000"


def allow(world: World, **allowances: Allowance) -> None:
    world.edge._checks = type(world.edge._checks)(
        Limiter(Limits(**allowances)), world.edge._checks.authorizer, world.edge._checks.store
    )


async def metrics(world: World) -> str:
    async with world.session.get(world.url("/metrics")) as response:
        return await response.text()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """Gives the lines of the access log as they are printed."""
    caplog.set_level("INFO")
    return lambda: [JsonLines().format(record) for record in caplog.records if record.name.endswith("access")]


# limits


async def test_a_flood_of_one_user_is_told_to_wait_and_another_is_served_meanwhile(world: World) -> None:
    hold, held = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(request: web.Request) -> web.Response:
        if request.query.get("mode") == "merge":
            held.release()
            await hold.wait()
        return web.json_response({"kind": "SyncResult"})

    allow(world, user=Allowance(requests=4, streams=1, per_second=1000, burst=1000))
    world.agent.handler = slow
    world.allowed.add(("bob", "create", "sync"))
    flood = [asyncio.create_task(world.answer("POST", f"{SHOP}/sync?mode=merge", data=b"{}")) for _ in range(4)]
    for _ in flood:
        await held.acquire()
    more = await asyncio.gather(*(world.answer("POST", f"{SHOP}/sync?mode=merge", data=b"{}") for _ in range(60)))
    assert {code for code, _ in more} == {429}
    assert more[0][1]["message"] == 'user "alice" has 4 requests in flight, 4 are allowed; let some end first'
    assert more[0][1]["details"]["retryAfterSeconds"] == 1
    assert (await world.answer("POST", f"{SHOP}/sync", headers=BOB, data=b"{}"))[0] == 200
    hold.set()
    assert [code for code, _ in await asyncio.gather(*flood)] == [200] * 4
    assert (await world.answer("POST", f"{SHOP}/sync", data=b"{}"))[0] == 200
    assert 'sandbox_apiserver_limited_total{limit="user_requests"} 60.0' in await metrics(world)


async def test_too_many_of_a_user_are_refused_before_anybody_is_asked_about_them(world: World) -> None:
    allow(world, user=Allowance(requests=4, streams=1, per_second=1, burst=1))
    assert (await world.answer("GET", f"{SHOP}/status"))[0] == 200
    world.allowed.clear()
    async with world.request("GET", f"{SHOP}/log") as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "1")
    assert len(world.agent.asked) == 1


async def test_who_has_no_right_to_a_runner_uses_up_nothing_of_it(world: World) -> None:
    allow(world, runner=Allowance(requests=2, streams=2, per_second=1, burst=4))
    for _ in range(20):
        assert (await world.answer("GET", f"{SHOP}/status", headers=BOB))[0] == 403
    assert (await world.answer("GET", f"{SHOP}/status"))[0] == 200
    assert (await world.answer("GET", f"{SHOP}/status"))[0] == 200
    code, body = await world.answer("GET", f"{SHOP}/status")
    assert (code, "SandboxRunner" in body["message"]) == (429, True)


async def test_followed_logs_keep_no_sync_out_and_end_their_place_with_their_reader(world: World) -> None:
    left = asyncio.Event()

    async def follow(request: web.Request) -> web.StreamResponse:
        if request.path != "/v1/log":
            return web.json_response({"kind": "SyncResult"})
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        try:
            await response.write(b"one\n")
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    world.agent.handler = follow
    allow(world, user=Allowance(requests=1, streams=1, per_second=1000, burst=1000))
    response = await world.request("GET", f"{SHOP}/log?follow=true")
    await response.content.readline()
    code, body = await world.answer("GET", f"{SHOP}/log?follow=true")
    assert (code, body["details"]["retryAfterSeconds"]) == (429, 10)
    assert (await world.answer("POST", f"{SHOP}/sync", data=b"{}"))[0] == 200
    response.close()
    await left.wait()
    async with world.request("GET", f"{SHOP}/log?follow=true") as response:
        assert response.status == 200


async def test_discovery_is_never_limited(world: World) -> None:
    allow(world, user=Allowance(requests=1, streams=1, per_second=1, burst=1))
    assert [(await world.answer("GET", PREFIX))[0] for _ in range(10)] == [200] * 10


# ids


async def test_the_api_servers_id_reaches_the_agent_the_caller_and_the_log(world: World, lines: Any) -> None:
    async with world.request("GET", f"{SHOP}/status", headers={**ALICE, "Audit-ID": AUDIT}) as response:
        assert response.headers["X-Request-Id"] == AUDIT
    assert world.agent.asked[0].headers["X-Request-Id"] == AUDIT
    (line,) = lines()
    assert json.loads(line)["request"] == AUDIT


async def test_a_streamed_answer_and_a_refusal_carry_the_id_too(world: World) -> None:
    for path, code in ((f"{SHOP}/log", 200), (f"{SHOP}/sync?mod=x", 400), (f"{SHOP}/nothing", 404)):
        async with world.request("GET", path, headers={**ALICE, "Audit-ID": AUDIT}) as response:
            assert (response.status, response.headers["X-Request-Id"]) == (code, AUDIT)


@pytest.mark.parametrize("sent", ["", "short", "x" * 65, "with space and more", 'quote"quote"'])
async def test_an_id_that_is_none_is_replaced(world: World, sent: str) -> None:
    async with world.request("GET", f"{SHOP}/status", headers={**ALICE, "Audit-ID": sent}) as response:
        made = response.headers["X-Request-Id"]
    assert len(made) == 36
    assert made == world.agent.asked[0].headers["X-Request-Id"]


async def test_the_app_is_told_no_id_of_ours_and_keeps_its_own(world: World) -> None:
    headers = {**ALICE, "Audit-ID": AUDIT}
    async with world.request("GET", f"{SHOP}/proxy/x", headers=headers) as response:
        seen = await response.json()
    assert not {"Audit-ID", "X-Request-Id", "X-Request-ID"} & set(seen["headers"])
    async with world.request("GET", f"{SHOP}/proxy/x", headers={**headers, "X-Request-Id": "the-apps-own"}) as response:
        assert (await response.json())["headers"]["X-Request-ID"] == "the-apps-own"


# the log


async def test_a_line_says_who_did_what_to_which_runner_and_how_it_ended(world: World, lines: Any) -> None:
    await world.answer("POST", f"{SHOP}/sync", data=b"{}", headers={**ALICE, "Audit-ID": AUDIT})
    (line,) = lines()
    told = json.loads(line)
    assert told.pop("ms") >= 0
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "info",
        "logger": "sandbox_operator.apiserver.access",
        "message": "request",
        "request": AUDIT,
        "user": "alice",
        "method": "POST",
        "verb": "sync",
        "action": "create",
        "namespace": "team",
        "name": "shop",
        "code": 200,
        "reason": "",
        "received": 2,
        "sent": len(b'{"kind": "SyncResult", "revision": "1-00"}'),
    }
    assert world.agent.token not in line


async def test_a_follower_that_leaves_is_in_the_log_with_what_it_got(world: World, lines: Any) -> None:
    left = asyncio.Event()

    async def follow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        try:
            await response.write(b"x" * 5000 + b"\n")
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    world.agent.handler = follow
    response = await world.request("GET", f"{SHOP}/log?follow=true")
    await response.content.readline()
    response.close()
    await left.wait()
    (line,) = lines()
    told = json.loads(line)
    assert (told["code"], told["verb"]) == (499, "log")
    assert told["sent"] > 5000
    assert 'sandbox_apiserver_requests_in_flight{kind="streams"} 0.0' in await metrics(world)


@pytest.mark.parametrize("name", ['"},{"level":"error', "a\u2028b\u009b", "ä" * 500, "system:serviceaccount:x:y"])
async def test_no_user_name_makes_a_line_of_its_own(world: World, lines: Any, name: str) -> None:
    await world.answer("GET", f"{SHOP}/status", headers={"X-Remote-User": name})
    (line,) = lines()
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["user"] == name[:256]
    assert json.loads(line)["level"] == "info"


@pytest.mark.parametrize(
    "path", [f"{SHOP}/%0a%7B%22level%22", f"{SHOP}/status%1b", f"{PREFIX}/namespaces/a%0ab/sandboxrunners/x/log"]
)
async def test_no_path_does_either(world: World, lines: Any, path: str) -> None:
    assert (await world.answer("GET", path))[0] == 404
    (line,) = lines()
    assert line.isprintable()
    assert json.loads(line)["code"] == 404


def test_an_exception_stays_one_line() -> None:
    try:
        raise ValueError("one\ntwo\x1b[0m")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed\n%s", ("a\rb",), sys.exc_info())
    line = JsonLines().format(record)
    assert line.isprintable()
    assert json.loads(line)["message"] == "failed\na\rb"


async def test_a_query_that_is_no_text_is_refused_in_words(world: World) -> None:
    assert (await world.answer("GET", f"{SHOP}/status?%ff=1"))[0] == 400
    assert (await world.answer("GET", f"{SHOP}/log?stream=%ff%00"))[0] == 400
    assert (await world.answer("GET", f"{SHOP}/sync?path=%ff%00"))[0] == 200, "values are the agent's business"


# metrics


async def test_metrics_have_no_label_that_a_caller_can_choose(world: World) -> None:
    await world.answer("GET", f"{SHOP}/status")
    await world.answer("GET", f"{PREFIX}/namespaces/team/sandboxrunners/shop/evil-label")
    text = await metrics(world)
    assert 'sandbox_apiserver_requests_total{code="200",verb="status"} 1.0' in text
    assert 'sandbox_apiserver_requests_total{code="404",verb="other"} 1.0' in text
    assert 'sandbox_apiserver_request_duration_seconds_count{verb="status"} 1.0' in text
    assert 'sandbox_apiserver_authorizations_total{answer="asked"} 1.0' in text
    assert "evil" not in text
    assert "shop" not in text
    assert "alice" not in text


def test_no_app_makes_a_series_for_each_code_that_it_can_think_of() -> None:
    meter = Metrics(["proxy"])
    for code in range(1000):
        meter.observe("proxy", code, 0.1)
        meter.observe(f"verb-{code}", 200, 0.1)
    series = [line for line in meter.render().decode().splitlines() if line.startswith("sandbox_apiserver_requests_total")]
    assert len(series) < 70
    assert 'sandbox_apiserver_requests_total{code="499",verb="proxy"} 1.0' in series
    assert 'sandbox_apiserver_requests_total{code="200",verb="other"} 1000.0' in series


async def test_bytes_both_ways_are_counted(world: World) -> None:
    async def take(request: web.Request) -> web.StreamResponse:
        size = len(await request.read())
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"y" * size)
        return response

    world.agent.handler = take
    await world.answer("GET", f"{SHOP}/status")
    async with world.request("POST", f"{SHOP}/sync", data=b"x" * 300_000) as response:
        assert len(await response.read()) == 300_000
    text = await metrics(world)
    assert 'sandbox_apiserver_received_bytes_total{verb="sync"} 300000.0' in text
    (sent,) = (line for line in text.splitlines() if line.startswith('sandbox_apiserver_sent_bytes_total{verb="sync"'))
    assert 300_000 <= float(sent.rpartition(" ")[2]) < 301_000, "the body, and the head and chunk marks of what was streamed"
    assert 'sandbox_apiserver_requests_in_flight{kind="requests"} 0.0' in text


async def test_an_agent_that_cannot_be_asked_is_counted_by_cause(world: World) -> None:
    world.edge._services.dialer._port = 1
    assert (await world.answer("GET", f"{SHOP}/status"))[0] == 503
    assert 'sandbox_apiserver_agent_failures_total{cause="unreachable"} 1.0' in await metrics(world)


async def test_a_method_that_is_not_served_is_answered_with_those_that_are(world: World) -> None:
    async with world.request("PUT", f"{SHOP}/sync", data=b"{}") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, POST")


# bodies


async def unfinished() -> AsyncIterator[bytes]:
    """An upload that has begun and does not end."""
    yield b"x" * 300_000
    await asyncio.Event().wait()


async def test_a_refusal_of_the_agent_reaches_a_caller_that_is_still_sending(world: World) -> None:
    async def full(request: web.Request) -> web.Response:
        await request.content.readany()
        return web.json_response({"kind": "Status", "code": 413, "message": "more than 64 MiB"}, status=413)

    world.agent.handler = full
    code, body = await world.answer("POST", f"{SHOP}/sync", data=unfinished())
    assert (code, body["message"]) == (413, "more than 64 MiB")


async def test_a_refusal_of_ours_does_too(world: World) -> None:
    assert (await world.answer("POST", f"{SHOP}/restart", data=unfinished()))[0] == 413
    world.allowed.clear()
    assert (await world.answer("POST", f"{SHOP}/sync", data=unfinished()))[0] == 403


async def test_a_slow_upload_does_not_hold_its_place_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def take(request: web.Request) -> web.Response:
        if request.can_read_body:
            await request.read()
        return web.json_response({"kind": "SyncResult"})

    world.agent.handler = take
    allow(world, user=Allowance(requests=1, streams=1, per_second=1000, burst=1000))
    monkeypatch.setattr(lifetime.deadline.__wrapped__, "__defaults__", (0.05,))  # type: ignore[attr-defined]
    code, body = await world.answer("POST", f"{SHOP}/sync", data=unfinished())
    assert (code, body["reason"]) == (408, "RequestTimeout")
    monkeypatch.undo()
    assert (await world.answer("GET", f"{SHOP}/status"))[0] == 200


async def test_an_open_websocket_is_no_upload_that_must_go_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetime.arriving.__wrapped__, "__defaults__", (0,))  # type: ignore[attr-defined]
    async with world.session.ws_connect(world.url(f"{SHOP}/proxy/ws"), headers=ALICE, protocols=["vite-hmr"]) as ws:
        for _ in range(3):
            await ws.send_str("a")
            assert await ws.receive_str() == "echo a"


async def test_an_upload_to_the_app_that_stops_gives_its_place_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetime.arriving.__wrapped__, "__defaults__", (0.01,))  # type: ignore[attr-defined]
    code, body = await world.answer("POST", f"{SHOP}/proxy/x", data=unfinished())
    assert (code, body["reason"]) == (408, "RequestTimeout")
    assert (await world.answer("GET", f"{SHOP}/proxy/x"))[0] == 200
