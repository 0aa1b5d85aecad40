"""Servers of all kinds, each asked once."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from runner_agent import probe
from runner_agent.probe import Answer, NoHttp

Serve = Callable[..., Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """``await serve(answer)``: the port of a server that reads the head of a request and writes ``answer``, then closes."""
    servers: list[asyncio.Server] = []

    async def serve(answer: bytes, tls: ssl.SSLContext | None = None) -> int:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(4096)
            writer.write(answer)
            writer.close()

        servers.append(await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls))
        return int(servers[-1].sockets[0].getsockname()[1])

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def tls(control: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(control / "tls.crt", control / "tls.key")
    return context


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<h1>", Answer(200, html=True)),
        (b"HTTP/1.0 404 Not Found\r\ncontent-type: application/json\r\n\r\n{}", Answer(404)),
        (b"HTTP/1.1 400 Bad Request\r\n\r\nsee https://docs.test", Answer(400)),
        (b"220 mail.test ESMTP\r\n", NoHttp("does not answer in HTTP")),
        (b"", NoHttp("closes connections without an answer")),
        (
            b"\0\0\0\4\0\0\0\0\0" + b"\0\0\4\10\0\0\0\0\0\0\1\0\0",
            NoHttp("speaks HTTP/2 without TLS, which no browser does: serve HTTP/1.1 here"),
        ),
    ],
)
async def test_what_comes_back_is_understood(serve: Serve, answer: bytes, said: object) -> None:
    assert await probe.ask(("127.0.0.1",), await serve(answer)) == ("127.0.0.1", said)


async def test_a_server_that_answers_over_tls_only_is_found_whatever_its_certificate(serve: Serve, tls: ssl.SSLContext) -> None:
    port = await serve(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", tls)
    assert await probe.ask(("127.0.0.1",), port) == ("127.0.0.1", Answer(200, html=True, tls=True))


async def test_a_server_that_speaks_http_2_alone_over_tls_is_told(serve: Serve, tls: ssl.SSLContext) -> None:
    tls.set_alpn_protocols(["h2"])
    found = await probe.ask(("127.0.0.1",), await serve(b"\0\0\0\4\0\0\0\0\0", tls))
    assert found == ("127.0.0.1", NoHttp("speaks HTTP/2 only, over TLS: allow HTTP/1.1 beside it"))


async def test_the_first_address_that_takes_a_connection_is_asked(serve: Serve) -> None:
    port = await serve(b"HTTP/1.1 200 OK\r\n\r\n")
    assert await probe.ask(("127.0.0.2", "127.0.0.1"), port) == ("127.0.0.1", Answer(200))
    assert await probe.ask(("127.0.0.2",), port) is None
