"""exec as its user sees it, against a server that speaks pods/exec's protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from sandbox_client import ApiError, Client, Forbidden, Sandbox, Unreachable, blocking
from sandbox_client.execution import PROTOCOL, exit_code
from sandbox_client.kubeconfig import Connection
from sandbox_protocol.errors import StatusError

Speak = Callable[[web.WebSocketResponse], Awaitable[None]]

SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}


def exited(code: int) -> dict[str, Any]:
    details = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
    return {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": "…", "details": details}


class Server:
    """``speak`` is the command; ``refusal`` is answered instead, to the handshake and to what comes after it."""

    def __init__(self) -> None:
        self.speak: Speak | None = None
        self.refusals: list[StatusError] = []
        self.queries: list[list[tuple[str, str]]] = []
        self.address = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(list(request.query.items()))
        if self.refusals:
            error = self.refusals.pop(0)
            return web.json_response(error.body(), status=error.code)
        ws = web.WebSocketResponse(protocols=[PROTOCOL])
        await ws.prepare(request)
        assert self.speak is not None
        await self.speak(ws)
        return ws


async def end(ws: web.WebSocketResponse, status: dict[str, Any]) -> None:
    await ws.send_bytes(b"\x03" + json.dumps(status).encode())
    await ws.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def shop(server: Server) -> AsyncIterator[Sandbox]:
    async with Client(Connection(server.address, "demo")) as client:
        yield client.sandbox("shop")


async def cat(ws: web.WebSocketResponse) -> None:
    """Gives back what comes in, until the end of input; then ends with 3."""
    await ws.send_bytes(b"\x01")
    async for message in ws:
        if message.data == b"\xff\x00":
            break
        assert message.data[0] == 0
        await ws.send_bytes(b"\x01" + message.data[1:])
    await ws.send_bytes(b"\x02done")
    await end(ws, exited(3))


async def test_output_errors_and_exit_code_are_told_apart(server: Server, shop: Sandbox) -> None:
    server.speak = cat
    done = await shop.exec("cat", "a b", "", stdin=b"x" * 200_000)
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"x" * 200_000, b"done")
    (query,) = server.queries
    assert query == [
        ("command", "cat"),
        ("command", "a b"),
        ("command", ""),
        ("stdin", "true"),
        ("stdout", "true"),
        ("stderr", "true"),
    ]


async def test_a_terminal_has_one_output_and_a_size(server: Server, shop: Sandbox) -> None:
    async def stty(ws: web.WebSocketResponse) -> None:
        message = await ws.receive()
        await ws.send_bytes(b"\x01" + message.data)
        await end(ws, SUCCESS)

    server.speak = stty
    async with shop.exec_session("stty", "size", tty=True) as session:
        await session.resize(80, 24)
        assert [piece async for piece in session.output()] == [("stdout", b'\x04{"Width": 80, "Height": 24}')]
        assert session.exit_code == 0
    assert dict(server.queries[0]).keys() == {"command", "stdout", "tty"}


async def test_a_command_that_ends_without_reading_ends_the_writing_too(server: Server, shop: Sandbox) -> None:
    async def true(ws: web.WebSocketResponse) -> None:
        await end(ws, SUCCESS)

    server.speak = true
    assert (await shop.exec("true", stdin=b"x" * 10_000_000)).exit_code == 0


async def test_a_session_that_the_server_ends_says_why(server: Server, shop: Sandbox) -> None:
    async def withdrawn(ws: web.WebSocketResponse) -> None:
        await end(ws, StatusError(403, "your right is gone").body())

    server.speak = withdrawn
    with pytest.raises(Forbidden, match="your right is gone"):
        await shop.exec("sleep", "9")


async def test_a_broken_connection_is_no_success(server: Server, shop: Sandbox) -> None:
    async def broken(ws: web.WebSocketResponse) -> None:
        await ws.send_bytes(b"\x01half")
        await ws.close()

    server.speak = broken
    with pytest.raises(Unreachable, match="may still run"):
        await shop.exec("sleep", "9")


async def test_a_refused_handshake_is_told_in_the_servers_words(server: Server, shop: Sandbox) -> None:
    server.refusals = [StatusError(409, "it is suspended", reason="Suspended")] * 2
    with pytest.raises(ApiError, match="it is suspended"):
        await shop.exec("true")


async def test_a_refused_command_may_hold_bytes_that_are_no_utf_8(server: Server, shop: Sandbox) -> None:
    server.refusals = [StatusError(409, "it is suspended", reason="Suspended")] * 2
    with pytest.raises(ApiError, match="it is suspended"):
        await shop.exec("cat", "caf\udce9")


async def test_a_refusal_that_is_over_when_it_is_asked_about_keeps_its_code(server: Server, shop: Sandbox) -> None:
    server.refusals = [StatusError(429, "too many"), StatusError(400, "no upgrade")]
    with pytest.raises(ApiError) as error:
        await shop.exec("true")
    assert error.value.code == 429


def test_a_status_that_is_no_exit_code_is_an_error() -> None:
    assert exit_code(exited(255)) == 255
    for status in (exited(0) | {"details": {}}, {"status": "Failure", "message": "runtime", "code": 500}, {}):
        with pytest.raises(ApiError):
            exit_code(status)


def test_the_blocking_session_is_the_same() -> None:
    server = Server()
    server.speak = cat

    async def serve() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", server.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = blocking._Loop.run(serve())
    try:
        with (
            blocking.Client(Connection(f"http://127.0.0.1:{runner.addresses[0][1]}", "demo")) as client,
            client.sandbox("shop").exec_session("cat", stdin=True) as session,
        ):
            session.write(b"given")
            session.close_stdin()
            assert list(session.output()) == [("stdout", b"given"), ("stderr", b"done")]
            assert session.exit_code == 3
    finally:
        blocking._Loop.run(runner.cleanup())
