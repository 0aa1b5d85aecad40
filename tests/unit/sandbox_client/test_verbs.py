"""Logs, restart, preview, proxy, and failures as a caller sees them."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from aiohttp import web

from sandbox_client import ApiError, Client, Invalid, NotFound, Sandbox, SandboxError, Unavailable, Unreachable, logs
from sandbox_client.kubeconfig import Connection
from sandbox_protocol.errors import Cause, StatusError
from tests.unit.sandbox_client.fake_api import FakeApi


async def test_log_lines_come_whole_whatever_the_chunks(api: FakeApi, shop: Sandbox) -> None:
    api.log = "first line\n\nthird, ünïcode\nno end".encode()
    assert [line async for line in shop.logs(tail_lines=4, timestamps=True, stream="stderr")] == [
        "first line",
        "",
        "third, ünïcode",
        "no end",
    ]
    assert dict(api.requests[-1].query) == {"tailLines": "4", "timestamps": "true", "stream": "stderr"}


async def test_a_log_line_without_end_is_handed_out_in_pieces(
    api: FakeApi, shop: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LINE_BYTES", 10)
    api.log = b"x" * 25
    lines = [line async for line in shop.logs()]
    assert "".join(lines) == "x" * 25
    assert [len(line) for line in lines] == [10, 10, 5]


async def test_a_follower_goes_on_by_cursor_whatever_breaks(api: FakeApi, shop: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_FIRST_DELAY", 0.0)
    api.log = b"".join(b"%d\n" % number for number in range(1, 21))
    api.log_breaks = 4
    found = []
    async with aclosing(shop.log_records(follow=True, tail_lines=100)) as records:
        async for record in records:
            found.append(record)
            if record.text == "20":
                break
    assert [record.text for record in found] == [str(number) for number in range(1, 21)]
    assert found[0].time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    queries = [dict(request.query) for request in api.requests if request.path.endswith("/log")]
    assert queries[0] == {"follow": "true", "tailLines": "100"}
    assert queries[1] == {"follow": "true", "cursor": "3"}


async def test_records_that_are_not_followed_tell_of_a_broken_connection(api: FakeApi, shop: Sandbox) -> None:
    api.log, api.log_breaks = b"1\n2\n3\n", 3
    with pytest.raises(Unreachable):
        _ = [record async for record in shop.log_records()]


async def test_a_first_connection_that_fails_is_told_at_once(api: FakeApi, shop: Sandbox) -> None:
    api.fail = lambda _: web.json_response(StatusError(503, "not yet").body(), status=503)
    with pytest.raises(Unavailable):
        _ = [record async for record in shop.log_records(follow=True)]


async def test_since_time_travels_as_rfc3339(api: FakeApi, shop: Sandbox) -> None:
    _ = [line async for line in shop.logs(since_time=datetime(2026, 1, 2, tzinfo=UTC))]
    assert api.requests[-1].query["sinceTime"] == "2026-01-02T00:00:00+00:00"


async def test_restart_answers_with_the_process(api: FakeApi, shop: Sandbox) -> None:
    assert (await shop.restart(grace_period_seconds=3)).state == "Starting"
    assert api.bodies[-1] == b'{"gracePeriodSeconds": 3}'
    assert (await shop.restart(process="worker")).name == "worker"
    assert api.bodies[-1] == b'{"process": "worker"}'


async def test_a_preview_is_a_url_with_its_end(shop: Sandbox) -> None:
    preview = await shop.preview(port=8000)
    assert preview.url.startswith("http://8000-")
    assert preview.expires == datetime(2026, 11, 24, 10, tzinfo=UTC)
    await shop.revoke_previews()


async def test_the_app_s_own_404_is_an_answer(shop: Sandbox) -> None:
    answer = await shop.proxy("PUT", "/a b/c?d", query=[("q", "1&2")])
    assert (answer.status, answer.headers["x-app"]) == (404, "yes")
    assert answer.body.decode().endswith("/proxy/a%20b/c%3Fd?q=1%262")


async def test_a_refusal_before_the_app_is_an_error(client: Client) -> None:
    with pytest.raises(NotFound):
        await client.sandbox("nobody").proxy()


async def test_the_proxy_does_not_leave_the_runner(shop: Sandbox) -> None:
    with pytest.raises(ValueError, match="lead elsewhere"):
        await shop.proxy(target="/../../../other/sync")


async def test_a_failure_carries_code_reason_causes_and_describes_itself(api: FakeApi, shop: Sandbox) -> None:
    status = StatusError(422, "2 entries were refused", causes=[Cause("../x", "InvalidPath", "leaves the workspace")])
    api.fail = lambda _: web.json_response(status.body(), status=422)
    with pytest.raises(Invalid) as caught:
        await shop.sync({"../x": ""})
    assert caught.value.causes == status.causes
    assert caught.value.describe() == "2 entries were refused\n  ../x: leaves the workspace"
    assert isinstance(caught.value, SandboxError)
    assert isinstance(caught.value, StatusError)


async def test_an_answer_that_is_no_status_is_still_an_error(api: FakeApi, shop: Sandbox) -> None:
    api.fail = lambda _: web.Response(status=502, text="<html>bad gateway</html>")
    with pytest.raises(ApiError, match="HTTP 502: <html>bad gateway"):
        await shop.status()


async def test_a_redirect_is_not_followed_with_the_credential(api: FakeApi, shop: Sandbox) -> None:
    api.fail = lambda _: web.Response(status=307, headers={"Location": "http://elsewhere.invalid/"})
    with pytest.raises(ApiError, match="HTTP 307"):
        await shop.status()


async def test_no_server_is_said_plainly(unused_tcp_port: int) -> None:
    async with Client(Connection(f"http://127.0.0.1:{unused_tcp_port}")) as client:
        with pytest.raises(Unreachable, match=f"no answer from http://127.0.0.1:{unused_tcp_port}"):
            await client.list()


async def test_a_token_refused_once_is_read_again(api: FakeApi, client: Client, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text("old")

    def fail(request: web.Request) -> web.StreamResponse | None:
        if request.headers["Authorization"] == "Bearer old":
            file.write_text("new")
            return web.json_response(StatusError(401, "Unauthorized").body(), status=401)
        return None

    api.fail = fail
    async with Client(Connection(client.api.connection.server, "demo", token_file=file)) as renewing:
        assert await renewing.list() == []
    assert [request.headers["Authorization"] for request in api.requests] == ["Bearer old", "Bearer new"]
