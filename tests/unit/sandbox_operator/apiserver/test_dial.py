import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol

from sandbox_operator.apiserver import dial
from sandbox_operator.apiserver.credentials import CredentialStore
from sandbox_operator.apiserver.dial import AgentRequest, Dialer, agent_error
from sandbox_operator.apiserver.runners import Runner
from sandbox_operator.kube import errors as kube_errors
from sandbox_protocol.errors import StatusError
from sandbox_protocol.refs import Refs

UID = "0b0f6f0e-93a5-4d3b-8d3f-2f6c4f3a9b10"
RUNNER = Runner("team", "shop", Refs(UID), 3000, False, "AgentReady is False, Starting: pulling the image")
STATUS = AgentRequest("GET", "/v1/status", repeatable=True)
SYNC = AgentRequest("POST", "/v1/sync", [("mode", "merge")], {"Content-Type": "application/json"}, b"{}", repeatable=True)


class Secrets:
    """The control Secrets of a cluster; counts reads, and fails with ``error`` when it is set."""

    def __init__(self, secret: dict[str, Any]) -> None:
        self.secret = secret
        self.read: list[str] = []
        self.error: Exception | None = None

    async def __call__(self, namespace: str) -> dict[str, Any]:
        self.read.append(namespace)
        if self.error is not None:
            raise self.error
        return self.secret


@pytest.fixture
def secrets(agent: Any) -> Secrets:
    return Secrets(agent.secret())


@pytest.fixture
async def dialer(agent: Any, secrets: Secrets, loopback: Any) -> AsyncIterator[Dialer]:
    async with dial.session(dial.connector(loopback)) as session:
        yield Dialer(session, CredentialStore(secrets), port=agent.port)


async def ask(dialer: Dialer, wanted: AgentRequest) -> Any:
    async with dialer.ask(RUNNER, wanted) as response:
        return await response.json()


async def refused(dialer: Dialer, wanted: AgentRequest) -> StatusError:
    with pytest.raises(StatusError) as error:
        await ask(dialer, wanted)
    return error.value


async def test_the_agent_is_asked_by_name_with_its_own_token(dialer: Dialer, agent: Any, secrets: Secrets, loopback: Any) -> None:
    assert (await ask(dialer, SYNC))["revision"] == "1-00"
    assert loopback.asked == [f"control.sandbox-{UID}.svc"]
    assert secrets.read == [f"sandbox-{UID}"]
    assert agent.asked[0].path_qs == "/v1/sync?mode=merge"


async def test_many_requests_take_one_connection_and_one_look_at_the_secret(dialer: Dialer, agent: Any, secrets: Secrets) -> None:
    for _ in range(5):
        await ask(dialer, STATUS)
    assert len(agent.connections) == 1
    assert len(secrets.read) == 1


async def test_a_rotated_token_is_fetched_once_and_the_request_repeated(dialer: Dialer, agent: Any, secrets: Secrets) -> None:
    await ask(dialer, SYNC)
    agent.token = "n" * 43
    secrets.secret = agent.secret()
    assert (await ask(dialer, SYNC))["revision"] == "1-00"
    assert len(secrets.read) == 2


def rotated(agent: Any, other_pair: Any) -> dict[str, Any]:
    """The Secret after a rotation of which the agent knows nothing yet."""
    before = agent.secret()["data"]
    data = {"token": "n" * 43, "tls.crt": other_pair.certificate, "tls.key": other_pair.key}
    made = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"data": {**made, "previous-token": before["token"], "previous-tls.crt": before["tls.crt"]}}


async def test_while_the_agent_has_not_seen_a_rotation_it_is_asked_as_before(
    dialer: Dialer, agent: Any, secrets: Secrets, other_pair: Any
) -> None:
    """By a replica that never asked it before, so that it knows the new Secret alone."""
    secrets.secret = rotated(agent, other_pair)
    assert (await ask(dialer, SYNC))["revision"] == "1-00"
    assert (await ask(dialer, SYNC))["revision"] == "1-00"
    assert len(agent.asked) == 3, "the new token was refused once"
    agent.token = "n" * 43
    assert (await ask(dialer, SYNC))["revision"] == "1-00"


async def test_a_token_before_a_rotation_that_is_over_is_tried_no_more(
    dialer: Dialer, agent: Any, secrets: Secrets, other_pair: Any
) -> None:
    data = rotated(agent, other_pair)["data"]
    secrets.secret = {"data": {**agent.secret()["data"], "token": data["token"]}}
    assert (await refused(dialer, STATUS)).code == 503
    assert len(secrets.read) == 2


async def test_a_stream_is_not_repeated_but_the_next_one_works(dialer: Dialer, agent: Any, secrets: Secrets) -> None:
    await ask(dialer, STATUS)
    agent.token = "n" * 43
    secrets.secret = agent.secret()

    def stream() -> AgentRequest:
        reader = aiohttp.StreamReader(BaseProtocol(asyncio.get_running_loop()), 1 << 16)
        reader.feed_data(b"x" * 1000)
        reader.feed_eof()
        return AgentRequest("POST", "/v1/sync", headers={"Content-Length": "1000"}, body=reader)

    error = await refused(dialer, stream())
    assert (error.code, error.retry_after) == (503, 1)
    await ask(dialer, stream())


async def test_a_token_that_the_agent_still_does_not_know_is_503_and_never_the_callers_401(
    dialer: Dialer, agent: Any, secrets: Secrets
) -> None:
    agent.token = "n" * 43
    error = await refused(dialer, STATUS)
    assert error.code == 503
    assert len(secrets.read) == 2
    assert len(agent.asked) == 1


async def test_another_certificate_than_the_pinned_one_gets_no_request_at_all(
    dialer: Dialer, agent: Any, secrets: Secrets, other_pair: Any
) -> None:
    honest = agent.secret()
    agent.pair = other_pair
    secrets.secret = agent.secret()
    error = await refused(dialer, SYNC)
    assert error.code == 503
    assert "certificate" in error.message
    assert agent.asked == []
    secrets.secret = honest
    await ask(dialer, SYNC)


async def test_a_certificate_for_another_host_is_refused_even_when_pinned(
    agent: Any, loopback: Any, new_pair: Callable[..., Any], tmp_path: Path
) -> None:
    pair = new_pair("agent", host="control.sandbox-11111111-2222-3333-4444-555555555555.svc")
    runner = web.ServerRunner(web.Server(lambda request: pytest.fail("reached")))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=pair.server(tmp_path / "other"))
    await site.start()
    agent.pair = pair
    async with dial.session(dial.connector(loopback)) as session:
        dialer = Dialer(session, CredentialStore(Secrets(agent.secret())), port=runner.addresses[0][1])
        assert (await refused(dialer, SYNC)).code == 503
    await runner.cleanup()


@pytest.mark.parametrize("error", [kube_errors.NotFound(404, "secrets"), kube_errors.Forbidden(403, "secrets")])
async def test_a_runtime_that_is_not_there_yet_is_503_with_the_controllers_words(
    dialer: Dialer, secrets: Secrets, error: Exception
) -> None:
    secrets.error = error
    said = await refused(dialer, STATUS)
    assert (said.code, said.retry_after) == (503, 2)
    assert said.message == "the runner's runtime is not provisioned yet. AgentReady is False, Starting: pulling the image"
    secrets.error = None
    await ask(dialer, STATUS)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"token": "", "tls.crt": "x"},
        {"token": "dG9vLXNob3J0", "tls.crt": "x"},
        {"token": "bGluZQ0KYnJlYWsNCmxpbmUNCmJyZWFr", "tls.crt": "x"},
        {"token": "%%%"},
        {"token": "dG9rZW4tb2YtbGVuZ3RoLTI0", "tls.crt": "bm8gY2VydGlmaWNhdGU="},
    ],
)
async def test_a_secret_that_is_not_ours_in_form_is_never_used(dialer: Dialer, secrets: Secrets, data: dict[str, str]) -> None:
    secrets.secret = {"data": data}
    assert (await refused(dialer, STATUS)).code == 503


async def test_an_agent_that_does_not_listen_is_503_and_its_address_is_looked_up_again(
    dialer: Dialer, agent: Any, loopback: Any, unused_tcp_port: int
) -> None:
    dialer._port = unused_tcp_port
    for _ in range(2):
        assert "cannot be reached" in (await refused(dialer, STATUS)).message
    assert len(loopback.asked) == 2


async def test_an_agent_that_does_not_answer_in_time_is_504(dialer: Dialer, agent: Any) -> None:
    async def never(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    agent.handler = never
    assert (await refused(dialer, AgentRequest("GET", "/v1/status", answer_seconds=0.05))).code == 504


async def test_an_answer_that_breaks_off_is_an_error_and_no_short_success(dialer: Dialer, agent: Any) -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"short")
        assert request.transport is not None
        request.transport.abort()
        return response

    agent.handler = breaks
    assert (await refused(dialer, STATUS)).code == 503


async def test_a_repeatable_request_survives_a_connection_that_breaks_once(dialer: Dialer, agent: Any) -> None:
    hello = agent.handler
    broken: list[web.Request] = []

    async def once(request: web.Request) -> web.StreamResponse:
        if not broken:
            broken.append(request)
            assert request.transport is not None
            request.transport.abort()
        return await hello(request)  # type: ignore[no-any-return]

    agent.handler = once
    assert (await ask(dialer, SYNC))["revision"] == "1-00"
    broken.clear()
    assert (await refused(dialer, AgentRequest("POST", "/v1/restart", body=b"{}"))).code == 503
    assert len(broken) == 1


async def test_cookies_and_redirects_of_an_agent_are_not_followed(dialer: Dialer, agent: Any) -> None:
    async def moves(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "https://kubernetes.default.svc/", "Set-Cookie": "a=b"})

    agent.handler = moves
    assert (await refused(dialer, STATUS)).code == 502
    assert (await refused(dialer, STATUS)).code == 502
    assert "Cookie" not in agent.asked[-1].headers


async def test_the_agents_status_is_passed_on(dialer: Dialer, agent: Any) -> None:
    told = StatusError(412, "the workspace is at 3-ab", reason="PreconditionFailed")

    async def stale(request: web.Request) -> web.Response:
        return web.json_response(told.body(), status=412)

    agent.handler = stale
    error = await refused(dialer, SYNC)
    assert error.body() == told.body()


def status(**change: Any) -> bytes:
    return json.dumps({"kind": "Status", "message": "m", "reason": "Invalid", "code": 422, **change}).encode()


@pytest.mark.parametrize(
    ("code", "content"),
    [
        (401, status()),
        (403, status()),
        (302, status()),
        (422, b"<html>"),
        (422, b"\xff"),
        (422, b""),
        (422, b"[]"),
        (422, status(kind="Pod")),
        (599, status()),
    ],
)
def test_an_answer_that_means_nothing_is_a_bad_gateway(code: int, content: bytes) -> None:
    error = agent_error(code, content)
    assert error.code == 502
    assert str(code) in error.message


@pytest.mark.parametrize(
    "details", [None, 3, "x", [], {"causes": 7}, {"causes": [3]}, {"causes": [{"field": 1}]}, {"retryAfterSeconds": "x"}]
)
def test_odd_details_are_dropped_and_the_message_kept(details: Any) -> None:
    assert agent_error(422, status(details=details)).message == "m"


def test_what_an_agent_may_say_is_bounded() -> None:
    causes = [{"field": "f" * 9000, "reason": "r" * 9000, "message": "m" * 9000}] * 300
    error = agent_error(
        422, status(message="m" * 10**6, reason="<script>", details={"causes": causes, "retryAfterSeconds": 10**9})
    )
    assert len(json.dumps(error.body())) < 400_000
    assert error.reason == "Invalid"
    assert error.retry_after == 300
