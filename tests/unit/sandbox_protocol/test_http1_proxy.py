"""The proxy between real sockets: a played client, a played server."""

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sandbox_protocol import http1_client, http1_proxy
from sandbox_protocol.http1 import Head, encode_block, encode_response
from sandbox_protocol.http1_client import Client
from sandbox_protocol.http1_proxy import Proxy
from sandbox_protocol.http1_routing import Address, Forward, Reply, plain_reply
from sandbox_protocol.http1_sides import Upstream
from tests.unit.sandbox_protocol.scene import GET, Make, answer_once, echo_length, read_head


async def test_requests_share_a_connection_on_both_sides(make: Make) -> None:
    scene = await make(echo_length)
    reader, writer = await scene.ask()
    for _ in range(3):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        await read_head(reader)
        assert await reader.readexactly(1) == b"3"
    assert scene.upstream_connections == 1


async def test_requests_sent_ahead_are_answered_in_order(make: Make) -> None:
    scene = await make(echo_length)
    bodies = [b"", b"x", b"x" * 10]
    sent = b"".join(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies)
    reader, _ = await scene.ask(sent)
    for expected in (b"0", b"1", b"10"):
        await read_head(reader)
        assert await reader.readexactly(len(expected)) == expected


async def test_a_large_body_arrives_whole_in_both_directions(make: Make) -> None:
    size = 8 * 1024 * 1024

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        body = await reader.readexactly(size)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body)

    scene = await make(serve)
    body = bytes(range(256)) * (size // 256)
    reader, writer = await scene.ask(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    writer.write(body)
    await read_head(reader)
    assert await reader.readexactly(size) == body


async def test_a_slow_reader_slows_the_server_down(make: Make) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1000):
            writer.write(bytes(1 << 18))
            sent += 1 << 18
            await writer.drain()

    scene = await make(serve)
    reader, _ = await scene.ask(GET)
    await read_head(reader)
    before = -1
    while before != sent:  # until nothing moves any more
        before = sent
        for _ in range(50):
            await asyncio.sleep(0.001)
    assert sent < 64 * 1024 * 1024  # kernel buffers and ours; 250 MiB were there to be had


async def test_an_upgrade_becomes_a_pipe(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"upgrade: websocket" in (await read_head(reader)).lower()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.write_eof()

    scene = await make(serve)
    reader, writer = await scene.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert b"101" in await read_head(reader)
    assert await reader.readexactly(5) == b"first"
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"HELLO"
    writer.write_eof()
    assert await reader.read() == b""


async def test_events_arrive_as_they_are_sent(make: Make) -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await go.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    scene = await make(serve)
    reader, writer = await scene.ask(GET)
    await read_head(reader)
    assert await reader.readexactly(8) == b"3\r\none\r\n"
    go.set()
    assert await reader.readexactly(13) == b"3\r\ntwo\r\n0\r\n\r\n"
    writer.write(b"GET /own HTTP/1.1\r\nHost: a\r\n\r\n")  # the end of the body was seen
    assert b"200" in await read_head(reader)


async def test_interim_answers_pass(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(2)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    scene = await make(serve)
    reader, writer = await scene.ask(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert b"100 Continue" in await read_head(reader)
    writer.write(b"hi")
    assert b"204" in await read_head(reader)


async def test_a_stale_idle_connection_is_replaced_without_the_client_noticing(make: Make) -> None:
    scene = await make(answer_once)
    reader, writer = await scene.ask(GET)
    await read_head(reader)
    await reader.readexactly(2)
    writer.write(GET)
    assert b"200" in await read_head(reader)
    assert scene.upstream_connections == 2


async def test_a_body_cut_short_does_not_look_complete(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        await writer.drain()
        writer.close()

    scene = await make(serve)
    reader, _ = await scene.ask(GET)
    await read_head(reader)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(100)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", b"without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", b"malformed status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"both"),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", b"nobody asked"),
    ],
)
async def test_a_server_that_makes_no_sense_is_answered_for(make: Make, answer: bytes, why: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(answer)
        writer.close()

    scene = await make(serve)
    reader, _ = await scene.ask(GET)
    got = await reader.read()
    assert got.startswith(b"HTTP/1.1 503")
    assert why in got


async def test_nobody_listening_is_said_in_words_and_the_connection_goes_on(make: Make) -> None:
    scene = await make(echo_length)
    reader, _ = await scene.ask(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\nGET /own HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"503" in await read_head(reader)
    assert b"200" in (await reader.readuntil(b"mine"))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nCookie: a=b\r\n\r\n", b"400"),
        (b"x" * 70_000, b"400"),
    ],
)
async def test_a_request_in_doubt_never_reaches_the_server_whole(make: Make, sent: bytes, status: bytes) -> None:
    scene = await make(echo_length)
    reader, _ = await scene.ask(sent)
    assert (await reader.read()).startswith(b"HTTP/1.1 " + status)


async def test_a_client_that_never_finishes_its_head_is_let_go(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_client, "HEAD_SECONDS", 0.05)
    monkeypatch.setattr(http1_proxy, "SWEEP_SECONDS", 0.01)
    scene = await make(echo_length)
    reader, _ = await scene.ask(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    assert (await reader.read()).startswith(b"HTTP/1.1 408")


async def test_a_session_that_is_over_is_cut_while_it_streams(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nstart")
        await reader.read()

    scene = await make(serve)
    reader, _ = await scene.ask(GET)
    await reader.readuntil(b"start")
    assert scene.proxy.end_sessions(lambda session: session == "another") == 0
    assert scene.proxy.end_sessions(lambda session: session == "session") == 1
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""


async def test_draining_lets_the_present_answer_end(make: Make) -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast")

    scene = await make(serve)
    reader, _ = await scene.ask(GET)
    idle, _ = await scene.ask()
    while len(scene.proxy.clients) < 2 or scene.upstream_connections < 1:  # noqa: ASYNC110 - the other side of a socket has no event
        await asyncio.sleep(0.001)
    draining = asyncio.create_task(scene.proxy.drain(5))
    assert await idle.read() == b""
    go.set()
    assert (await reader.read()).endswith(b"last")
    await draining


class Played(asyncio.Transport):
    """Takes what is written; a ``choked`` one says at the first write that it is full, once, as event loops do."""

    def __init__(self, protocol: asyncio.Protocol, *, choked: bool = False) -> None:
        super().__init__()
        self.protocol, self.choked, self.reading = protocol, choked, True
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.choked:
            self.choked = False
            self.protocol.pause_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.protocol.connection_lost(None)


class Choking(Proxy):
    """All its servers take no more than the first write."""

    async def connect(self, address: Address, *, fresh: bool = False) -> Upstream:
        upstream = Upstream(self, address)
        Played(upstream, choked=True)
        return upstream


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"]
)
async def test_a_server_that_is_full_at_the_first_write_slows_the_client_down(answer: bytes) -> None:
    async def route(request: Head, peer: str) -> Forward | Reply:
        return Forward(("192.0.2.1", 80), b"head", lambda head: b"", lambda _, why: plain_reply(503, b"Busy", why))

    proxy = Choking(route)
    client = Client(proxy)
    transport = Played(client)
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n" if answer else b""
    client.data_received(b"POST / HTTP/1.1\r\nHost: a\r\n%sContent-Length: 1000\r\n\r\n" % upgrade + b"x" * 1000)
    assert client._task is not None
    await client._task
    upstream = client._upstream
    assert upstream is not None
    assert upstream.full
    if answer:
        client.from_upstream(answer)
    assert not transport.reading
    upstream.resume_writing()
    assert transport.reading
    proxy.close()


async def test_a_server_is_spoken_to_over_tls_and_its_connection_kept(certificates: tuple[Path, Path]) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*certificates)
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await echo_length(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    address = ("127.0.0.1", server.sockets[0].getsockname()[1], client)

    async def route(request: Head, peer: str) -> Forward | Reply:
        block = encode_block([(b"Host", b"a"), (b"Content-Length", request.get(b"content-length") or b"0")])
        return Forward(
            address, block, lambda head: encode_response(200, b"OK", head.headers), lambda _, why: plain_reply(503, b"", why)
        )

    proxy = Proxy(route)
    listening = await asyncio.get_running_loop().create_server(proxy.protocol, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.sockets[0].getsockname()[1])
    for _ in range(2):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        await read_head(reader)
        assert await reader.readexactly(1) == b"3"
    assert connections == 1
    writer.close()
    proxy.close()
    listening.close()
    server.close()


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Path, Path]:
    """(certificate, key) as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
    certificate, private = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private
